"""Energy of a step, and the bill that it makes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from simulator.billing import billed, billed_plan
from simulator.device.device import load_device
from simulator.device.draw import HIGH, LOW, draw_of
from simulator.device.system import cluster_of_system
from simulator.execution.bill import Bill, Circumstances, Spans, bill_of
from simulator.execution.energy import Activity, activity_of
from simulator.execution.failures import Failures
from simulator.parallel.plan import Plan
from simulator.pipeline import Options, Simulation, simulate
from simulator.planned import simulate_plan
from simulator.precision import Engine
from simulator.roofline.times import Bound
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
V100 = load_device("v100-pcie-16gb")
BUSY = Activity(lanes_s=0.25, tensors_s=0.5, traffic_bytes=0.5e12, time_s=1.0)
HOUR = 3600.0


def resnet(**options: object) -> Simulation:
    return simulate(load_workload("resnet50"), A100, Options(epochs=2, batch=64, **options))  # type: ignore[arg-type]


def bill(given: Circumstances | None = None, **steps: float | None) -> Bill:
    return bill_of(10 * HOUR, A100, 8, given or Circumstances(), Spans(1.0, HOUR, BUSY, **steps))


def test_the_activity_of_a_step_is_the_sum_over_its_kernels() -> None:
    answer = resnet(precision="amp")
    found = activity_of(answer.kernels, answer.times, "fp16_tensor", answer.step.time_s)
    assert found.lanes_s + found.tensors_s == pytest.approx(answer.times.seconds[Bound.COMPUTE].sum())
    assert found.tensors_s > 0
    assert found.traffic_bytes == pytest.approx(answer.times.traffic_bytes.sum())
    in_lanes = activity_of(answer.kernels, answer.times, "fp32", answer.step.time_s)
    assert in_lanes.tensors_s == 0
    assert in_lanes.lanes_s == pytest.approx(found.lanes_s + found.tensors_s)


def test_products_are_in_tensor_cores_and_nothing_else_is() -> None:
    answer = resnet(precision="amp")
    found = activity_of(answer.kernels, answer.times, "fp16_tensor", answer.step.time_s)
    computing = zip(answer.kernels.engine, answer.times.seconds[Bound.COMPUTE], strict=True)
    products_s = math.fsum(seconds for engine, seconds in computing if engine == Engine.MATRIX)
    assert found.tensors_s == pytest.approx(products_s)
    assert 0 < found.lanes_s < found.tensors_s


def test_passes_and_update_are_repeated_apart() -> None:
    answer = resnet()
    once, thrice = (activity_of(answer.kernels, answer.times, "fp32", 1.0, (n, 1.0)) for n in (1.0, 3.0))
    update = activity_of(answer.kernels, answer.times, "fp32", 1.0, (0.0, 1.0))
    assert thrice.traffic_bytes - update.traffic_bytes == pytest.approx(3 * (once.traffic_bytes - update.traffic_bytes))


def test_power_of_an_activity_by_hand() -> None:
    draw = draw_of(A100)
    assert draw is not None
    # Static 52.8, running 146.4, a quarter of the lanes' 79 and half of the tensor cores' 222, 0.5e12 x 47 pJ = 23.5.
    assert BUSY.power_w(draw) == pytest.approx(52.8 + 146.4 + 79.05 / 4 + 222.06 / 2 + 23.5, abs=0.1)
    twice = Activity(lanes_s=0.5, tensors_s=1.0, traffic_bytes=1e12, time_s=2.0)  # a step of twice all
    assert twice.power_w(draw) == pytest.approx(BUSY.power_w(draw))


def test_a_bill_is_what_its_power_and_time_make() -> None:
    found = bill(Circumstances(pue=1.2, carbon_g_per_kwh=400, price_usd_per_hour=2))
    assert found.drawn is not None
    assert found.drawn.power_w == pytest.approx(8 * 353.0, abs=5)
    assert found.run.energy_j == pytest.approx(1.2 * found.drawn.power_w * 10 * HOUR)
    assert found.run.carbon_g == pytest.approx((found.run.energy_j or 0) / 3.6e6 * 400)
    assert found.run.cost_usd == found.cost_usd == pytest.approx(160)
    assert found.epoch is not None
    assert found.epoch.cost_usd == pytest.approx(16)
    assert found.epoch.energy_j == pytest.approx((found.run.energy_j or 0) / 10)
    assert found.step is not None
    assert found.step.cost_usd == pytest.approx(16 / HOUR)
    assert (found.energy_j or 0) > (found.run.energy_j or 0)


def test_parts_of_the_power_sum_to_it_below_the_limit() -> None:
    drawn = bill().drawn
    assert drawn is not None
    parts = drawn.static_w + drawn.running_w + drawn.computing_w + drawn.memory_w
    assert parts == pytest.approx(drawn.power_w)
    assert drawn.low_w == pytest.approx(LOW * drawn.power_w)
    assert drawn.high_w == 8 * 400


def test_a_board_that_idles_has_room_above() -> None:
    # Static 52.8, running 146.4, a tenth of the tensor cores' 222: 221.4 W a board, of 400.
    idle = Activity(lanes_s=0.0, tensors_s=0.1, traffic_bytes=0.0, time_s=1.0)
    drawn = bill_of(HOUR, A100, 8, Circumstances(), Spans(1.0, HOUR, idle)).drawn
    assert drawn is not None
    assert drawn.power_w == pytest.approx(8 * 221.4, rel=1e-3)
    assert (drawn.low_w, drawn.high_w) == pytest.approx((LOW * drawn.power_w, HIGH * drawn.power_w))
    assert (drawn.static_w, drawn.running_w) == pytest.approx((8 * 52.8, 8 * 146.4))
    assert (drawn.computing_w, drawn.memory_w) == (pytest.approx(8 * 22.2, rel=1e-3), 0.0)


def test_money_by_hand_and_whose_price_it_is() -> None:
    # Ten hours of eight boards at 2 USD.
    own = bill(Circumstances(price_usd_per_hour=2.0))
    assert (own.cost_usd, own.price_date, own.price_note) == (pytest.approx(160.0), "", "")
    assert bill().price_note == "an eighth of AWS p4de.24xlarge"
    profile = A100.profile.price
    assert profile is not None
    listed = bill()
    assert (listed.price_usd_per_hour, listed.price_date) == (profile.usd_per_hour, profile.date)
    assert listed.cost_usd == pytest.approx(80 * profile.usd_per_hour)
    free = bill(Circumstances(price_usd_per_hour=0.0))
    assert (free.cost_usd, free.price_usd_per_hour) == (0.0, 0.0)
    unpriced = bill_of(HOUR, load_device("cpu-16core"), 1, Circumstances())
    assert (unpriced.cost_usd, unpriced.price_usd_per_hour, unpriced.run.cost_usd) == (None, None, None)
    assert (unpriced.drawn, unpriced.step, unpriced.epoch, unpriced.low, unpriced.high) == (None,) * 5


def test_the_most_that_boards_take_by_hand() -> None:
    # 8 x 400 W, a fifth more for the data centre, ten hours: 38.4 kWh; at 400 g each 15.36 kg.
    found = bill(Circumstances(pue=1.2, carbon_g_per_kwh=400.0))
    assert (found.power_w, found.energy_j) == (3200.0, pytest.approx(38.4 * 3.6e6))
    assert found.carbon_g == pytest.approx(15360.0)
    assert bill().carbon_g is None


def test_bounds_of_a_long_run_by_hand() -> None:
    # Factors of 0.5 and 0.808, of 2 and 1.25: logarithms 0.693, 0.213 and 0.223, roots of squares 0.725 and 0.728.
    found = bill(low=0.5, high=2.0)
    energy = found.run.energy_j
    assert energy is not None
    assert found.low is not None
    assert found.high is not None
    assert (found.low.time_s, found.high.time_s) == (5 * HOUR, 20 * HOUR)
    assert (found.low.energy_j or 0) / energy == pytest.approx(math.exp(-0.725), rel=1e-3)
    assert (found.high.energy_j or 0) / energy == pytest.approx(math.exp(0.728), rel=1e-3)


def test_the_interval_of_the_energy_has_both_errors() -> None:
    found = bill(low=0.8, high=1.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low.time_s == pytest.approx(0.8 * found.time_s)
    assert found.low.cost_usd == pytest.approx(0.8 * (found.cost_usd or 0))
    energy = found.run.energy_j or 0
    assert (found.low.energy_j or 0) == pytest.approx(energy * math.exp(-math.hypot(math.log(0.8), math.log(LOW))))
    limit = (found.energy_j or 0) * 1.02
    by_power = energy * math.exp(math.hypot(math.log(1.02), math.log(HIGH)))
    assert (found.high.energy_j or 0) == pytest.approx(min(by_power, limit))
    assert bill().low is None


def test_failures_are_shared_out_over_steps_and_epochs() -> None:
    plain, failing = bill(), bill(Circumstances(failures=Failures(1000 * HOUR)))
    more = failing.time_s / plain.time_s
    assert more > 1
    assert plain.epoch is not None
    assert failing.epoch is not None
    assert failing.epoch.time_s == pytest.approx(more * plain.epoch.time_s)


def test_bounds_of_time_say_nothing_of_power() -> None:
    assert billed(resnet(fidelity="roofline"), Circumstances()).bill.drawn is None  # type: ignore[union-attr]
    cpu = simulate(load_workload("lenet5"), load_device("cpu-16core"), Options())
    found = billed(cpu, Circumstances()).bill
    assert found is not None
    assert found.drawn is None
    assert found.run.energy_j is None


def test_a_step_that_waits_draws_less_power() -> None:
    answer = resnet()
    slow = replace(answer, step=replace(answer.step, time_s=2 * answer.step.time_s))
    fast_bill, slow_bill = (billed(one, Circumstances()).bill for one in (answer, slow))
    assert fast_bill is not None
    assert slow_bill is not None
    assert fast_bill.drawn is not None
    assert slow_bill.drawn is not None
    assert slow_bill.drawn.power_w < fast_bill.drawn.power_w


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_a_plan_on_one_stage_moves_what_its_share_does(recompute: str) -> None:
    workload = load_workload("gpt2", samples=512)
    joined = cluster_of_system("dgx-a100-80gb", 1)
    answer = simulate_plan(workload, A100, Options(precision="bf16", batch=8, ignore_memory=True), joined,
                           Plan(data=8, recompute=recompute))  # fmt: skip
    found = billed_plan(answer, Circumstances()).bill
    assert found is not None
    assert found.drawn is not None
    per_step = found.drawn.memory_w / 8 / (31e-12 + 16e-12) * answer.step.time_s
    share = float(answer.share.times.traffic_bytes.sum())
    if recompute == "none":
        assert per_step == pytest.approx(share)
    else:
        assert 1.1 * share < per_step < 1.5 * share
