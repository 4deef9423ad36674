"""Rates of a library's single kernels: softmax over long rows, and kernels with masks."""

from __future__ import annotations

import pytest

from simulator.causes.passes import LONGEST_ROW, Passes
from simulator.op.base import Site, elementwise
from simulator.op.eager_attention import EagerAttention
from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.kernels import Columns, pack

VALUES = 1.024e6


def passes(**own: float) -> Passes:
    """Every class at the sustained bandwidth, softmax at 0.8 of it."""
    full = {one.name: 1.0 for one in Passes.coefficients() if one.neutral}
    return Passes(**full | {"softmax": 0.8} | own)


def softmax_of(row: int, phase: Phase = Phase.FORWARD) -> Columns:
    """A softmax of 1,024,000 values in rows of so many, or its gradient."""
    through: dict[Role, float] = {Role.ACTIVATION: VALUES}
    reads = through if phase is Phase.FORWARD else through | {Role.GRADIENT: VALUES}
    return pack([elementwise(phase, 1, reads, through, OpClass.SOFTMAX, row)])


def efficiency(of: Passes, columns: Columns, *, compiled: bool = False) -> list[float]:
    found: list[float] = of.efficiency(columns, 4, compiled=compiled).tolist()
    return found


def test_rows_that_no_cache_holds_are_read_three_times() -> None:
    none, half, held = passes(long_rows=1.0), passes(long_rows=0.5), passes()
    assert [efficiency(none, softmax_of(row))[0] for row in (LONGEST_ROW, LONGEST_ROW + 1)] == [0.8, 0.4]
    assert efficiency(held, softmax_of(2048)) == [0.8]
    # Two reads more, one of which comes from memory: three passes for two.
    assert efficiency(half, softmax_of(2048)) == pytest.approx([0.8 / 1.5])


def test_the_loops_of_a_compiler_are_not_a_librarys_kernels() -> None:
    of = passes(long_rows=1.0, elementwise=0.9)
    columns = (softmax_of(2048), softmax_of(2048, Phase.INPUT_GRADIENT))
    assert [efficiency(of, each, compiled=True) for each in columns] == [[0.9], [0.9]]


def test_the_gradient_of_a_softmax_takes_as_long_for_a_value_of_any_row() -> None:
    columns = [softmax_of(row, Phase.INPUT_GRADIENT) for row in (512, 2048)]
    assert [efficiency(passes(long_rows=1.0), each) for each in columns] == [[0.8], [0.8]]


def test_kernels_with_a_mask_beside_the_values_have_a_rate_of_their_own() -> None:
    of = passes(masked=0.75, masked_gradient=0.25)
    values: dict[Role, float] = {Role.ACTIVATION: VALUES}
    dropout = elementwise(Phase.FORWARD, 1, values, values | {Role.MASK: VALUES})
    gradient = elementwise(Phase.INPUT_GRADIENT, 1, {Role.GRADIENT: VALUES, Role.MASK: VALUES}, {Role.GRADIENT: VALUES})
    plain = elementwise(Phase.FORWARD, 1, values, values)
    assert efficiency(of, pack([dropout, gradient, plain])) == [0.75, 0.25, 1.0]


def test_a_causal_mask_and_the_rows_of_scores_are_known_of_eager_attention() -> None:
    op = EagerAttention(heads=2, causal=True)
    shapes = ((2048, 3 * 128),)
    kernels = op.forward(Site(shapes, op.output_shape(shapes), training=True))
    softmax = next(kernel for kernel in kernels if kernel.op_class is OpClass.SOFTMAX)
    assert softmax.window.kernel == (1, 2048)
    masked = [kernel for kernel in kernels if Role.MASK in dict(kernel.read)]
    assert efficiency(passes(masked=0.5), pack(masked)) == [0.5]
