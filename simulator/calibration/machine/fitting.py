"""The kernel coefficients of this machine: those with which our cost rules come nearest to the layers' times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.calibration.fit import SCALE, Parameter, Values, fit, robust, values_at
from simulator.calibration.machine.layers import Timed
from simulator.causes.cause import MACHINE
from simulator.causes.registry import starts_of
from simulator.device.device import Device
from simulator.op.kernels import FloatArray, pack
from simulator.precision import get_precision
from simulator.roofline.setting import Setting
from simulator.roofline.times import busy_seconds

STARTS = starts_of(MACHINE)
"""Coefficient -> starting value and spread of its logarithm."""

ROUNDS = 30


@dataclass
class LayerProblem:
    """Calls and their times against a device; `residuals` are robust logarithmic errors, each call weighing alike."""

    device: Device
    timed: Sequence[Timed]
    parameters: Sequence[Parameter]

    def __post_init__(self) -> None:
        """One table of all kernels, and the call that each belongs to."""
        self._columns = pack([kernel for call in self.timed for kernel in call.kernels])
        self._call = np.repeat(np.arange(len(self.timed)), [len(call.kernels) for call in self.timed])
        self._seconds = np.array([call.seconds for call in self.timed])
        self._spread = np.array([parameter.spread for parameter in self.parameters])

    @property
    def size(self) -> int:
        """Number of residuals."""
        return len(self.timed) + len(self.parameters)

    def predict(self, values: Values) -> FloatArray:
        """Time of each call, (calls,). [s]"""
        device = replace(
            self.device, kernel=dict(self.device.kernel) | {key: value for (_, key), value in values.items()}
        )
        seconds = busy_seconds(self._columns, Setting(device, get_precision("fp32")), 1.0) + device.launch_s
        result: FloatArray = np.bincount(self._call, seconds, len(self.timed)).astype(np.float64)
        return result

    def errors(self, values: Values) -> FloatArray:
        """Logarithms of predicted over measured times."""
        result: FloatArray = np.log(self.predict(values) / self._seconds)
        return result

    def residuals(
        self,
        logarithms: FloatArray,
        parameter: int | None = None,  # noqa: ARG002
        base: FloatArray | None = None,  # noqa: ARG002
    ) -> FloatArray:
        """All residuals: they are few, so that nothing is kept of `base`."""
        weight = 1 / np.sqrt(len(self.timed))
        held = logarithms / self._spread * SCALE * weight
        return np.concatenate([robust(self.errors(values_at(self.parameters, logarithms))) * weight, held])


def fitted(device: Device, timed: Sequence[Timed], keys: Sequence[str] | None = None) -> tuple[dict[str, float], float]:
    """Coefficients, those of `keys` alone if given, and the mean absolute error that they leave as a fraction."""
    parameters = [Parameter("machine", key, *STARTS[key]) for key in keys or STARTS]
    problem = LayerProblem(device, timed, parameters)
    values = fit(problem, ROUNDS)
    error = float(np.abs(np.expm1(problem.errors(values))).mean())
    return {key: value for (_, key), value in values.items()}, error
