"""Running power and energy of a byte, fitted to measured watts of boards that serve language models.

`python -m simulator.calibration.power_fit FILE` prints the constants of `device/draw.py` and `calibration/powered.py`
for a table of power. With `--held-out` each device is left out in turn: its errors under the fit to the others, and the
interval that holds eight in ten of all these errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.calibration.command import run
from simulator.calibration.fit import SCALE, Parameter, fit, robust, values_at
from simulator.calibration.powered import PoweredRow, Rates, rates_of, read_powered, watts
from simulator.errors import SimulatorError
from simulator.op.kernels import FloatArray

PARAMETERS = (
    Parameter("draw", "running", 0.3, 1.0),
    Parameter("draw", "way", 4e-11, 1.0),
    Parameter("draw", "prompts", 1.0, 1.0),
)
"""A board that computes and moves little draws a third to a half of its limit; a byte costs as much again between the
memory's pins and the units as in the memory; prompts are about as long as answers."""

HOLD = 0.05
"""Weight of the spreads beside one row."""


@dataclass(frozen=True)
class MeasuredPower:
    """What a board did, and its power. [W]"""

    rates: Rates
    each_w: float


@dataclass(frozen=True)
class Powers:
    """The fit of the constants to some rows; all rows of a device together weigh as those of each other."""

    measured: Sequence[MeasuredPower]

    @property
    def parameters(self) -> Sequence[Parameter]:
        """What may move."""
        return PARAMETERS

    @property
    def size(self) -> int:
        """Number of residuals."""
        return len(self.measured) + len(PARAMETERS)

    def residuals(
        self, logarithms: FloatArray, parameter: int | None = None, base: FloatArray | None = None
    ) -> FloatArray:
        """Robust logarithmic errors, and how far the constants are from where they started; all anew each time."""
        del parameter, base  # each constant touches most rows
        names = [row.rates.device for row in self.measured]
        weights = np.sqrt([len(names) / names.count(name) / len(set(names)) for name in names])
        spread = np.array([parameter.spread for parameter in PARAMETERS])
        held = logarithms / spread * HOLD * SCALE
        result: FloatArray = np.concatenate([weights * robust(errors(self.measured, _constants(logarithms))), held])
        return result


def _constants(logarithms: FloatArray) -> tuple[float, float, float]:
    running, way_j, prompts = values_at(PARAMETERS, logarithms).values()
    return running, way_j, prompts


def errors(measured: Sequence[MeasuredPower], constants: tuple[float, float, float]) -> FloatArray:
    """Logarithms of predicted over measured power, shape (rows,)."""
    predicted = np.array([watts(row.rates, *constants) for row in measured])
    result: FloatArray = np.log(predicted / [row.each_w for row in measured])
    return result


def fit_powers(measured: Sequence[MeasuredPower]) -> tuple[float, float, float]:
    """Running share of the limit, energy of a byte on its way [J], and what prompts add, that err least."""
    running, way_j, prompts = fit(Powers(measured)).values()
    return running, way_j, prompts


def measured_powers(rows: Sequence[PoweredRow]) -> list[MeasuredPower]:
    """The rows whose boards' rates are known."""
    found = []
    for row in rows:
        try:
            rates = rates_of(row)
        except SimulatorError:
            continue
        found.append(MeasuredPower(rates, row.value / rates.devices))
    return found


def held_out(measured: Sequence[MeasuredPower]) -> dict[str, FloatArray]:
    """Device -> logarithmic errors of its rows under a fit to the other devices."""
    names = sorted({row.rates.device for row in measured})
    return {
        name: errors(
            [row for row in measured if row.rates.device == name],
            fit_powers([row for row in measured if row.rates.device != name]),
        )
        for name in names
    }


def main(file: Path, held_out: bool) -> None:
    """Print the constants for the table given, or the errors of devices held out."""
    measured = measured_powers(read_powered(file))
    (_print_held_out if held_out else _print_constants)(measured)


def _print_constants(measured: Sequence[MeasuredPower]) -> None:
    running, way_j, prompts = fit_powers(measured)
    print(f"RUNNING = {running:.3g}\nWAY_J = {way_j:.3g}\nPROMPTS = {prompts:.3g}")


def _print_held_out(measured: Sequence[MeasuredPower]) -> None:
    found = held_out(measured)
    for name, error in found.items():
        ratio = np.exp(error) - 1
        print(f"{name:20} {len(ratio):4} rows: mean {np.abs(ratio).mean():.1%}, bias {ratio.mean():+.1%}")
    low, high = np.exp(np.quantile(-np.concatenate(list(found.values())), (0.1, 0.9)))
    print(f"LOW, HIGH = {low:.3g}, {high:.3g}")


if __name__ == "__main__":
    run(main)
