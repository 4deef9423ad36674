"""Measured steps of one device, lowered for fits: what of each row stays while coefficients move."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from simulator.calibration.measurements import Measurement, device_of, options_of, workload_of
from simulator.device.device import Device
from simulator.device.host import hosted
from simulator.errors import SimulatorError
from simulator.execution.input import Feeding, input_of
from simulator.op.kernel import Phase
from simulator.op.kernels import FloatArray, Kernels
from simulator.pipeline import kernels_of
from simulator.precision import Precision, get_precision


@dataclass(frozen=True)
class Row:
    """A measured network, lowered, with the launches whose time was measured.

    least_s : what its loader takes for a batch, beside the device. [s]
    """

    measured: Measurement
    kernels: Kernels
    precision: Precision
    device: Device
    chosen: FloatArray
    least_s: float


def rows_of(measurements: Iterable[Measurement]) -> list[Row]:
    """The rows that can be predicted, repeated measurements as their median."""
    rows = []
    for measured in _medians(measurements):
        with suppress(SimulatorError):
            rows.append(row_of(measured))
    return rows


def row_of(measured: Measurement) -> Row:
    """A measured step on one device, lowered.

    Raises
    ------
    SimulatorError
        If it cannot be predicted.
    """
    device = hosted(device_of(measured.device), measured.host)
    kernels = kernels_of(workload_of(measured), options_of(measured), device)
    chosen, least_s = _chosen(measured, kernels), _least(measured, device)
    return Row(measured, kernels, get_precision(measured.precision), device, chosen, least_s)


def _least(measured: Measurement, device: Device) -> float:
    if not measured.loader:
        return 0.0
    return input_of(workload_of(measured), device, Feeding(measured.loader), (measured.batch, 1.0)).time_s


def _medians(measurements: Iterable[Measurement]) -> list[Measurement]:
    same: dict[Measurement, list[Measurement]] = {}
    for measured in measurements:
        if measured.devices == 1 or measured.task == "infer":  # devices that infer share nothing
            same.setdefault(replace(measured, id="", step_s=1.0, devices=1, system=""), []).append(measured)
    ordered = [sorted(group, key=lambda m: m.step_s) for group in same.values()]
    return [group[len(group) // 2] for group in ordered]


def _chosen(measured: Measurement, kernels: Kernels) -> FloatArray:
    phase = kernels.phase
    if measured.task == "forward":
        chosen = phase == Phase.FORWARD
    elif measured.task == "backward":
        chosen = (phase == Phase.INPUT_GRADIENT) | (phase == Phase.WEIGHT_GRADIENT)
    else:
        chosen = phase != Phase.UPDATE if not measured.optimizer else np.full(len(phase), True)
    return np.asarray(chosen, dtype=float)
