"""The least recomputation that fits: part of the blocks, between none and all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.calibration.recomputing import least_recomputed, part_of, whole
from simulator.device.device import load_device
from simulator.device.system import usual_cluster
from simulator.execution.memory import Footprint
from simulator.parallel.plan import Plan
from simulator.pipeline import Options
from simulator.planned import Shares
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload

GB = 1e9


def footprint(total_gb: float, capacity_gb: float = 80) -> Footprint:
    return Footprint(total_gb * GB, 0, 0, 0, 0, capacity_gb * GB)


def test_the_part_by_hand() -> None:
    # A first stage that misses 20 of the 60 GB that recomputation saves, a second that fits as it is.
    light, heavy = (footprint(100), footprint(60)), (footprint(40), footprint(30))
    assert part_of(light, heavy) == pytest.approx(1 / 3)


def shares(device: str = "a100-sxm4-80gb") -> Shares:
    found = load_device(device)
    network = load_workload("llama3_8b", request=Request(attention="fused"))
    options = Options(precision="bf16", framework="megatron", optimizer="adam", ignore_memory=True)
    return Shares(network, found, options, usual_cluster(found, 8))


def test_a_step_that_fits_computes_nothing_again() -> None:
    plan = Plan(data=4, tensor=2, sequence=True, microbatch=1, zero=1)
    assert least_recomputed(shares(), plan, 8).time_s == whole(shares(), plan, 8).time_s


def test_a_step_that_almost_fits_computes_some_blocks_again() -> None:
    of, plan = shares(), Plan(data=8, zero=3, microbatch=4)
    none, full = whole(of, plan, 32), whole(of, replace(plan, recompute="full"), 32)
    least = least_recomputed(of, plan, 32)
    capacity = of.device.memory.capacity_bytes
    assert full.memory_bytes < capacity < none.memory_bytes
    assert none.time_s < least.time_s < full.time_s
    assert least.memory_bytes <= capacity * 1.001
    assert least.tokens_per_s_per_device == pytest.approx(32 * 8192 / 8 / least.time_s)


def test_where_nothing_fits_all_is_computed_again() -> None:
    of, plan = shares(), Plan(data=8, zero=0, microbatch=16)
    full = whole(of, replace(plan, recompute="full"), 128)
    assert full.memory_bytes > of.device.memory.capacity_bytes
    assert least_recomputed(of, plan, 128).time_s == full.time_s
