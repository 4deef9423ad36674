"""The input of a plan's step: what a replica's loader does, and what waits for it."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.execution.input import Feeding, input_of
from simulator.feeding import fed_plan
from simulator.parallel.bound import PlanBound
from simulator.parallel.plan import Plan
from simulator.pipeline import Options
from simulator.planned import Planned, evaluate
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
RESNET = load_workload("resnet50")


def run(plan: Plan, nodes: int = 1, batch: int = 256) -> Planned:
    options = Options(precision="amp", ignore_memory=True)
    return evaluate(RESNET, A100, options, cluster_of_system("dgx-a100-80gb", nodes, plan.devices), plan, batch)


def test_a_replica_of_one_device_is_fed_as_a_device() -> None:
    answer = run(Plan(data=8), batch=8 * 256)
    feeding = Feeding("pillow", workers=4, storage="nvme-pcie4")
    alone = input_of(RESNET, A100, feeding, (256, answer.step.time_s), (8, 1))
    assert fed_plan(answer, feeding).input == alone


def test_a_step_that_waits_is_longer_by_what_it_waits_and_no_longer_validated() -> None:
    answer = run(Plan(data=4, pipeline=2, microbatch=32), batch=1024)
    fed = fed_plan(answer, Feeding("pillow", workers=1))
    assert fed.input is not None
    assert fed.step.time_s == pytest.approx(fed.input.time_s)
    assert fed.step.seconds[PlanBound.INPUT] == pytest.approx(fed.step.time_s - answer.step.time_s)
    assert sum(fed.step.seconds) == pytest.approx(fed.step.time_s)
    assert fed.step.bound is PlanBound.INPUT
    assert not fed.interval.validated
    assert any("waits for its samples" in reason for reason in fed.interval.reasons)


def test_a_loader_that_keeps_up_changes_nothing() -> None:
    answer = run(Plan(data=4, pipeline=2, microbatch=32), batch=1024)
    fed = fed_plan(answer, Feeding("none"))
    assert fed.step.time_s == answer.step.time_s
    assert fed.interval == answer.interval


def test_two_machines_read_for_the_replicas_that_begin_in_them() -> None:
    # Two replicas of eight stages: one loader on each of two machines, so that each disk reads for one replica.
    apart = fed_plan(run(Plan(data=2, pipeline=8, microbatch=8), nodes=2), Feeding("none", storage="hdd"))
    together = fed_plan(run(Plan(data=2, pipeline=4, microbatch=8)), Feeding("none", storage="hdd"))
    assert apart.input is not None
    assert together.input is not None
    assert together.input.read_s == pytest.approx(2 * apart.input.read_s)
