"""Counts of kernels at batches and contexts, worked by hand."""

from __future__ import annotations

import numpy as np

from simulator.op.kernel import Affine, Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.op.kernels import at_batch, at_points, pack

COUNT = np.array([[4096.0, 7.0], [10.0, 0.0], [0.0, 3.0], [1024.0, 0.0]])
"""Two kernels: 4096 + 10 B + 1024 B C, and 7 + 3 C."""


def test_counts_are_affine_in_batch_context_and_their_product() -> None:
    assert at_batch(COUNT, 2.0, 100.0).tolist() == [4096 + 20 + 1024 * 200, 307]
    assert at_batch(COUNT[:2], 2.0).tolist() == at_batch(COUNT, 2.0).tolist() == [4116, 7], "no cache, no context"


def test_columns_of_batches_and_contexts_broadcast() -> None:
    batch, context = np.array([[1.0], [2.0], [5.0]]), np.array([[0.0], [100.0], [3.0]])
    found = at_batch(np.stack([COUNT, 2 * COUNT]), batch, context)
    assert found.shape == (2, 3, 2)
    for row in range(3):
        alone = at_batch(COUNT, batch[row, 0], context[row, 0])
        assert found[:, row].tolist() == [alone.tolist(), (2 * alone).tolist()]


def test_points_are_worked_out_one_after_the_other() -> None:
    product = Kernel(
        OpClass.GEMM,
        Phase.FORWARD,
        each(60.0),
        ((Role.WEIGHT, once(15.0)), (Role.ACTIVATION, each(3.0))),
        ((Role.ACTIVATION, each(5.0)),),
        Gemm(each(1), once(5), once(3), 2),
    )
    addition = Kernel(OpClass.ELEMENTWISE, Phase.FORWARD, Affine(1.0, 8.0), (), ())
    points = at_points(pack([product, addition]), np.array([1.0, 10.0]))
    assert points.op_class.tolist() == [OpClass.GEMM, OpClass.ELEMENTWISE] * 2
    assert points.flops.tolist() == [[60, 9, 600, 81], [0] * 4]
    assert points.read[Role.WEIGHT, 0].tolist() == [15, 0, 15, 0]
    assert points.read[Role.ACTIVATION, 0].tolist() == [3, 0, 30, 0]
    assert points.gemm[:, 0].tolist() == [[1, 0, 10, 0], [5, 0, 5, 0], [3, 0, 3, 0]]
    assert points.groups.tolist() == [2, 1, 2, 1]
