"""How sure a step's time is: wider the farther a question is from what was measured, and the reasons in words."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.device.framework import load_framework
from simulator.execution.certainty import (
    Interval,
    Question,
    Widths,
    certainty,
    clock_of,
    factors_of,
    features,
    held_back,
    interval_of,
    is_widened,
    why_none,
)
from simulator.pipeline import Options, simulate
from simulator.workload.reading import load_workload

KNOWN = Question("resnet50", load_device("v100-sxm2-16gb"), load_framework("pytorch"), "fp32", 64, 0.0)


def found(question: Question) -> Interval:
    interval = interval_of(question)
    assert interval is not None
    return interval


def test_the_bounds_are_the_exponentials_of_the_widths() -> None:
    widths = certainty()
    # Everything but base and batch is absent: a step that waits for nothing, in fp32, on what was measured. A batch of
    # 64 is half of the way from 16 to 256: 2 of 4 doublings.
    assert found(KNOWN).low == pytest.approx(exp(-exp(widths.low.base + widths.low.batch / 2)))
    assert found(KNOWN).high == pytest.approx(exp(exp(widths.high.base + widths.high.batch / 2)))
    assert found(KNOWN).reasons == ()
    assert found(KNOWN).coverage == 0.8


def test_an_estimated_clock_is_said_where_a_limit_holds_it() -> None:
    held, free = (load_device(f"a10[power={watts}W]") for watts in (60, 5000))
    assert held.name not in certainty().measured.devices
    said = {name: found(replace(KNOWN, device=device)).reasons for name, device in (("held", held), ("free", free))}
    assert "the clock that its 60W hold is estimated" in said["held"]
    assert not any("clock" in reason for reason in said["free"])
    assert "no measured step on a10" in said["held"] + said["free"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workload": "mine"}, "no measured step of the network mine"),
        ({"device": load_device("titan-rtx")}, "no measured step on titan-rtx"),
        ({"framework": load_framework("jax")}, "no measured step of jax"),
        ({"framework": load_framework("torch7")}, "no measured step of torch7 on the family volta"),
        ({"device": load_device("l4")}, "the clock that its 72 W hold is estimated"),
        ({"device": load_device("t4")}, "the clock that 70 W hold depends on how cool t4 is kept"),
        ({"framework": load_framework("tensorflow-xla")}, "tensorflow-xla's compiler chooses kernels and layouts"),
        ({"precision": "bf16"}, "no step in bf16 on the family volta was measured"),
        ({"waiting": 0.6}, "much of it waits for the host, whose processor is not known (--host)"),
    ],
)
def test_what_was_not_measured_is_said_and_never_narrows(change: dict[str, object], reason: str) -> None:
    other = found(replace(KNOWN, **change))  # type: ignore[arg-type]
    assert reason in other.reasons
    assert other.low <= found(KNOWN).low
    assert other.high >= found(KNOWN).high


def test_a_larger_batch_is_surer_from_16_to_256() -> None:
    ends = [found(replace(KNOWN, batch=batch)).high for batch in (16, 32, 64, 128, 256)]
    assert ends == sorted(ends, reverse=True)
    assert len(set(ends)) == 5
    assert found(replace(KNOWN, batch=512)) == found(replace(KNOWN, batch=256))
    assert found(replace(KNOWN, batch=1)) == found(replace(KNOWN, batch=15))


def test_the_host_is_named_from_a_quarter_of_the_time_on_and_never_where_it_was_measured() -> None:
    def said(**change: object) -> list[str]:
        reasons = found(replace(KNOWN, **change)).reasons  # type: ignore[arg-type]
        return [reason for reason in reasons if reason.startswith("much of it waits for the host")]

    assert said(waiting=0.24) == []
    assert said(waiting=0.26) == ["much of it waits for the host, whose processor is not known (--host)"]
    assert said(waiting=0.26, host="named") == ["much of it waits for the host, whose class alone is known"]
    assert said(waiting=1.0, host="measured") == []


@given(
    waiting=st.floats(0, 1),
    batch=st.integers(1, 4096),
    precision=st.sampled_from(["fp32", "tf32", "amp", "bf16", "fp8"]),
    framework=st.sampled_from(["pytorch", "jax", "tensorflow", "torch7"]),
    device=st.sampled_from(["v100", "t4", "h100", "b200", "mi300x", "cpu-16core"]),
)
def test_the_interval_holds_the_prediction(
    waiting: float, batch: int, precision: str, framework: str, device: str
) -> None:
    question = Question("x", load_device(device), load_framework(framework), precision, batch, waiting)
    interval = found(question)
    assert 0 < interval.low < 1 < interval.high < 20


def test_an_unmeasured_family_or_format_is_marked() -> None:
    assert found(KNOWN).validated
    for device, precision in (("b200", "bf16"), ("mi300x", "fp16"), ("h100", "bf16")):
        assert not found(replace(KNOWN, device=load_device(device), precision=precision)).validated


def test_tpus_and_gaudis_have_that_of_unmeasured_families_and_bounds_have_none() -> None:
    workload = load_workload("lenet5")
    for name in ("tpu-v3", "gaudi2"):
        interval = simulate(workload, load_device(name), Options(precision="bf16")).interval
        assert interval is not None
        assert not interval.validated
    for options in (Options(fidelity="roofline"), Options(traffic="naive")):
        assert simulate(workload, load_device("v100"), options).interval is None
    assert simulate(workload, load_device("v100"), Options()).interval is not None


def test_half_width_without_lanes_for_it_is_later_and_said() -> None:
    pascal = replace(KNOWN, device=load_device("titan-xp"))
    full, half = found(pascal), found(replace(pascal, precision="fp16"))
    assert half.high > 1.2 * full.high
    assert "titan-xp has no lanes for fp16" in half.reasons
    # A P100 has them, a V100 has tensor cores.
    for name in ("p100-sxm2-16gb", "v100-sxm2-16gb"):
        other = found(replace(KNOWN, device=load_device(name), precision="fp16"))
        assert not any("no lanes" in reason for reason in other.reasons)


def test_a_width_that_is_not_said_widens_nothing() -> None:
    others = {name: getattr(Widths(base=-1.0), name) for name in Widths.__struct_fields__}
    assert others.pop("base") == -1.0
    assert set(others.values()) == {0.0}


def applies(**change: object) -> set[str]:
    """Keys of what widens or narrows a question of a small batch at most, beside the base."""
    return {key for key, amount in features(replace(KNOWN, **{"batch": 16, **change})) if amount} - {"base"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, set()),
        ({"batch": 17}, {"batch"}),
        ({"batch": 15}, {"small_batch"}),
        ({"precision": "amp"}, {"narrow", "narrow_training"}),
        ({"precision": "amp", "training": False}, {"narrow"}),
        ({"framework": load_framework("tensorflow")}, {"graph"}),
        ({"framework": load_framework("tensorflow"), "batch": 15}, {"graph", "small_batch", "small_graph"}),
        ({"workload": "mine"}, set()),
        ({"framework": load_framework("jax")}, {"graph", "compiled", "framework"}),
        ({"framework": load_framework("tensorflow"), "device": load_device("core-i7-12700h")}, {"processor"}),
        ({"waiting": 0.5}, {"waiting"}),
        ({"waiting": 0.5, "host": "named"}, {"waiting"}),
        ({"waiting": 0.5, "host": "measured"}, {"waiting", "host"}),
        ({"device": load_device("titan-xp"), "precision": "fp16"}, {"narrow", "narrow_training", "widened", "device"}),
        ({"framework": load_framework("pytorch-compiled")}, {"compiled"}),
    ],
)
def test_what_of_a_question_widens_it(change: dict[str, object], expected: set[str]) -> None:
    assert applies(**change) == expected


def test_every_width_is_one_that_a_question_can_have() -> None:
    # What a held clock adds is no part of the sum: it is added in squares.
    assert {key for key, _ in features(KNOWN)} == set(Widths.__struct_fields__) - {"held"}


def test_more_of_a_width_is_further_out() -> None:
    widths = certainty().high
    taken = np.array([0.0, 0.4])
    plain, held = factors_of(KNOWN, 0.0), factors_of(KNOWN, 0.0, {"held": taken, "batch": np.array(0.5)})
    assert plain is not None
    assert held is not None
    nearer = np.log(plain[1]) * np.exp(widths.batch * 0.5)
    assert np.log(held[1]) == pytest.approx(np.sqrt(nearer**2 + (widths.held * taken) ** 2))


@pytest.mark.parametrize(
    ("device", "precision", "engine"),
    [("t4", "fp32", "vector"), ("t4", "amp", "matrix"), ("a10", "tf32", "matrix"), ("titan-xp", "fp16", "vector")],
)
def test_whose_clock_a_power_limit_holds(device: str, precision: str, engine: str) -> None:
    board = load_device(device)
    assert clock_of(board, precision) == engine
    assert held_back(board, precision) == 1 - board.clocks[engine]
    assert held_back(load_device("v100"), precision) == 0


def test_bounds_of_many_shares_are_those_of_each() -> None:
    both = factors_of(KNOWN, np.array([0.0, 0.3, 1.0]))
    assert both is not None
    for place, waiting in enumerate((0.0, 0.3, 1.0)):
        one = found(replace(KNOWN, waiting=waiting))
        assert (both[0][place], both[1][place]) == pytest.approx((one.low, one.high))


def test_a_width_is_the_sum_of_its_parts() -> None:
    # A third of the step waits for a host of a known class, in amp, at a quarter of the way to a batch of 256.
    widths = certainty().high
    logarithm = widths.base + widths.waiting / 3 + widths.narrow + widths.batch / 4
    logarithm += widths.narrow_training
    question = replace(KNOWN, waiting=1 / 3, host="named", precision="amp", batch=32)
    assert found(question).high == pytest.approx(exp(exp(logarithm)))


def test_a_kind_that_nobody_measured_says_so() -> None:
    of_none = replace(load_device("tpu-v3"), kind="fpga")
    assert why_none(of_none) == "no interval: no step of a fpga was measured"
    assert factors_of(replace(KNOWN, device=of_none), 0.0) is None


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("titan-xp", "fp16", True),
        ("titan-xp", "fp32", False),
        ("titan-x-maxwell", "amp", True),
        ("p100-sxm2-16gb", "fp16", False),
        ("titan-xp[peak.fp16=12.15TFLOP/s]", "fp16", False),  # as fast as full width
        ("titan-xp[peak.fp16=12.14TFLOP/s]", "fp16", True),
        ("v100-sxm2-16gb", "fp16", False),
    ],
)
def test_who_widens_half_width_values(device: str, precision: str, expected: bool) -> None:
    assert is_widened(load_device(device), precision) is expected
