"""Reshaping, cutting, reducing, elementary functions and distances: cases worked by hand."""

from __future__ import annotations

import pytest

from simulator.errors import InputError
from simulator.op.base import Op, Shape, Site
from simulator.op.distance_loss import DistanceLoss
from simulator.op.pointwise import Pointwise
from simulator.op.rearrange import Part
from simulator.op.reshape import Cut, Reduce, Reshape


def _work(op: Op, *inputs: Shape, input_gradient: bool = True) -> list[tuple[float, float, float]]:
    """FLOPs, elements read and elements written of each kernel, forward then backward, one sample."""
    site = Site(inputs, op.output_shape(inputs), input_gradient=input_gradient)
    return [
        (
            kernel.flops.per_sample,
            sum(count.per_sample for _, count in kernel.read),
            sum(count.per_sample for _, count in kernel.write),
        )
        for kernel in [*op.forward(site), *op.backward(site)]
    ]


def test_operations_by_hand() -> None:
    """24 elements; an 8 cut out of them and put back among zeros; 24 summed to 6; 3 FLOP an element of a distance."""
    assert _work(Pointwise(function="power"), (2, 3, 4)) == [(72, 24, 24), (72, 48, 24)]
    assert _work(Pointwise(function="linear"), (2, 3, 4)) == [(48, 24, 24), (24, 24, 24)]
    assert _work(Cut(shape=(2, 2, 2)), (2, 3, 4)) == [(0, 8, 8), (0, 8, 24)]
    assert _work(Cut(shape=(2, 2, 2), split=True), (2, 3, 4)) == [(0, 8, 8)]
    assert _work(Part(shape=(2, 2, 4), split=True), (2, 3, 4)) == []
    assert _work(Reduce(shape=(2, 3)), (2, 3, 4)) == [(24, 24, 6), (24, 6, 24)]
    assert _work(Reshape(shape=(6, 4)), (2, 3, 4)) == []
    assert _work(DistanceLoss(), (10,)) == [(30, 20, 1), (20, 20, 10)]
    assert _work(DistanceLoss(), (10,), (10,)) == [(30, 20, 1), (40, 20, 20)]
    assert _work(DistanceLoss(), (10,), input_gradient=False) == [(30, 20, 1)]


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        (Cut(shape=(2, 9)), ((2, 3),)),
        (Part(shape=(3, 3)), ((2, 3),)),
        (Reduce(shape=(9,)), ((2, 3),)),
        (Reshape(shape=(5,)), ((2, 3),)),
        (DistanceLoss(), ((2,), (3,))),
    ],
)
def test_what_does_not_fit_is_refused(op: Op, inputs: tuple[Shape, ...]) -> None:
    with pytest.raises(InputError, match=op.kind):
        op.output_shape(inputs)
