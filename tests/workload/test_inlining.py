"""Inlining: what TorchInductor works out anew in each kernel that reads it, and what it writes."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.device.device import load_device
from simulator.op.kernel import Affine, Gemm, Kernel, Moved, OpClass, Phase, Role, each, once
from simulator.op.traced import Traced
from simulator.pipeline import Options, kernels_of
from simulator.workload.inlining import inline_forward
from simulator.workload.reading import load_workload
from simulator.workload.workload import Layer

SIZE = 100
A, W, WIDE = Role.ACTIVATION, Role.WEIGHT, Role.WIDE
Lowered = list[tuple[Kernel, ...]]


def values(role: Role, size: float = SIZE) -> tuple[Role, Affine]:
    return role, each(size)


def kernel(*read: tuple[Role, Affine], op_class: OpClass = OpClass.ELEMENTWISE, **given: Any) -> Kernel:
    write: Moved = given.pop("write", (values(A),))
    return Kernel(op_class, Phase.FORWARD, given.pop("flops", each(SIZE)), read, write, **given)


def product(*read: tuple[Role, Affine], bias: bool = False) -> Kernel:
    """A convolution: its input, its weights and perhaps a bias."""
    weights = [(W, once(4)), *([(W, once(1))] if bias else [])]
    return kernel(*read, *weights, op_class=OpClass.CONVOLUTION, gemm=Gemm(each(1), once(1), once(1)))


def layer(name: str, *sources: int, size: int = SIZE, reads: int = SIZE, **given: Any) -> Layer:
    inputs, kernels = tuple((reads,) for _ in sources), given.pop("kernels", ())
    op = Traced(kind=name, shape=(size,), inference_kernels=kernels, **given)
    return Layer(name, op, sources, inputs, (size,), 0)


def moved(kernels: tuple[Kernel, ...]) -> list[tuple[float, float]]:
    """Elements of a sample that each kernel reads and writes."""
    sums = [(sum(c.per_sample for _, c in k.read), sum(c.per_sample for _, c in k.write)) for k in kernels]
    return [(read, written) for read, written in sums]


def test_a_function_of_one_tensor_runs_in_both_its_readers_and_is_never_written() -> None:
    # A convolution, GELU, and two readers: each reads the convolution's 100 values; GELU's kernel is gone.
    layers = [layer("conv", -1), layer("gelu", 0), layer("norm", 1), layer("scale", 1)]
    lowered: Lowered = [(product(values(A)),), (kernel(values(A)),), (kernel(values(A)),), (kernel(values(A)),)]
    conv, gelu, norm, scale = inline_forward(layers, lowered)
    assert gelu == ()
    assert moved(norm) == moved(scale) == [(100, 100)]
    assert [sum(one.flops) for (one,) in (norm, scale)] == [200, 200]
    assert moved(conv) == [(100, 100)]


def test_a_normalised_tensor_of_two_readers_is_written_by_the_first() -> None:
    layers = [layer("conv", -1), layer("bn", 0), layer("relu", 1), layer("sum", 2), layer("mul", 2)]
    norm = kernel(values(A), op_class=OpClass.NORMALIZATION)
    lowered: Lowered = [(product(values(A)),), (norm,), *[(kernel(values(A)),) for _ in range(3)]]
    _, bn, relu, total, mul = inline_forward(layers, lowered)
    assert (bn, relu) == ((), ())
    assert moved(total) == [(100, 200)]  # reads the convolution, writes what it gives and what the other reads
    assert moved(mul) == [(100, 100)]


def test_a_sum_of_residuals_is_written_where_it_would_read_five_tensors() -> None:
    # x0, x1 = x0 + a, ... of products: readers of x1 to x3 read 2 to 4 tensors, x4 is written by the first of its own.
    layers, lowered = [layer("x0", -1)], [(product(values(A)),)]
    stream = 0
    for number in range(1, 5):
        at = len(layers)
        layers += [layer(f"norm{number}", stream), layer(f"p{number}", at), layer(f"x{number}", stream, at + 1)]
        lowered += [(kernel(values(A)),), (product(values(A)),), (kernel(values(A), values(A)),)]
        stream = at + 2
    layers += [layer("norm5", stream), layer("p5", len(layers)), layer("last", stream, len(layers) + 1)]
    lowered += [(kernel(values(A)),), (product(values(A)),), (kernel(values(A), values(A)),)]
    found = dict(zip([each.name for each in layers], inline_forward(layers, lowered), strict=True))
    assert [moved(found[f"norm{number}"]) for number in range(1, 6)] == [
        [(100, 100)],
        [(200, 100)],
        [(300, 100)],
        [(400, 100)],
        [(500, 200)],
    ]
    assert [found[f"x{number}"] for number in range(1, 5)] == [()] * 4
    assert moved(found["last"]) == [(200, 100)]


def test_a_bias_that_readers_add_is_a_tensor_too() -> None:
    # Two biased convolutions added are four tensors, worked out in both readers; with a third, without bias, five.
    def readers(*biases: bool) -> list[tuple[Kernel, ...]]:
        count = len(biases)
        products = [product(values(A), bias=bias) for bias in biases]
        layers = [layer("conv", -1, kernels=(one,)) for one in products]
        layers += [layer("add", *range(count)), layer("relu", count), layer("scale", count)]
        lowered: Lowered = [(one,) for one in products]
        lowered += [(kernel(*[values(A)] * count),), (kernel(values(A)),), (kernel(values(A)),)]
        return inline_forward(layers, lowered)[count:]

    assert [moved(one) for one in readers(True, True)] == [[], [(200, 100)], [(200, 100)]]
    assert [moved(one) for one in readers(True, True, False)] == [[], [(300, 200)], [(100, 100)]]


def test_a_half_is_worked_out_of_half_the_tensor() -> None:
    half = SIZE // 2
    layers = [
        layer("conv", -1),
        layer("gelu", 0),
        layer("split", 1, size=half, view=True),
        layer("norm", 2, size=half, reads=half),
        layer("gate", 2, 3, size=half, reads=half),
    ]
    part = (values(A, half),)
    norm, gate = kernel(*part, write=part, op_class=OpClass.NORMALIZATION), kernel(*part, *part, write=part)
    lowered: Lowered = [(product(values(A)),), (kernel(values(A)),), (), (norm,), (gate,)]
    _, gelu, _, norms, gates = inline_forward(layers, lowered)
    assert (gelu, norms) == ((), ())  # the normalised half has one reader
    assert moved(gates) == [(100, 50)]  # both halves of the convolution's result
    assert sum(gates[0].flops) == 50 + 50 + 100 + 100


def test_what_windows_walk_is_written_first_unless_it_reads_one_tensor() -> None:
    def pooled(kind: OpClass) -> list[tuple[Kernel, ...]]:
        layers = [layer("conv", -1), layer("f", 0), layer("pool", 1)]
        pool = kernel(values(A), op_class=OpClass.POOLING)
        return inline_forward(layers, [(product(values(A)),), (kernel(values(A), op_class=kind),), (pool,)])[1:]

    assert [moved(one) for one in pooled(OpClass.ELEMENTWISE)] == [[], [(100, 100)]]
    assert [moved(one) for one in pooled(OpClass.NORMALIZATION)] == [[(100, 100)], [(100, 100)]]


def test_each_operand_of_a_product_takes_in_what_its_cast_reads() -> None:
    # Two wide operands: their casts are two kernels before the product, and each runs what made it.
    wide, narrow = kernel(values(A), write=(values(WIDE),)), (values(A),)
    cast = kernel(values(WIDE), write=narrow, flops=once(0))
    layers = [layer("a", -1), layer("b", -1), layer("f", 0), layer("g", 1), layer("mm", 2, 3), layer("v", 0)]
    lowered: Lowered = [
        (product(values(A)),),
        (product(values(A)),),
        (wide,),
        (wide,),
        (cast, cast, product(*narrow)),
        (),
    ]
    _, _, f, g, mm, _ = inline_forward(layers, lowered)
    assert (f, g) == ((), ())
    assert moved(mm)[:2] == [(100, 100), (100, 100)]
    assert not [count for one in mm[:2] for role, count in (*one.read, *one.write) if role is WIDE and sum(count)]


def test_a_kernel_runs_only_in_one_that_reads_its_result() -> None:
    # Weights in full width are cast in the product's first kernel; what made its input does not run there.
    layers = [layer("act", -1), layer("weights", -1, size=4), layer("conv", 0, 1)]
    made = kernel((W, once(4)), write=((WIDE, once(4)),))
    cast = kernel((WIDE, once(4)), write=((A, once(4)),), flops=once(0))
    lowered: Lowered = [(kernel(values(A)),), (made,), (cast, product(values(A)))]
    act, _, conv = inline_forward(layers, lowered)
    assert moved(act) == [(100, 100)]
    assert moved(conv)[0] == (0, 0)


def test_what_puts_tensors_side_by_side_is_written_for_several_readers() -> None:
    layers = [layer("a", -1), layer("b", -1), layer("cat", 0, 1), layer("relu", 2), layer("scale", 2)]
    cat = kernel(values(A, 50), values(A, 50), op_class=OpClass.COPY)
    lowered: Lowered = [
        (product(values(A)),),
        (product(values(A)),),
        (cat,),
        (kernel(values(A)),),
        (kernel(values(A)),),
    ]
    assert [moved(one) for one in inline_forward(layers, lowered)[2:]] == [[], [(100, 200)], [(100, 100)]]


@pytest.mark.parametrize(("device", "expected"), [("rtx-4090", True), ("core-i9-10940x", False)])
def test_networks_are_inlined_on_graphics_processors_at_inference(device: str, expected: bool) -> None:
    # A residual stream of layers with one normalisation each: without inlining it is written once for each sum.
    vit, precision = load_workload("vit_b_16"), "amp" if expected else "fp32"
    options = Options(precision=precision, framework="pytorch-compiled", task="infer")
    kernels = kernels_of(vit, options, load_device(device))
    widest = (kernels.read[Role.WIDE, 1] + kernels.read[Role.ACTIVATION, 1]) / (197 * 768)
    vectors = widest[kernels.distinct.op_class[kernels.row] == OpClass.ELEMENTWISE]
    assert bool((vectors > 4.5).any()) is expected
