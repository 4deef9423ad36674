"""Measured products and attention of served language models: predicted, or counted with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from simulator.calibration.llm_parts import work_of
from simulator.calibration.llm_rows import MeasuredOp, by_group
from simulator.device.device import Device, load_device
from simulator.errors import SimulatorError
from simulator.serving.calls import LibraryCall, kernels_of, load_calls, usual_call

DEVICES = {
    "a100-sxm": "a100-sxm4-80gb",
    "h100-sxm": "h100-sxm5-80gb",
    "h200-sxm": "h200",
    "b200-sxm": "b200",
    "rtx-pro-6000-server": "rtx-pro-6000-server",
}
"""Devices as a table names them -> profiles; others go by their own name."""


@dataclass(frozen=True, slots=True)
class OpCase:
    """A measured kernel and its prediction, or the reason why there is none. [s]"""

    row: MeasuredOp
    predicted_s: float = math.nan
    reason: str = ""

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.row.time_s - 1


def predict_ops(
    rows: Sequence[MeasuredOp], calls: Mapping[str, Mapping[str, LibraryCall]] | None = None
) -> list[OpCase]:
    """Each row with its prediction, or with the reason why there is none.

    calls : kind of kernels -> call -> its costs; those of the shipped profile where not given.
    """
    known = load_calls() if calls is None else calls
    cases: dict[int, OpCase] = {}
    for (name, call), positions in by_group(rows).items():
        chosen = [rows[position] for position in positions]
        try:
            device = device_of(name)
        except SimulatorError as error:
            cases.update((position, OpCase(rows[position], reason=str(error))) for position in positions)
            continue
        costs = known.get(kernels_of(device), {}).get(call) or usual_call(device)
        cases.update(zip(positions, _predicted(chosen, device, costs), strict=True))
    return [cases[position] for position in range(len(rows))]


def _predicted(rows: Sequence[MeasuredOp], device: Device, call: LibraryCall) -> list[OpCase]:
    """Rows of one group; where one has no rule or lacks a size, each by itself."""
    try:
        seconds = work_of(rows, device).seconds(call, device).tolist()
    except SimulatorError as error:
        if len(rows) == 1:
            return [OpCase(rows[0], reason=str(error))]
        return [case for row in rows for case in _predicted([row], device, call)]
    return [OpCase(row, value) for row, value in zip(rows, seconds, strict=True)]


def device_of(name: str) -> Device:
    """The profile of a device as a table names it."""
    return _device(DEVICES.get(name, name))


_device = lru_cache(maxsize=16)(load_device)
