"""The whole program as a library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simulator
from simulator import Options, Simulation, load_device, load_workload, simulate, step_seconds
from simulator.errors import InputError, OutOfMemoryError, SimulatorError, UnknownNameError, UnsupportedError

V100 = load_device("v100")


def run(workload: str = "lenet5", device: str = "v100", **options: object) -> Simulation:
    return simulate(load_workload(workload), load_device(device), Options(**options))  # type: ignore[arg-type]


def test_the_public_names_exist() -> None:
    for name in simulator.__all__:
        assert getattr(simulator, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = simulator.nothing  # type: ignore[attr-defined]


def test_defaults() -> None:
    answer = simulate(load_workload("lenet5"), V100)
    assert answer.batch == 64
    assert answer.options == Options()
    assert answer.run.samples == 60_000
    assert answer.run.steps_per_epoch == 938
    assert answer.run.total_s == answer.run.epoch_s


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"batch": 0}, InputError, "batch must be between 1"),
        ({"batch": -4}, InputError, "batch must be between 1"),
        ({"batch": 10**13}, InputError, "batch must be between 1"),
        ({"epochs": 0}, InputError, "epochs must be between 1"),
        ({"precision": "fp31"}, UnknownNameError, "did you mean 'fp32'?"),
        ({"task": "trian"}, UnknownNameError, "did you mean 'train'?"),
        ({"optimizer": "adm"}, UnknownNameError, "did you mean 'adam'?"),
        ({"fidelity": "rofline"}, UnknownNameError, "did you mean 'roofline'?"),
        ({"traffic": "idael"}, UnknownNameError, "did you mean 'ideal'?"),
        ({"count": "artcles"}, UnknownNameError, "did you mean 'articles'?"),
        ({"precision": "int8"}, InputError, "add --task infer"),
    ],
)
def test_a_bad_option_is_refused_when_it_is_made(
    options: dict[str, object], kind: type[SimulatorError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        Options(**options)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_a_step_that_does_not_fit() -> None:
    with pytest.raises(OutOfMemoryError, match="the largest batch that fits is"):
        run("senet154", batch=4096)
    answer = run("senet154", batch=4096, ignore_memory=True)
    assert not answer.memory.fits
    assert run("senet154", batch=answer.memory.largest_batch).memory.fits
    with pytest.raises(OutOfMemoryError):
        run("senet154", batch=answer.memory.largest_batch + 1)


def test_a_precision_that_the_device_lacks() -> None:
    with pytest.raises(UnsupportedError, match="tf32_tensor"):
        run(precision="tf32")


def test_inference_is_the_forward_pass() -> None:
    train, infer = run(fidelity="roofline"), run(fidelity="roofline", task="infer")
    assert infer.step.backward_s == infer.step.update_s == 0
    assert infer.step.time_s == infer.step.forward_s < train.step.time_s
    assert infer.memory.optimizer_bytes == infer.memory.gradients_bytes == 0


def test_adam_costs_more_than_sgd() -> None:
    sgd, adam = run("alexnet", fidelity="roofline"), run("alexnet", fidelity="roofline", optimizer="adam")
    # Per value and 4 bytes: SGD moves 5 (w, m, g read; w, m written), Adam 7.
    assert adam.step.update_s / sgd.step.update_s == pytest.approx(7 / 5, rel=1e-9)
    assert sgd.step.update_s == pytest.approx(5 * 4 * 60_965_224 / 900e9, rel=1e-9)


@pytest.mark.parametrize("fidelity", ["napkin", "roofline", "calibrated"])
@pytest.mark.parametrize("task", ["train", "infer"])
def test_many_batches_in_one_broadcast_are_many_simulations(fidelity: str, task: str) -> None:
    workload, options = load_workload("resnet50"), Options(fidelity=fidelity, task=task)
    sizes = np.array([1, 3, 32, 100])
    together = step_seconds(workload, V100, sizes, options)
    for size, seconds in zip(sizes.tolist(), together.tolist(), strict=True):
        alone = simulate(workload, V100, Options(fidelity=fidelity, task=task, batch=size, ignore_memory=True))
        assert seconds == pytest.approx(alone.step.time_s, rel=1e-12)


@given(st.integers(1, 300), st.integers(1, 300))
def test_napkin_is_proportional_to_the_batch(one: int, other: int) -> None:
    workload, options = load_workload("alexnet"), Options(fidelity="napkin")
    first, second, both = step_seconds(workload, V100, np.array([one, other, one + other]), options)
    assert both == pytest.approx(first + second, rel=1e-12)


def test_half_the_bandwidth_and_another_memory() -> None:
    workload, options = load_workload("senet154"), Options(fidelity="roofline")
    half = load_device("v100", overrides=["memory.bandwidth=450GB/s"])
    assert half.memory.bandwidth_byte_per_s == 450e9
    slower = simulate(workload, half, options)
    assert simulate(workload, V100, options).step.time_s < slower.step.time_s
    assert slower.grade == "assumption"
    cpu, with_hbm = load_device("cpu-16core"), load_device("cpu-16core", memory="hbm2:4")
    assert with_hbm.memory.bandwidth_byte_per_s == 4 * 256e9
    assert cpu.memory.bandwidth_byte_per_s == 4 * 19.2e9
    assert simulate(workload, with_hbm, options).step.time_s < simulate(workload, cpu, options).step.time_s


@pytest.mark.parametrize(
    ("memory", "overrides", "said"),
    [
        ("hbm9:4", [], "unknown memory technology 'hbm9'"),
        ("v100:4", [], "unknown memory technology 'v100'"),
        ("hbm2", [], "say how many stacks"),
        ("hbm2:0", [], "say how many stacks"),
        ("hbm2:-1", [], "say how many stacks"),
        ("hbm2:x", [], "say how many stacks"),
        (None, ["peak.fp32"], "write KEY=VALUE"),
        (None, ["=5"], "write KEY=VALUE"),
        (None, ["peak.fp32="], "write KEY=VALUE"),
        (None, ["peak.fp32=20"], "the unit is missing"),
        (None, ["peak.fp32=20 TFLOPs"], "did you mean 'TFLOP/s'?"),
        (None, ["peak.fp32=-20TFLOP/s"], "must be above zero"),
        (None, ["peak.fp31=20TFLOP/s"], "did you mean 'peak.fp32'?"),
        (None, ["memori.bandwidth=1GB/s"], "did you mean 'sustained.bandwidth' or 'memory.bandwidth' or"),
        (None, ["memory.bandwidth.x=1GB/s"], "did you mean 'memory.bandwidth'?"),
        (None, ["sustained.bandwidth=1.5"], "<= 1"),
        (None, ["calls.forward=2x"], "the device does not say calls.forward"),
        (None, ["utilisation=0"], "> 0"),
        (None, ["memory.bandwidth=0GB/s"], "must be above zero"),
    ],
)
def test_a_bad_change_of_a_device_is_refused(memory: str | None, overrides: list[str], said: str) -> None:
    with pytest.raises(SimulatorError) as caught:
        load_device("v100", memory=memory, overrides=overrides)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_napkin_left_out() -> None:
    # SENet: a step has 3.02 times the forward FLOPs and each MAC is two: 6.03 times the exact MACs.
    answer = run("senet154", fidelity="napkin")
    assert answer.left_out == pytest.approx(answer.step.flops / (20_688_363_520 * 32), rel=1e-12)
    assert 5.9 < answer.left_out < 6.1
    quoted = run("senet154", fidelity="napkin", count="articles")
    assert quoted.left_out == pytest.approx(answer.left_out * 20_688_363_520 / 21e9, rel=1e-9)
