"""The founding articles' division, the work of a sample, and what a reader stumbles over: worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.device.device import load_device
from simulator.pipeline import Options, Simulation, simulate
from simulator.planning.division import Division, division_of
from simulator.planning.puzzles import HALVED, LOW_MFU, puzzles_of, work_of
from simulator.workload.reading import load_workload, read_workload


def run(workload: str, options: Options | None = None) -> Simulation:
    return simulate(load_workload(workload), load_device("v100"), options or Options(ignore_memory=True))


def test_the_division_of_senet() -> None:
    # 20.7e9 x 1,281,167 x 100 / (0.7 x 14e12) = 270,614 s; with 6.02 times the work, 1,629,095 s.
    found = Division(20.7e9, 1_281_167, 100, 14e12, 0.7, 6.02)
    assert found.time_s == pytest.approx(270_613.85, abs=0.01)
    assert found.complete_s == pytest.approx(1_629_095, abs=1)


def test_the_division_reads_the_run_and_the_device() -> None:
    answer = run("lenet5", Options(epochs=3))
    found = division_of(answer)
    assert found is not None
    assert (found.samples, found.epochs) == (60_000, 3)
    assert (found.peak_flop_per_s, found.assumed_share) == (14e12, answer.device.utilisation)
    assert found.operations == answer.workload.macs
    assert found.left_out == answer.left_out
    quoted = division_of(run("senet154", Options(count="articles", ignore_memory=True)))
    assert quoted is not None
    assert quoted.operations == 21e9


def test_without_products_there_is_no_division() -> None:
    layers = {"name": "bare", "input": [1, 4, 4], "layers": ["relu"]}
    bare = simulate(read_workload(layers, "bare.yaml"), load_device("v100"), Options(task="infer"))
    assert division_of(bare) is None
    assert work_of(bare).passes is None


def test_the_work_of_a_sample() -> None:
    answer = run("lenet5")
    work = work_of(answer)
    assert work.forward_flops == 2 * work.macs == 2 * answer.workload.macs
    assert work.step_flops == answer.step.flops / 64
    assert work.passes == pytest.approx(work.step_flops / work.forward_flops)
    assert 2.5 < (work.passes or 0) < 3


@pytest.mark.parametrize(("workload", "halved"), [("llama2_7b", True), ("bert_base", False), ("resnet50", False)])
def test_causal_attention_does_half_of_its_scores(workload: str, halved: bool) -> None:
    assert puzzles_of(run(workload, Options(fidelity="roofline", ignore_memory=True))).halved_attention is halved


def test_the_line_of_halved_scores() -> None:
    answer = run("gpt2", Options(task="infer", fidelity="roofline"))
    edge = HALVED * 2 * answer.workload.macs * answer.batch
    above, below = (replace(answer, step=replace(answer.step, flops=edge * part)) for part in (1.001, 0.999))
    assert not puzzles_of(above).halved_attention
    assert puzzles_of(below).halved_attention
    both = replace(above, step=replace(above.step, backward_s=1e-3))  # a training step of so little work
    assert puzzles_of(both).halved_attention


def test_a_backward_pass_is_odd_where_it_is_the_shorter() -> None:
    answer = run("lenet5")
    for backward_s, odd in ((0.0, False), (0.9, True), (1.0, False), (2.0, False)):
        step = replace(answer.step, forward_s=1.0, backward_s=backward_s)
        assert puzzles_of(replace(answer, step=step)).short_backward is odd
    bound = run("lenet5", Options(fidelity="roofline"))
    assert not puzzles_of(replace(bound, step=replace(bound.step, forward_s=1.0, backward_s=0.9))).short_backward


def test_groups_are_a_cause_where_little_of_the_peak_is_used() -> None:
    answer = run("mobilenet_v2")
    for mfu, groups in ((0.9 * LOW_MFU, 17), (LOW_MFU, 0)):  # 17 of its convolutions are depthwise
        assert puzzles_of(replace(answer, step=replace(answer.step, mfu=mfu))).idle_groups == groups
