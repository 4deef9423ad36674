"""A run: full steps, the smaller last one, epochs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.execution.run import endless, run_of
from simulator.execution.step import layer_times, step_of, with_waiting
from simulator.op.optimizer import OPTIMIZERS
from simulator.pipeline import Options, simulate
from simulator.precision import get_precision
from simulator.roofline.rates import Fidelity
from simulator.roofline.setting import Setting
from simulator.roofline.times import ROOFS, Bound, kernel_times
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload


def linear_step(samples: int) -> float:
    """A step of 1 s and 0.5 s a sample."""
    return 1 + 0.5 * samples


def test_the_rest_is_a_smaller_step() -> None:
    # 10 samples by 4: two steps of 3 s and one of two samples, 2 s.
    run = run_of(10, 4, 3, linear_step)
    assert (run.steps_per_epoch, run.epoch_s, run.total_s) == (3, 8, 24)


def test_no_rest() -> None:
    run = run_of(8, 4, 1, linear_step)
    assert (run.steps_per_epoch, run.epoch_s) == (2, 6)


def test_a_dataset_smaller_than_the_batch_is_one_step() -> None:
    run = run_of(3, 4, 1, linear_step)
    assert (run.steps_per_epoch, run.epoch_s) == (1, 2.5)


@given(st.integers(1, 10**7), st.integers(1, 10**4), st.integers(1, 100))
def test_every_sample_is_seen_once_an_epoch(samples: int, batch: int, epochs: int) -> None:
    run = run_of(samples, batch, epochs, float)
    assert run.epoch_s == pytest.approx(samples, rel=1e-12)
    assert run.steps_per_epoch == -(-samples // batch)
    assert run.total_s == run.epoch_s * epochs


@pytest.mark.parametrize("device", ["v100", "h100"])
@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v2"])
def test_the_slowest_roof_counts_and_what_is_no_roof_adds(name: str, device: str) -> None:
    answer = simulate(load_workload(name), load_device(device), Options(batch=8))
    times = answer.times
    roofs, beside = times.seconds[: len(ROOFS)], times.seconds[len(ROOFS) :]
    np.testing.assert_allclose(times.time_s, roofs.max(axis=0) + beside.sum(axis=0), rtol=1e-12)
    waits = beside.sum(axis=0) > roofs.max(axis=0)
    np.testing.assert_array_equal(times.bound[~waits], roofs.argmax(axis=0)[~waits])
    assert (times.bound[waits] == Bound.OVERHEAD).all()
    assert waits.any()
    np.testing.assert_allclose(answer.layers.seconds.sum(axis=1), times.seconds.sum(axis=1), rtol=1e-12)
    assert [times.time_s[times.bound == bound].sum() for bound in Bound] == pytest.approx(list(answer.step.seconds))


def test_what_a_step_waits_for_adds_to_its_kernels() -> None:
    step = simulate(load_workload("lenet5"), load_device("v100"), Options(batch=8)).step
    late = with_waiting(with_waiting(step, Bound.COMMUNICATION, 2 * step.time_s), Bound.INPUT, step.time_s / 2)
    assert late.kernels_s == pytest.approx(step.time_s)
    assert (late.communication_s, late.input_s) == (2 * step.time_s, step.time_s / 2)
    assert late.time_s == pytest.approx(3.5 * step.time_s) == pytest.approx(sum(late.seconds))
    assert late.mfu == pytest.approx(step.mfu / 3.5)
    assert with_waiting(step, Bound.COMMUNICATION, 2 * step.time_s).bound is Bound.COMMUNICATION
    assert late.bound is Bound.INPUT, "late samples bind, however little they add"


@pytest.mark.parametrize("name", ["lenet5", "resnet50"])
@pytest.mark.parametrize("fidelity", [Fidelity.ROOFLINE, Fidelity.CALIBRATED])
def test_a_step_is_the_sum_of_its_kernels_however_they_are_grouped(name: str, fidelity: Fidelity) -> None:
    workload, device = load_workload(name), load_device("v100")
    kernels = lower(workload, optimizer=OPTIMIZERS["sgd"])
    times = kernel_times(kernels, Setting(device, get_precision("fp32"), fidelity=fidelity), 32.0)
    step = step_of(kernels, times, 32, device.peak["fp32"])
    layers = layer_times(kernels, times, len(workload.layers))
    total = float(times.time_s.sum())
    assert step.time_s == pytest.approx(total, rel=1e-12)
    assert step.forward_s + step.backward_s + step.update_s == pytest.approx(total, rel=1e-12)
    assert layers.time_s.sum() == pytest.approx(total, rel=1e-12)
    assert layers.by_phase.sum() == pytest.approx(total, rel=1e-12)
    assert np.allclose(layers.by_phase.sum(axis=0), layers.time_s, rtol=1e-12)
    assert layers.flops.sum() == pytest.approx(step.flops, rel=1e-12)
    assert layers.traffic_bytes.sum() == pytest.approx(step.traffic_bytes, rel=1e-12)
    assert sum(step.bound_shares) == pytest.approx(1, rel=1e-12)
    assert step.bound_shares[step.bound] == max(step.bound_shares)
    assert step.samples_per_s == 32 / step.time_s
    assert 0 < step.mfu <= 1
    assert set(layers.bound.tolist()) <= set(Bound)


def test_a_run_without_a_dataset_says_what_would_end_it() -> None:
    assert str(endless("net")) == "net names no dataset, so that a run has no end; give --dataset or --samples"
