"""Explanations: shares sum to what lies above the roof, each cause is its own, helps are what running them gives."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.errors import InputError, UnknownNameError
from simulator.pipeline import Options, Simulation, simulate, times_of
from simulator.planning.explain import dominant_causes, explain
from simulator.roofline.peeled import CAUSES, REST, peeled
from simulator.roofline.times import Bound, kernel_times
from simulator.workload.reading import load_workload


def run(name: str = "resnet50", device: str = "v100", **options: object) -> Simulation:
    asked = Options(**{"batch": 32, "ignore_memory": True, **options})  # type: ignore[arg-type]
    return simulate(load_workload(name), load_device(device), asked)


@pytest.mark.parametrize(
    ("name", "device", "precision"),
    [
        ("resnet50", "v100", "fp32"),
        ("senet154", "a100", "amp"),
        ("gpt2", "h100", "bf16"),
        ("alexnet", "cpu-16core", "fp32"),
    ],
)
def test_shares_sum_to_what_lies_above_the_roof(name: str, device: str, precision: str) -> None:
    answer = run(name, device, precision=precision)
    found = explain(answer)
    options = replace(answer.options, fidelity="roofline")
    bound = times_of(answer.workload, answer.kernels, answer.device, options, answer.batch)
    assert found.time_s == pytest.approx(answer.step.time_s)
    assert found.roofline_s == pytest.approx(bound.time_s.sum())
    assert sum(share.seconds for share in found.shares) == pytest.approx(found.time_s - found.roofline_s)
    assert [share.cause for share in found.shares] == [*(cause.name for cause in CAUSES), REST]


def test_a_small_product_leaves_units_idle() -> None:
    """One image through ResNet-50's last stage makes fewer tiles than a V100 has units."""
    found = {share.cause: share.seconds for share in explain(run(batch=1), "layer4.0.conv1").shares}
    assert found["waves"] > 0


def test_layers_sum_to_the_step() -> None:
    answer = run("lenet5")
    whole = explain(answer)
    layers = [explain(answer, layer.name) for layer in answer.workload.layers]
    for place, share in enumerate(whole.shares):
        assert sum(one.shares[place].seconds for one in layers) == pytest.approx(share.seconds, abs=1e-12)


def test_grouped_convolutions_are_named_for_their_narrow_groups() -> None:
    answer = run("resnext50_32x4d")
    causes = dict(zip([layer.name for layer in answer.workload.layers], dominant_causes(answer), strict=True))
    assert causes["layer1.0.conv2"] == "narrow groups"
    found = explain(answer, "layer1.0.conv2")
    assert max(found.shares, key=lambda share: share.seconds).cause == "narrow groups"
    assert found.helps == ()


def test_causes_are_taken_away_under_the_traffic_that_was_asked_for() -> None:
    answer = run("resnet50", traffic="naive")
    shares = {share.cause: share.seconds for share in explain(answer).shares}
    without = replace(answer.device, launch_s=0.0, start_s=0.0)
    idle = replace(answer.setting.framework, dispatch_s=(0.0,) * 4, step_s=0.0, helpers_s=0.0)
    setting = msgspec.structs.replace(answer.setting, device=without, framework=idle)
    expected = answer.step.time_s - kernel_times(answer.kernels, setting, answer.batch).time_s.sum()
    assert shares["host and launches"] == pytest.approx(expected)
    assert shares["host and launches"] <= answer.times.seconds[Bound.OVERHEAD].sum() * (1 + 1e-9)


def test_a_small_step_waits_for_its_host() -> None:
    found = explain(run(batch=1, precision="amp"))
    assert found.bound == "overhead"
    assert max(found.shares, key=lambda share: share.seconds).cause == "host and launches"


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_each_cause_changes_something_of_its_own(cause: object) -> None:
    setting = Options().on(load_device("v100"))
    changed = cause.without(setting)  # type: ignore[attr-defined]
    assert changed.device is not setting.device or changed.framework is not setting.framework
    again = cause.without(changed)  # type: ignore[attr-defined]
    assert dict(again.device.kernel) == dict(changed.device.kernel)
    assert again.framework.dispatch_s == changed.framework.dispatch_s


def test_taking_all_away_leaves_sustained_rates_of_one() -> None:
    *_, (_, last) = peeled(Options().on(load_device("v100")))
    assert set(last.device.sustained.values()) == {1.0}
    assert (last.device.launch_s, last.framework.dispatch_s) == (0.0, (0.0, 0.0, 0.0, 0.0))


def test_helps_are_what_running_them_gives() -> None:
    answer = run()
    helps = {one.what: one for one in explain(answer).helps}
    amp = simulate(answer.workload, answer.device, replace(answer.options, precision="amp"))
    assert helps["precision amp"].time_s == pytest.approx(amp.step.time_s)
    memory = load_device("v100", overrides=["memory.bandwidth=2x"])
    faster = simulate(answer.workload, memory, answer.options)
    assert helps["twice the memory bandwidth"].time_s == pytest.approx(faster.step.time_s)
    times = [one.time_s for one in explain(answer).helps]
    assert times == sorted(times)
    assert all(time_s < answer.step.time_s for time_s in times)


def test_worst_layers_are_those_furthest_above() -> None:
    found = explain(run())
    above = [seconds for _, seconds, _ in found.worst]
    assert above == sorted(above, reverse=True)
    assert np.sum(above) < found.time_s - found.roofline_s + 1


def test_only_a_calibrated_time_has_causes() -> None:
    with pytest.raises(InputError, match="calibrated"):
        explain(run(fidelity="roofline"))
    with pytest.raises(UnknownNameError):
        explain(run(), "conv99")
