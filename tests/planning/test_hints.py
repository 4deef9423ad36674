"""Which other setting a reader should look at: the batch at which the device is busy, the precision people train in."""

from __future__ import annotations

from simulator.device.device import load_device
from simulator.pipeline import Options, Simulation, simulate
from simulator.planning.hints import busy_batch, precision_hint
from simulator.roofline.times import Bound
from simulator.workload.reading import load_workload


def answer(device: str = "h100", **options: object) -> Simulation:
    return simulate(load_workload("resnet50"), load_device(device), Options(**options))  # type: ignore[arg-type]


def test_the_busy_batch_is_the_first_doubling_at_which_the_host_no_longer_decides() -> None:
    waiting = answer(batch=16, precision="amp")
    assert waiting.step.bound is Bound.OVERHEAD
    batch = busy_batch(waiting)
    assert batch is not None
    assert answer(batch=batch, precision="amp").step.bound_shares[Bound.OVERHEAD] < 0.5
    assert answer(batch=batch // 2, precision="amp").step.bound_shares[Bound.OVERHEAD] >= 0.5


def test_no_busy_batch_where_the_device_decides_or_the_fidelity_knows_no_host() -> None:
    assert busy_batch(answer("v100", batch=64)) is None
    assert busy_batch(answer(batch=16, precision="amp", fidelity="roofline")) is None


def test_the_hint_is_what_the_other_precision_takes() -> None:
    full = answer("v100", batch=64)
    hint = precision_hint(full)
    assert hint is not None
    assert hint.precision == "amp"
    assert hint.speedup == full.step.time_s / answer("v100", batch=64, precision="amp").step.time_s


def test_no_hint_without_matrix_units_or_beside_fp32() -> None:
    assert precision_hint(answer("cpu-16core", batch=8)) is None
    assert precision_hint(answer("v100", precision="amp")) is None
