"""What a board draws: its parts, its bounds, and where nothing is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.device.draw import COMPUTING, HELD, RUNNING, WAY_J, Draw, draw_of
from simulator.device.power import HBM_J, STATIC_W, UNIT_W

SHARE = st.floats(0, 1)
BYTES = st.floats(0, 1e13)


def of(name: str) -> Draw:
    found = draw_of(load_device(name))
    assert found is not None
    return found


def test_the_worked_example() -> None:
    # Static 15 + 132 x 0.35 = 61.2; running 0.366 x 700 = 256.2; a twentieth of 0.8 x 989.4e12 x 0.55e-12 x 1980/1830 =
    # 471 is 23.6; 2.2e12 x 47e-12 = 103.4: 444.4 W.
    assert of("h100-sxm5-80gb").power(0, 0.05, 2.2e12) == pytest.approx(444.4, abs=0.2)


def test_a_boards_numbers_are_those_of_its_clock() -> None:
    draw = of("a100-sxm4-80gb")
    assert draw.static_w == STATIC_W + UNIT_W * 108
    assert draw.byte_j == HBM_J + WAY_J
    assert draw.running_w == RUNNING * 400
    assert draw.matrix_w == pytest.approx(load_device("a100-sxm4-80gb").sustained["matrix"] * 312e12 * 0.93e-12
                                          * 1410 / 1695)  # fmt: skip


def test_a_clock_that_is_held_lowers_rate_and_energy() -> None:
    held, free = of("l4"), draw_of(load_device("l4", overrides=["power=300W"]))
    assert free is not None
    share = load_device("l4").limits["vector"]
    assert share < 1
    assert held.vector_w == pytest.approx(free.vector_w * share**2)


def test_a_family_without_energies_takes_its_share_of_the_limit() -> None:
    assert of("v100-sxm2-16gb").vector_w == COMPUTING * 300
    # Near that of the families whose energies are known: 0.56 of an A100's limit, 0.67 of an H100's, 0.46 of a B200's.
    known = [of(name) for name in ("a100-sxm4-80gb", "h100-sxm5-80gb", "b200")]
    shares = [draw.matrix_w / draw.limit_w for draw in known]
    assert shares == pytest.approx([0.56, 0.67, 0.46], abs=0.01)
    assert min(shares) < COMPUTING < max(shares)


def test_power_is_the_sum_of_its_parts_up_to_what_is_held() -> None:
    draw = Draw(static_w=10, running_w=20, vector_w=40, matrix_w=80, byte_j=1e-11, limit_w=200)
    assert draw.power(0, 0, 0) == 30
    assert draw.power(0.5, 0.25, 1e12) == pytest.approx(30 + 20 + 20 + 10)
    assert draw.power(1, 1, 1e13) == HELD * 200
    assert 0.95 <= HELD <= 0.99  # where boards under full load were measured


def test_static_power_is_at_most_half_of_the_limit() -> None:
    # 15 + 132 x 0.35 = 61 W of a board that is held to 100.
    held = draw_of(load_device("h100-sxm5-80gb", overrides=["power=100W"]))
    assert held is not None
    assert held.static_w == 50


@pytest.mark.parametrize("name", ["cpu-16core", "epyc-7742", "tpu-v5e"])
def test_processors_and_boards_without_a_limit_are_not_known(name: str) -> None:
    assert draw_of(load_device(name)) is None


@given(lanes=SHARE, tensors=SHARE, moved=BYTES, more=SHARE)
def test_more_work_never_draws_less_and_never_more_than_the_limit(
    lanes: float, tensors: float, moved: float, more: float
) -> None:
    draw = of("v100-sxm2-16gb")
    power = draw.power(lanes, tensors, moved)
    assert draw.static_w + draw.running_w <= power <= HELD * draw.limit_w
    assert draw.power(lanes + more, tensors, moved) >= power
    assert draw.power(lanes, tensors + more, moved) >= power
    assert draw.power(lanes, tensors, moved * (1 + more)) >= power
