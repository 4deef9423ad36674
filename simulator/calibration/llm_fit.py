"""Costs of the calls of TensorRT-LLM's kernels, fitted to their measured times.

`python -m simulator.calibration.llm_fit FILE` prints the section `families` of the profile of calls.
Each kind of kernels and each call has costs of its own, fitted by themselves. With `--held-out` the errors of fits
without each device are printed instead, where another device runs the same kernels; with `--tiles` what tiles lose,
by kind of kernels: `matrix_tile` and `matrix_depth`, fitted to its bf16 products.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from simulator.calibration.command import run
from simulator.calibration.fit import SCALE, Parameter, fit, robust, values_at
from simulator.calibration.llm_ops import device_of
from simulator.calibration.llm_parts import work_of
from simulator.calibration.llm_rows import MeasuredOp, by_group, read_ops
from simulator.device.device import Device
from simulator.op.kernels import FloatArray
from simulator.serving.called import CallWork
from simulator.serving.calls import LibraryCall, kernels_of

STARTS: dict[str, tuple[float, float]] = {
    "start": (4e-6, 2.0),
    "compute": (1.0, 0.5),
    "stream": (0.85, 0.3),
    "depth": (3e-7, 2.0),
    "block": (1e-6, 2.0),
    "chain": (1e-6, 2.0),
    "alone": (1.0, 1.0),
}
"""Starting value and spread of each cost. A launch takes 2 to 5 us, streams reach 0.85 of memory (gpu-benches); 16
numbers of the sum take some clocks, as long beside the stream as within it; a block starts, reads its queries and ends
in about a microsecond."""

PRODUCT = ("start", "compute", "stream", "depth", "chain")
SPLIT = ("start", "compute", "stream", "depth")
ATTENTION = ("start", "compute", "stream", "depth", "block")

HOLD = 0.05
"""Weight of the spreads beside one row."""

ROUNDS = 40


@dataclass(frozen=True)
class MeasuredCalls:
    """One device's rows of one call. [s]"""

    device: Device
    work: CallWork
    time_s: FloatArray


@dataclass(frozen=True)
class Costs:
    """The fit of one call's costs to some devices' rows.

    chained : whether a product's sum is one chain of steps.
    """

    measured: Sequence[MeasuredCalls]
    chained: bool = False

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What may move."""
        attends, lone = (any(column(rows.work).any() for rows in self.measured) for column in (_waves, _lone))
        keys = (*ATTENTION, "alone") if lone else ATTENTION if attends else PRODUCT if self.chained else SPLIT
        return [Parameter("call", key, *STARTS[key]) for key in keys]

    @property
    def size(self) -> int:
        """Number of residuals."""
        return sum(len(rows.time_s) for rows in self.measured) + len(self.parameters)

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """Robust logarithmic errors, and how far the costs are from where they started; all anew each time."""
        del parameter, base  # each cost touches each row
        call = call_at(self.parameters, logarithms)
        errors = [np.log(rows.work.seconds(call, rows.device) / rows.time_s) for rows in self.measured]
        spread = np.array([parameter.spread for parameter in self.parameters])
        result: FloatArray = np.concatenate([robust(np.concatenate(errors)), logarithms / spread * HOLD * SCALE])
        return result


def _waves(work: CallWork) -> FloatArray:
    return work.waves


def _lone(work: CallWork) -> FloatArray:
    return work.lone.astype(float)


def call_at(parameters: Sequence[Parameter], logarithms: FloatArray) -> LibraryCall:
    """A call's costs from the logarithms of their ratios to the starting values."""
    return _call(values_at(parameters, logarithms))


def _call(values: Mapping[tuple[str, str], float]) -> LibraryCall:
    found = {key: value for (_, key), value in values.items()}
    start_s, compute, stream, depth_s = (found[key] for key in ("start", "compute", "stream", "depth"))
    block_s, chain_s, alone = found.get("block", 0.0), found.get("chain", 0.0), found.get("alone", 1.0)
    return LibraryCall(start_s, compute, stream, depth_s, block_s, chain_s, alone)


SPLIT_SUMS = ("gemm bfloat16", "gemm fp8")
"""Products whose kernels split long sums over units (cuBLAS); those of other formats do not."""


def fit_call(measured: Sequence[MeasuredCalls], call: str = "") -> LibraryCall:
    """The costs that err least over some devices' rows."""
    return _call(fit(Costs(measured, call not in SPLIT_SUMS), rounds=ROUNDS))


def measured_calls(rows: Sequence[MeasuredOp]) -> dict[tuple[str, str], dict[str, MeasuredCalls]]:
    """(Kind of kernels, call) -> device -> its rows."""
    found: dict[tuple[str, str], dict[str, MeasuredCalls]] = {}
    for (name, call), positions in sorted(by_group(rows).items()):
        device, chosen = device_of(name), [rows[position] for position in positions]
        measured = MeasuredCalls(device, work_of(chosen, device), np.array([row.time_s for row in chosen]))
        found.setdefault((kernels_of(device), call), {})[name] = measured
    return found


def held_out(rows: Sequence[MeasuredOp]) -> Iterable[tuple[str, str, str, float]]:
    """Kind of kernels, call, device, and its median error under a fit to the other devices that run these kernels."""
    for (family, call), by_device in measured_calls(rows).items():
        for name, own in by_device.items():
            others = [measured for other, measured in by_device.items() if other != name]
            if others:
                error = own.work.seconds(fit_call(others, call), own.device) / own.time_s - 1
                yield family, call, name, float(np.median(np.abs(error)))


@dataclass(frozen=True)
class Tiles:
    """The fit of a kind's `matrix_tile` and `matrix_depth` to bf16 products of its devices, beside the call's costs."""

    rows: Mapping[str, Sequence[MeasuredOp]]

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What may move."""
        tiles = [Parameter("kernel", key, *start) for key, start in TILES.items()]
        return [*tiles, *(Parameter("call", key, *STARTS[key]) for key in SPLIT)]

    @property
    def size(self) -> int:
        """Number of residuals."""
        return sum(map(len, self.rows.values())) + len(self.parameters)

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """As those of the costs alone."""
        del parameter, base
        values = values_at(self.parameters, logarithms)
        tiles = {key: value for (scope, key), value in values.items() if scope == "kernel"}
        errors = [_tiled_errors(name, rows, tiles, _call(values)) for name, rows in self.rows.items()]
        spread = np.array([parameter.spread for parameter in self.parameters])
        result: FloatArray = np.concatenate([robust(np.concatenate(errors)), logarithms / spread * HOLD * SCALE])
        return result


TILES = {"matrix_tile": (5.5, 1.5), "matrix_depth": (99, 1.0)}
"""Starting values and spreads of what `--tiles` fits: half of Hopper's assumed overhead, and the depth of all GPUs."""


def _tiled_errors(name: str, rows: Sequence[MeasuredOp], tiles: Mapping[str, float], call: LibraryCall) -> FloatArray:
    device = device_of(name)
    device = replace(device, kernel={**device.kernel, **tiles})
    result: FloatArray = np.log(work_of(rows, device).seconds(call, device) / [row.time_s for row in rows])
    return result


def fit_tiles(rows: Sequence[MeasuredOp]) -> dict[str, dict[str, float]]:
    """Kind of kernels -> what a tile loses to moving operands and to starting and ending."""
    found: dict[str, dict[str, list[MeasuredOp]]] = {}
    for row in rows:
        if row.call == "gemm bfloat16":
            found.setdefault(kernels_of(device_of(row.device)), {}).setdefault(row.device, []).append(row)
    fits = {family: fit(Tiles(by_device), rounds=ROUNDS) for family, by_device in found.items()}
    return {family: {key: value for (_, key), value in fits[family].items() if key in TILES} for family in fits}


def section(call: LibraryCall) -> str:
    """A call as it stands in the profile."""
    more = (("block", call.block_s), ("chain", call.chain_s))
    block = "".join(f", {name}: {value * 1e6:.3g} us" for name, value in more if value)
    times = f"start: {call.start_s * 1e6:.3g} us, compute: {call.compute:.3g}, stream: {call.stream:.3g}"
    alone = f", alone: {call.alone:.3g}" if call.alone != 1 else ""
    return f"{{{times}, depth: {call.depth_s * 1e6:.3g} us{block}{alone}}}"


def main(file: Path, held_out: bool, tiles: bool) -> None:
    """Print the section `families` of the profile for the table given, or what an option asks for."""
    rows = read_ops(file)
    (_print_held_out if held_out else _print_tiles if tiles else _print_calls)(rows)


def _print_held_out(rows: Sequence[MeasuredOp]) -> None:
    for family, call, device, error in held_out(rows):
        print(f"{family:16} {call:44} {device:20} {error:.1%}")


def _print_tiles(rows: Sequence[MeasuredOp]) -> None:
    for family, tiles in fit_tiles(rows).items():
        print(family, ", ".join(f"{key}: {value:.3g}" for key, value in tiles.items()))


def _print_calls(rows: Sequence[MeasuredOp]) -> None:
    present = ""
    for (family, call), by_device in sorted(measured_calls(rows).items()):
        if family != present:
            print(f"  {family}:")
        present = family
        print(f"    {call}: {section(fit_call(list(by_device.values()), call))}")


if __name__ == "__main__":
    run(main)
