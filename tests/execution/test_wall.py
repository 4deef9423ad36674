"""Power of whole machines at the wall: by hand, at rest and loaded, part of a machine, and in the bill."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from simulator.billing import billed
from simulator.device.device import load_device
from simulator.device.draw import HELD, Draw, draw_of
from simulator.device.system import cluster_of_system
from simulator.execution.bill import Bill, Circumstances
from simulator.execution.certainty import Interval
from simulator.execution.wall import LOADED, rated_watts, wall_of
from simulator.pipeline import Options, simulate
from simulator.workload.reading import load_workload

H100 = load_device("h100-sxm5-80gb")
ONE = cluster_of_system("dgx-h100")


def draw() -> Draw:
    found = draw_of(H100)
    assert found is not None
    return found


def watts(drawn_w: float, joined: object = ONE) -> float:
    found = wall_of(joined, draw(), (drawn_w, drawn_w, drawn_w))  # type: ignore[arg-type]
    assert found is not None
    return found.power_w


def test_a_machine_by_hand() -> None:
    # Rest 8 x (15 + 132 x 0.35) = 489.6 W, limit 8 x 0.96 x 700 = 5376 W. At 4200 W: 3710.4 / 4886.4 = 0.7593 of the
    # way from 1530 to 0.82 x 10200 = 8364 W: 6719 W.
    assert watts(4200) == pytest.approx(6719, abs=1)


def test_at_rest_it_idles_and_loaded_it_draws_what_was_measured() -> None:
    assert watts(8 * draw().static_w) == pytest.approx(1530)
    assert watts(8 * HELD * 700) == pytest.approx(LOADED * 10200) == pytest.approx(8364)
    assert watts(0.0) == pytest.approx(1530)


@pytest.mark.parametrize("system", ["dgx-a100-40gb", "dgx-a100-80gb"])
def test_an_a100s_machine_draws_beside_its_boards_what_another_maker_s_does(system: str) -> None:
    """MLPerf inference 1.1, closed, Dell XE8545 with four A100 of 500 W: 3,116 to 3,246 W at the wall in BERT.

    These boards' limits were not lowered; at them the machine draws 1.56 to 1.62 W a watt of theirs. Nothing was fitted
    to it.
    """
    machine = cluster_of_system(system)
    rated = rated_watts(machine)
    assert rated is not None
    boards_w = 8 * 400
    assert LOADED * rated / boards_w == pytest.approx(3246 / (4 * 500), rel=0.05)


def test_machines_add_up_and_half_a_machine_idles_whole() -> None:
    two, half = cluster_of_system("dgx-h100", 2), cluster_of_system("dgx-h100", 1, 4)
    assert watts(8400, two) == pytest.approx(2 * watts(4200))
    assert watts(2100, half) - 1530 == pytest.approx((watts(4200) - 1530) / 2)
    assert rated_watts(two) == 20400
    for joined, count in ((ONE, 1), (two, 2), (half, 1)):
        found = wall_of(joined, draw(), (4200.0, 4200.0, 4200.0))
        assert found is not None
        assert (found.machines, found.idle_w, found.rated_w) == (count, 1530 * count, 10200 * count)


def test_without_a_machine_or_its_power_it_is_not_known() -> None:
    tpu = cluster_of_system("tpu-v4-4x4x4")
    for joined in (None, replace(ONE, machine=None), tpu):
        assert wall_of(joined, draw(), (1.0, 1.0, 1.0)) is None
        assert rated_watts(joined) is None


def test_other_boards_than_the_machines_own_leave_its_power_unknown() -> None:
    box = ONE.machine
    assert box is not None
    assert box.with_device("h200").peak_w == box.peak_w == 10200
    other = replace(ONE, machine=box.with_device("a100-sxm4-80gb"))
    assert wall_of(other, draw(), (1.0, 1.0, 1.0)) is None
    assert other.machine is not None
    assert other.machine.cores == box.cores


def bill(joined: object) -> Bill:
    answer = simulate(load_workload("resnet50"), H100, Options(precision="amp", batch=64), joined)  # type: ignore[arg-type]
    found = billed(answer, Circumstances(pue=1.5)).bill
    assert found is not None
    return found


def test_a_bill_is_of_the_machine_where_one_is_named() -> None:
    whole, boards = bill(ONE), bill(replace(ONE, machine=None))
    assert whole.wall is not None
    assert boards.wall is None
    assert whole.drawn == boards.drawn
    assert whole.drawn is not None
    assert whole.run.energy_j == pytest.approx(whole.time_s * whole.wall.power_w * 1.5)
    assert boards.run.energy_j == pytest.approx(boards.time_s * whole.drawn.power_w * 1.5)
    assert whole.power_w == 10200
    assert boards.power_w == 5600
    assert whole.wall.low_w < whole.wall.power_w < whole.wall.high_w
    assert whole.wall.power_w > whole.drawn.power_w


def test_the_interval_of_a_machines_energy_is_that_of_its_power() -> None:
    # Time and power are wrong by factors of their own: the root of the sum of their logarithms' squares.
    answer = simulate(load_workload("resnet50"), H100, Options(precision="amp", batch=64), ONE)
    answer = replace(answer, interval=Interval(0.8, 1.25, 0.8))
    found = billed(answer, Circumstances()).bill
    assert found is not None
    wall, low, high = found.wall, found.low, found.high
    assert wall is not None
    assert low is not None
    assert high is not None
    energy = found.run.energy_j or 0.0
    least = math.exp(-math.hypot(math.log(0.8), math.log(wall.low_w / wall.power_w)))
    most = math.exp(math.hypot(math.log(1.25), math.log(wall.high_w / wall.power_w)))
    assert (low.energy_j or 0.0) / energy == pytest.approx(least)
    assert (high.energy_j or 0.0) / energy == pytest.approx(most)
