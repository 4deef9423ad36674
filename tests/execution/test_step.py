"""A step from kernels whose numbers are made up: sums by phase, bound and layer, and what exchange and input add."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from simulator.execution.step import BACKWARD, FORWARD, UPDATE, Step, layer_times, step_of, with_waiting
from simulator.op.kernel import Engine, Phase
from simulator.op.kernels import Kernels
from simulator.roofline.times import Bound, Times

PHASES = [
    Phase.FORWARD,
    Phase.FORWARD,
    Phase.INPUT_GRADIENT,
    Phase.WEIGHT_GRADIENT,
    Phase.UPDATE,
    Phase.WEIGHT_GRADIENT,
]
BOUNDS = [Bound.COMPUTE, Bound.MEMORY, Bound.COMPUTE, Bound.OVERHEAD, Bound.MEMORY, Bound.MEMORY]
KERNELS = cast(
    Kernels,
    SimpleNamespace(
        phase=np.array(PHASES),
        engine=np.array([Engine.MATRIX, Engine.VECTOR, Engine.MATRIX, Engine.MATRIX, Engine.MATRIX, Engine.VECTOR]),
        layer=np.array([0, 1, 0, 0, 0, 2]),
    ),
)
SECONDS = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
TIMES = Times(
    flops=10 * SECONDS,
    traffic_bytes=100 * SECONDS,
    seconds=np.array([SECONDS / 2, SECONDS / 4, SECONDS / 8]),
    time_s=SECONDS,
    bound=np.array(BOUNDS),
)


def made() -> Step:
    return step_of(KERNELS, TIMES, 4, 20.0)


def test_phases_bounds_and_work_are_sums_over_kernels() -> None:
    step = made()
    assert (step.forward_s, step.backward_s, step.update_s, step.time_s) == (3, 4 + 8 + 32, 16, 63)
    # compute 1 + 4, memory 2 + 16 + 32, overhead 8 of 63
    assert step.bound is Bound.MEMORY
    assert step.bound_shares == pytest.approx((5 / 63, 50 / 63, 8 / 63, 0, 0))
    assert (step.flops, step.traffic_bytes) == (630, 6300)
    # products of the passes do 10 + 40 + 80 FLOP in 63 s at a peak of 20 FLOP/s; the update's are no model's FLOPs
    assert step.mfu == pytest.approx(130 / (63 * 20))
    assert (step.samples_per_s, replace(step, devices=3).samples_per_s) == (4 / 63, 12 / 63)
    assert (step.flop_per_s, step.intensity_flop_per_byte, step.kept_share) == (10, 0.1, 1)


def test_layers_are_sums_over_their_kernels() -> None:
    layers = layer_times(KERNELS, TIMES, 4)
    assert layers.time_s.tolist() == [29, 2, 32, 0]
    assert layers.flops.tolist() == [290, 20, 320, 0]
    assert layers.traffic_bytes.tolist() == [2900, 200, 3200, 0]
    assert layers.seconds.tolist() == [[14.5, 1, 16, 0], [7.25, 0.5, 8, 0], [3.625, 0.25, 4, 0]]
    assert layers.by_phase.tolist() == [[1, 2, 0, 0], [4, 0, 0, 0], [8, 0, 32, 0], [16, 0, 0, 0]]
    assert layers.by_pass.tolist() == [[1, 2, 0, 0], [12, 0, 32, 0], [16, 0, 0, 0]]
    assert layers.flop_per_s[:3].tolist() == [10, 10, 10]
    assert layers.intensity_flop_per_byte[:3] == pytest.approx(0.1)
    assert np.isnan(layers.flop_per_s[3])
    assert np.isnan(layers.intensity_flop_per_byte[3])


def test_a_layers_bound_is_what_most_of_its_time_waits_for_in_each_pass() -> None:
    layers = layer_times(KERNELS, TIMES, 3)
    # layer 0: compute 1 + 4, overhead 8, memory 16
    assert layers.bound.tolist() == [Bound.MEMORY, Bound.MEMORY, Bound.MEMORY]
    assert layers.bound_by_pass[FORWARD].tolist()[:2] == [Bound.COMPUTE, Bound.MEMORY]
    assert layers.bound_by_pass[BACKWARD].tolist() == [Bound.OVERHEAD, Bound.COMPUTE, Bound.MEMORY]  # 8 against 4
    assert layers.bound_by_pass[UPDATE].tolist()[0] == Bound.MEMORY


def test_exchange_adds_to_the_step_and_takes_of_every_share() -> None:
    step = with_waiting(made(), Bound.COMMUNICATION, 27.0)
    assert (step.time_s, step.communication_s, step.input_s, step.kernels_s) == (90, 27, 0, 63)
    assert step.bound_shares == pytest.approx((5 / 90, 50 / 90, 8 / 90, 27 / 90, 0))
    assert step.bound is Bound.MEMORY
    assert step.mfu == pytest.approx(130 / (90 * 20))
    assert step.kept_share == pytest.approx(63 / 90)
    assert with_waiting(made(), Bound.COMMUNICATION, 60.0).bound is Bound.COMMUNICATION


def test_input_that_comes_late_binds_however_little_it_adds() -> None:
    step = with_waiting(made(), Bound.INPUT, 1.0)
    assert (step.time_s, step.input_s, step.communication_s, step.kernels_s) == (64, 1, 0, 63)
    assert step.bound is Bound.INPUT
    assert step.bound_shares == pytest.approx((5 / 64, 50 / 64, 8 / 64, 0, 1 / 64))
    assert step.mfu == pytest.approx(130 / (64 * 20))
    assert with_waiting(made(), Bound.INPUT, 0.0) == made()
