"""Inference benchmarks of whole systems (MLPerf): samples a second offline or under a limit, latency of a stream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

from simulator.calibration.texts import QUESTION, TEXTS, answered_per_s
from simulator.device.device import load_device
from simulator.errors import UnsupportedError
from simulator.pipeline import Options, simulate
from simulator.serving.engine import release
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload

IMAGES = 1024
"""Samples of an offline step, from where on throughput no longer grows."""

LIMITS_S = {"resnet50": 0.015, "bert_large": 0.13}
"""Within which 99 of 100 queries that come by chance must be answered. Source: MLPerf inference rules, table of
server latencies of data centres. [s]"""

BATCHES = tuple(sorted({1 << power for power in range(11)} | {3 << power for power in range(9)}))
"""Samples of a step that a system under a limit may choose among."""

RARELY = 2.326
"""Standard deviations that 99 of 100 normal values keep below the mean and so many more of."""

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
    year: int = 0


def samples_per_s(row: SystemRow) -> float:
    """Samples a second of all devices of a system: offline, or of queries that come by chance under a limit. [1/s]

    Raises
    ------
    UnsupportedError
        Saying what of the row is not modelled, or not known.
    """
    _check(row)
    limited = "scenario Offline" not in row.note
    if row.workload in TEXTS:
        engine = "tensorrt-llm" if row.engine.startswith(TENSORRT) else release("vllm", row.year)
        return row.devices * answered_per_s(row.workload, row.device, _form(row), engine, limited=limited)
    if not limited:
        return row.devices * IMAGES / _step_seconds(row, IMAGES)
    return row.devices * _limited_per_s(row)


def _limited_per_s(row: SystemRow) -> float:
    """Samples a second of a device whose queries come by chance and wait for a limited time. [1/s]

    Those that come while a step runs make the next one: the last to be answered has waited for a step and was in
    another, both of which the limit must hold. Worked example: 15 ms allow steps of 7.5 ms. Of queries that come by
    chance more than the mean come now and then, and a step of these must be short enough too in 99 of 100 cases; that
    each device has a queue of its own is assumed.
    """
    limit_s = LIMITS_S.get(row.workload)
    if limit_s is None:
        raise UnsupportedError("queries that come by chance under a limit of latency that is not known")
    steps = [(batch, _step_seconds(row, batch)) for batch in BATCHES]
    rates = [usual(batch) / step_s for batch, step_s in steps if 2 * step_s <= limit_s]
    if not rates:
        raise UnsupportedError("no step is short enough for the benchmark's limit of latency")
    return max(rates)


def usual(most: float) -> float:
    """Mean number of queries by chance of which 99 of 100 times no more than so many come: n + 2.326 sqrt(n) = most.

    The number in a time has a Poisson distribution, nearly a normal one of variance n.

    >>> f"{usual(100):.1f}, {usual(225):.1f}"  # 79.3 + 2.326 x 8.906 = 100
    '79.3, 192.7'
    """
    root = (-RARELY + sqrt(RARELY**2 + 4 * most)) / 2
    return root**2


def latency_s(row: SystemRow) -> float:
    """Latency of a stream of so many samples at a time on one device. [s]"""
    _check(row)
    return _step_seconds(row, max(int(row.batch), 1))


def _check(row: SystemRow) -> None:
    if not row.workload:
        raise UnsupportedError("the model has no workload")
    if re.search(r"\bMIG|_MIG|mig ", row.note):
        raise UnsupportedError("a slice of a device")
    if not row.engine.startswith((TENSORRT, "vLLM") if row.workload in TEXTS else TENSORRT):
        raise UnsupportedError(f"no framework for {row.engine}")


def _step_seconds(row: SystemRow, batch: int) -> float:
    workload = load_workload(row.workload)
    if len(workload.inputs[0]) != 3 and row.workload != "bert_large":
        raise UnsupportedError("the lengths of the benchmark's texts are not in the table")
    return _seconds(row.workload, row.device, _form(row), batch)


def _form(row: SystemRow) -> str:
    """The format that products run in.

    Systems whose tensor cores have narrow floats declare half-width weights of language models and multiply them in 8
    bits, on Blackwell in 4: NVIDIA says so of BERT on H100 (MLPerf inference v2.1) and of Llama 2 70B on B200 (v4.1).
    In BERT's engines 8-bit floats are as 8-bit integers: kernels before a product round them.
    """
    form, peaks = row.format.lower(), load_device(row.device).peak
    if row.workload not in (*TEXTS, "bert_large") or form != "fp16" or "fp8_tensor" not in peaks:
        return form
    if row.workload not in TEXTS:
        return "int8"
    return "fp4" if "fp4_tensor" in peaks else "fp8"


@lru_cache(maxsize=512)
def _seconds(workload: str, device: str, precision: str, batch: int) -> float:
    options = Options(batch=batch, precision=precision, task="infer", framework="tensorrt", ignore_memory=True)
    request = Request(sequence=QUESTION, attention="fused") if workload == "bert_large" else None
    return simulate(load_workload(workload, request=request), load_device(device), options).step.time_s
