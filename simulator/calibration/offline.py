"""Inference benchmarks of whole systems (MLPerf): samples a second offline, latency of a single stream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from simulator.device.device import load_device
from simulator.errors import UnsupportedError
from simulator.pipeline import Options, simulate
from simulator.workload.reading import load_workload

IMAGES = 1024
"""Images of an offline step, from where on throughput no longer grows."""

TENSORRT = "TensorRT"


@dataclass(frozen=True)
class SystemRow:
    """What of a row says which system ran what."""

    workload: str
    device: str
    format: str
    engine: str
    devices: int
    batch: float
    note: str


def samples_per_s(row: SystemRow) -> float:
    """Samples a second of all devices of a system offline. [1/s]

    Raises
    ------
    UnsupportedError
        Saying what of the row is not modelled, or not known.
    """
    if "scenario Offline" not in row.note:
        raise UnsupportedError("queries that come by chance under a limit of latency, at a rate tuned to it")
    return row.devices * IMAGES / _step_seconds(row, IMAGES)


def latency_s(row: SystemRow) -> float:
    """Latency of a stream of so many samples at a time on one device. [s]"""
    return _step_seconds(row, max(int(row.batch), 1))


def _step_seconds(row: SystemRow, batch: int) -> float:
    if not row.workload:
        raise UnsupportedError("the model has no workload")
    workload = load_workload(row.workload)
    if len(workload.inputs[0]) != 3:
        raise UnsupportedError("the lengths of the benchmark's texts are not in the table")
    if not row.engine.startswith(TENSORRT):
        raise UnsupportedError(f"no framework for {row.engine}")
    if re.search(r"\bMIG|_MIG|mig ", row.note):
        raise UnsupportedError("a slice of a device")
    return _seconds(row.workload, row.device, row.format.lower(), batch)


@lru_cache(maxsize=512)
def _seconds(workload: str, device: str, precision: str, batch: int) -> float:
    options = Options(batch=batch, precision=precision, task="infer", framework="tensorrt", ignore_memory=True)
    return simulate(load_workload(workload), load_device(device), options).step.time_s
