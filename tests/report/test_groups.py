"""Which layers coincide, what they are called, and which have a place between the roofs: worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from simulator.execution.step import LayerTimes, Step
from simulator.pipeline import Options, Simulation
from simulator.report.discs import Disc, discs_of, limits, step_disc, visible, visible_discs
from simulator.report.facts import slowest
from simulator.report.groups import layer_groups
from simulator.roofline.roofs import Rate, Roofs
from simulator.roofline.times import OF_KERNELS, Bound

Numbers = tuple[str, str, float, float, float]
"""A layer's name, operation, FLOPs, traffic and time."""


def answer(layers: Sequence[Numbers]) -> Simulation:
    """Half of each layer's time is its forward pass; the other half is its gradients' and its update's."""
    names, kinds, flops, traffic, time_s = zip(*layers, strict=True)
    bound = np.arange(len(layers)) % 2
    quarter = np.array(time_s) / 4
    times = LayerTimes(
        flops=np.array(flops),
        traffic_bytes=np.array(traffic),
        seconds=np.zeros((len(OF_KERNELS), len(layers))),
        time_s=np.array(time_s),
        by_phase=np.array([2 * quarter, quarter / 2, quarter / 2, quarter]),
        bound=bound,
        bound_by_pass=np.array([bound] * 3),
    )
    ops = [SimpleNamespace(name=name, op=SimpleNamespace(kind=kind)) for name, kind in zip(names, kinds, strict=True)]
    workload = SimpleNamespace(layers=ops, counts=[SimpleNamespace(macs=0)] * len(ops))
    step = Step(1, sum(time_s), 0.0, 0.0, 0.0, (0.0, sum(time_s), 0.0, 0.0, 0.0), 0.0, sum(flops), sum(traffic))
    made = SimpleNamespace(layers=times, workload=workload, step=step, options=Options())
    return cast(Simulation, made)


def labels(names: Sequence[str]) -> list[str]:
    return [group.label for group in layer_groups(answer([(name, "conv", 8.0, 4.0, 1.0) for name in names]))]


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["stem"], "stem"),
        (["layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2"], "layer1.*.conv2 (3x)"),
        (["stem", "head"], "stem and 1 more"),
        (["a", "b", "c"], "a and 2 more"),
        (["a.0.b.0", "a.1.b.1"], "a.0.b.0 and 1 more"),  # two stars say too little
        (["a.0", "a.1"], "a.0 and 1 more"),  # and so do three signs,
        (["ab.0", "ab.1"], "ab.* (2x)"),  # but not four
        (["a.0", "a.0.b"], "a.0 and 1 more"),  # of different lengths
    ],
)
def test_what_coincides_has_one_label(names: list[str], label: str) -> None:
    assert labels(names) == [label]


def test_a_group_is_one_operation_with_one_work_and_its_sums() -> None:
    found = layer_groups(
        answer(
            [
                ("a.one", "conv", 10.0, 4.0, 1.0),
                ("relu", "relu", 10.0, 4.0, 1.0),  # another operation
                ("a.two", "conv", 10.0, 4.0, 1.0004),  # the same to three digits
                ("idle", "reshape", 0.0, 0.0, 0.0),  # takes no time
                ("wide", "conv", 10.0, 4.0, 3.0),
                ("more", "conv", 20.0, 4.0, 1.0),
                ("much", "conv", 10.0, 8.0, 1.0),
                ("copy", "copy", 0.0, 8.0, 0.5),
            ]
        )
    )
    assert [group.label for group in found] == ["wide", "a.one and 1 more", "relu", "more", "much", "copy"]
    both = found[1]
    assert both.layers.tolist() == [0, 2]
    assert (both.flops, both.traffic_bytes, both.time_s) == (20.0, 8.0, pytest.approx(2.0004))
    assert both.by_phase == pytest.approx([1.0002, 0.5001, 0.5001])
    assert both.bound == 0


def test_a_disc_stands_at_its_groups_intensity_and_rate() -> None:
    made = answer([("a", "conv", 12.0, 4.0, 2.0), ("b", "copy", 0.0, 4.0, 1.0), ("c", "fill", 5.0, 0.0, 1.0)])
    (disc,) = discs_of(layer_groups(made), made.step.time_s)  # without FLOPs, or without traffic, there is no place
    assert disc == Disc("a", 3.0, 6.0, 0.5, Bound.COMPUTE, 1)


def test_the_step_is_a_disc_of_its_own_sums() -> None:
    made = answer([("a", "conv", 12.0, 4.0, 2.0), ("b", "copy", 0.5, 0.25, 1.0)])
    whole = Disc("whole step", 12.5 / 4.25, 12.5 / 3.0, 1.0, Bound.MEMORY, 2)
    assert step_disc(made) == whole
    discs, star = visible_discs(made)  # half a FLOP has its place too
    assert [(each.label, each.x) for each in discs] == [("a", 3.0), ("b", 2.0)]
    assert star == whole


def disc(rate: float, share: float, intensity: float = 1.0) -> Disc:
    return Disc(f"{rate:g}", intensity, rate, share, Bound.MEMORY, 1)


def test_the_lowest_few_are_left_out_where_they_hold_next_to_no_time() -> None:
    high, middle, low = disc(100.0, 0.9), disc(50.0, 0.0985), disc(1.0, 0.0015)
    assert visible([high, low, middle]) == ([high, middle], [low])
    near = disc(2.0, 0.0015)
    assert visible([high, near, middle]) == ([high, near, middle], [])  # 25 times lower, not 30
    edge = disc(50.0 / 30, 0.0015)
    assert visible([high, edge, middle]) == ([high, middle], [edge])  # 30 times lower is enough
    heavy = disc(1.0, 0.0035)
    assert visible([high, heavy, middle]) == ([high, heavy, middle], [])  # a share that counts


def test_the_axes_hold_discs_roofs_and_ridges() -> None:
    memory, fast, slow = Rate("memory", 10.0, None), Rate("fast", 1000.0, None), Rate("slow", 200.0, None)
    one = Roofs(memory, (fast,))
    # one ridge at 100: 100 / 15 to 15 x 100; rates 1000 / 40 to 2.2 x 1000
    assert limits(one, [disc(500.0, 1.0, 50.0)]) == pytest.approx((100 / 15, 1500, 25, 2200))
    # a disc further out than each: half and three times its intensity, 1 / 2.5 and 2.2 of its rate
    far = [disc(10.0, 0.5, 2.0), disc(2000.0, 0.5, 900.0)]
    assert limits(one, far) == pytest.approx((1, 2700, 4, 4400))
    # two ridges, at 20 and 100: 20 / 15 to 70 x 100, from the lower peak down
    assert limits(Roofs(memory, (fast, slow)), [disc(500.0, 1.0, 50.0)]) == pytest.approx((20 / 15, 7000, 5, 2200))


def test_the_slowest_come_first_and_the_idle_not_at_all() -> None:
    made = answer([("a", "conv", 12.0, 4.0, 1.0), ("b", "fill", 5.0, 0.0, 3.0), ("c", "view", 0.0, 0.0, 0.0)])
    found = slowest(made)
    assert [(fact.layer.name, fact.share, fact.intensity) for fact in found] == [("b", 0.75, ""), ("a", 0.25, "3")]
    assert [fact.bound for fact in found] == [Bound.MEMORY, Bound.COMPUTE]
    assert len(slowest(made, 1)) == 1
