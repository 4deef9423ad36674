"""Coefficients of a family from operations that were timed one by one, where no network was measured.

`python -m simulator.calibration.op_fit FILE FAMILY` prints them, with the errors by source and operation; with
`--held-out` each source is left out in turn. What a timed call costs beside its kernel is fitted with them, for each
source and operation by itself: some wait for each call, others issue hundreds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from simulator.calibration.command import run
from simulator.calibration.fit import SCALE, Parameter, Values, fit, robust, values_at
from simulator.calibration.single_ops import SingleOp, TimedOps, read_single_ops, together
from simulator.device.device import load_device, with_families
from simulator.op.kernels import FloatArray

STARTS = {
    "sustained.matrix": (0.7, 0.3),
    "sustained.matrix_fp32": (0.8, 0.3),
    "kernel.matrix_tile": (20.0, 1.5),
    "kernel.matrix_depth": (99.0, 1.0),
    "kernel.normalization": (0.8, 0.5),
    "kernel.softmax": (0.6, 0.5),
    "kernel.masked": (0.8, 0.5),
    "kernel.masked_gradient": (0.8, 0.5),
    "kernel.half_width": (0.7, 0.5),
}
"""Starting value and spread of each coefficient, where NVIDIA's boards are."""

OLDER, OLDER_RATE = ("sitar-lab/NeuSight",), ("older release", "sustained.matrix_fp32")
"""Sources of PyTorch 2.1, of 2023, and what full width on matrix units sustains there: ROCm 7.2 is a tenth faster. A
profile, which does not tell releases apart, has that of 2023, as the networks were measured with."""

BY_DEFINITION = {"kernel.elementwise": 1.0}
"""Large element-wise kernels of full width reach the bandwidth, so that those of half width tell `half_width`."""

START = (2e-5, 2.0)
"""The same of what a timed call costs beside its kernel: a launch takes 5 us, Python's call of an operation 20 to 50.
[s]"""

LEAST_ROWS = 256
"""Products of fewer rows are left out: rocBLAS cuts them into fewer tiles than an MI210 has units, each of which then
waits for its operands: 32 and 128 rows of 12,288 x 12,288 take the same 0.55 to 0.59 ms, a third of the bandwidth."""

HOLD = 0.05
"""Weight of the spreads beside one row."""

ROUNDS = 40

Call = tuple[str, str]
"""Source and operation."""


@dataclass(frozen=True)
class OpFit:
    """The fit of a family's coefficients to some of its rows; each source and operation weighs the same.

    Attributes
    ----------
    family : a file of `hardware_profiles/families`.
    known : coefficients that stay as they are, where other rows fitted them.
    """

    family: str
    groups: Sequence[TimedOps]
    known: Values

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What may move."""
        scope = scope_of(self.family)
        chosen = [Parameter(scope, key, *start) for key, start in STARTS.items() if (scope, key) not in self.known]
        older = [Parameter(*OLDER_RATE, *STARTS[OLDER_RATE[1]])] if self._older else []
        return [*chosen, *older, *(Parameter("start", " ".join(call), *START) for call in self._calls)]

    @property
    def size(self) -> int:
        """Number of residuals."""
        return len(self._weights) + len(self.parameters)

    @property
    def _older(self) -> bool:
        return OLDER_RATE not in self.known and any(source in OLDER for source, _ in self._calls)

    @cached_property
    def _calls(self) -> list[Call]:
        return sorted({(row.source, row.op) for group in self.groups for row in group.rows})

    @cached_property
    def _weights(self) -> FloatArray:
        calls = [(row.source, row.op) for group in self.groups for row in group.rows]
        return np.sqrt([len(calls) / len(self._calls) / calls.count(call) for call in calls])

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """Robust logarithmic errors, and how far the coefficients are from where they started; all anew each time."""
        del parameter, base  # each coefficient touches most rows
        values = values_at(self.parameters, logarithms) | self.known
        errors = np.concatenate([np.log(predicted(group, values) / group.measured_s) for group in self.groups])
        spread = np.array([parameter.spread for parameter in self.parameters])
        result: FloatArray = np.concatenate([robust(errors) * self._weights, logarithms / spread * HOLD * SCALE])
        return result


def scope_of(family: str) -> str:
    """The file of a family's coefficients."""
    return f"families/{family}"


def predicted(group: TimedOps, values: Values) -> FloatArray:
    """Times of timed calls, (rows,): kernels, and what a call costs beside them. [s]"""
    first = group.rows[0]
    device = load_device(first.device)
    if first.source in OLDER and OLDER_RATE in values:
        values = dict(values) | {(scope_of(str(device.profile.family)), OLDER_RATE[1]): values[OLDER_RATE]}
    device = with_families(device, values)
    starts = [values.get(("start", f"{row.source} {row.op}"), START[0]) for row in group.rows]
    result: FloatArray = group.kernel_seconds(device) + np.array(starts)
    return result


def of_family(rows: Sequence[SingleOp], family: str) -> list[SingleOp]:
    """The rows of a family's devices that its coefficients are fitted to."""
    own = [row for row in rows if load_device(row.device).profile.family == family]
    return [row for row in own if row.op != "product" or row.sides[0] >= LEAST_ROWS]


def fit_family(rows: Sequence[SingleOp], family: str, known: Values | None = None) -> Values:
    """The coefficients, and each call's costs, that err least over some rows of a family."""
    fixed = {(scope_of(family), key): value for key, value in BY_DEFINITION.items()} | (known or {})
    return fixed | fit(OpFit(family, together(rows), fixed), rounds=ROUNDS)


def errors_of(rows: Sequence[SingleOp], values: Values) -> dict[Call, FloatArray]:
    """Source and operation -> predicted over measured, less one."""
    found: dict[Call, list[float]] = {}
    for group in together(rows):
        for row, seconds in zip(group.rows, predicted(group, values), strict=True):
            found.setdefault((row.source, row.op), []).append(float(seconds) / row.time_s - 1)
    return {call: np.array(values) for call, values in found.items()}


def held_out(rows: Sequence[SingleOp], family: str) -> dict[Call, FloatArray]:
    """The same under coefficients fitted without a row's source, whose calls' costs alone are then fitted to it."""
    found: dict[Call, FloatArray] = {}
    for source in sorted({row.source for row in rows}):
        coefficients = fit_family([row for row in rows if row.source != source], family)
        known = {key: value for key, value in coefficients.items() if key[0] != "start"}
        own = [row for row in rows if row.source == source]
        found |= errors_of(own, known | fit_family(own, family, known))
    return found


def printed(errors: Mapping[Call, FloatArray]) -> str:
    """A line for each source and operation."""
    return "\n".join(
        f"{source:34} {op:10} {len(each):3} rows: mean {np.abs(each).mean():.1%}, bias {each.mean():+.1%}"
        for (source, op), each in sorted(errors.items())
    )


def main(file: Path, family: str, held_out: bool) -> None:
    """Print the coefficients of the family named, or the errors of sources held out."""
    rows = of_family(read_single_ops(file), family)
    (_print_held_out if held_out else _print_fit)(rows, family)


def _print_held_out(rows: Sequence[SingleOp], family: str) -> None:
    print(printed(held_out(rows, family)))


def _print_fit(rows: Sequence[SingleOp], family: str) -> None:
    values = fit_family(rows, family)
    for (_, key), value in values.items():
        print(f"{key}: {value:.3g}")
    print(printed(errors_of(rows, values)))


if __name__ == "__main__":
    run(main)
