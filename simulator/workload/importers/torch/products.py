"""Cost rules of convolutions, matrix products and fused attention."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from simulator.op.attention import SOFTMAX_FLOPS
from simulator.op.fused_attention import GRADIENT_FLOPS
from simulator.op.kernel import OpClass, Window
from simulator.units import FLOPS_PER_MAC
from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.rules import Draft, Moved, moved, rule


def _window(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Window:
    """The last two sides, of which a one-dimensional convolution has one."""
    sides = [(1, *values)[-2:] if len(values) == 1 else tuple(values)[-2:] for values in (kernel, stride, dilation)]
    return Window(*((int(side[0]), int(side[1])) for side in sides))


class _Geometry:
    """A convolution from the large side (its input) to the small one; a transposed one runs from small to large.

    MACs = elements of the small side * (large channels / groups) * kernel area, for output and either gradient: each
    pairs every element of the small side with every weight that touches it.
    """

    def __init__(self, call: Call, first: int) -> None:
        """`first` is the position of the stride among the arguments; the image stands three before it."""
        self.last = call.args[first - 3].last
        self.weight: Tensor = call.args[first - 2]
        self.stride, dilation = call.args[first], call.args[first + 2]
        self.transposed, self.groups = bool(call.args[first + 3]), int(call.args[first + 5])
        kernel = self.weight.shape[2:]
        self.area = prod(kernel)
        self.window = _window(kernel, self.stride, dilation)
        self.small_channels = self.weight.shape[0]
        self.large_group = self.weight.shape[1]
        self.small_group = self.small_channels // self.groups

    def rows(self, small: Tensor) -> int:
        """Batch times positions of the small side."""
        rows: int = prod(small.shape) // self.small_channels
        return rows

    def draft(self, small: Tensor, sides: tuple[int, int, int], streamed: Tensor, reads: Moved, writes: Moved) -> Draft:
        """A kernel with the matrix view `sides`."""
        macs = prod(sides) * self.groups
        gemm = (*sides, self.groups)
        reuse = self.area * (self.large_group if streamed is small else self.small_group)
        work, last = FLOPS_PER_MAC * macs, self.last
        return Draft(OpClass.CONVOLUTION, work, reads, writes, gemm, self.window, streamed.distinct, reuse, last=last)

    def down(self, large: Tensor, small: Tensor, reads: Moved, writes: Moved) -> Draft:
        """From large to small: forward, or the input gradient of a transposed convolution."""
        sides = (self.rows(small), self.small_group, self.large_group * self.area)
        return self.draft(small, sides, large, reads, writes)

    def up(self, small: Tensor, reads: Moved, writes: Moved) -> Draft:
        """From small to large."""
        sides = (self.rows(small), self.large_group, self.small_group * self.area)
        return self.draft(small, sides, small, reads, writes)

    def across(self, large: Tensor, small: Tensor, reads: Moved, writes: Moved) -> Draft:
        """Both sides to the weight gradient."""
        sides = (self.small_group, self.large_group * self.area, self.rows(small))
        return self.draft(small, sides, large, reads, writes)


@rule("convolution", "_convolution", "convolution_overrideable")
def _convolution(call: Call) -> list[Draft]:
    """Weights that the network works out, such as standardised ones, are weights too, which libraries lay out anew."""
    geometry, source, output = _Geometry(call, 3), call.args[0], call.outputs[0]
    weight = call.args[1]._replace(kind=Kind.WEIGHT)
    reads, writes = moved(source, weight, call.args[2]), moved(output)
    made = geometry.up(source, reads, writes) if geometry.transposed else geometry.down(source, output, reads, writes)
    return [*_side_by_side(source), made]


def _side_by_side(source: Tensor) -> list[Draft]:
    """A copy of an image that is a slice of another's channels: convolutions' kernels take none."""
    return [] if source.dense else [Draft(OpClass.COPY, 0, moved(source), moved(source))]


@rule("convolution_backward", "convolution_backward_overrideable")
def _convolution_backward(call: Call) -> list[Draft]:
    """Of the input, the weights and the bias, those that are asked for."""
    gradient, source, weight = call.args[0], call.args[1], call.args[2]
    geometry, outputs = _Geometry(call, 4), list(call.outputs)
    needs = call.args[10]
    small, large = (source, gradient) if geometry.transposed else (gradient, source)
    result = []
    if needs[0]:
        reads, writes = moved(gradient, weight), moved(outputs.pop(0))
        down = geometry.transposed
        result.append(geometry.down(large, small, reads, writes) if down else geometry.up(small, reads, writes))
    if needs[1]:
        result.append(geometry.across(large, small, moved(source, gradient), moved(outputs.pop(0))))
    if needs[2]:
        result.append(Draft(OpClass.REDUCTION, gradient.distinct, moved(gradient), moved(outputs.pop(0))))
    return result


def _product(call: Call, left: Tensor, right: Tensor) -> list[Draft]:
    """(groups x) m x k by k x n; a bias or addend starts the accumulator and costs nothing."""
    groups = left.shape[0] if len(left.shape) == 3 else 1
    rows, depth, columns = left.shape[-2], left.shape[-1], right.shape[-1]
    macs = groups * rows * depth * columns
    gemm = (rows, columns, depth, groups)
    reads, writes = moved(*call.tensors()), moved(*call.outputs)
    return [
        Draft(OpClass.GEMM, FLOPS_PER_MAC * macs, reads, writes, gemm, streamed=groups * rows * depth, reuse=columns)
    ]


@rule("mm", "bmm")
def _mm(call: Call) -> list[Draft]:
    return _product(call, call.args[0], call.args[1])


@rule("addmm", "baddbmm", "addbmm", "_addmm_activation")
def _addmm(call: Call) -> list[Draft]:
    return _product(call, call.args[1], call.args[2])


@rule("_grouped_mm")
def _grouped(call: Call) -> list[Draft]:
    """Rows, each times the matrix of its expert, or the weights' gradient: rows m x k x n MACs however they route."""
    left, right, output = call.args[0], call.args[1], call.outputs[0]
    if len(left.shape) == len(right.shape) == 2:
        groups, rows, depth, columns = output.shape[0], left.shape[0], left.shape[1] / output.shape[0], right.shape[1]
        macs = left.shape[0] * left.shape[1] * right.shape[1]
    else:
        groups = right.shape[0] if len(right.shape) == 3 else left.shape[0]
        apart = len(left.shape) == len(right.shape)
        rows, depth, columns = left.shape[-2] / (1 if apart else groups), left.shape[-1], right.shape[-1]
        macs = prod(left.shape) * right.shape[-1]
    reads, writes = moved(left, right), moved(*call.outputs)
    gemm = (rows, columns, depth, groups)
    return [Draft(OpClass.GEMM, FLOPS_PER_MAC * macs, reads, writes, gemm, streamed=prod(left.shape), reuse=columns)]


@rule("mv", "dot", "addmv", "vdot")
def _vectors(call: Call) -> list[Draft]:
    """Products with a vector run on the vector lanes: each matrix element is used once."""
    largest = max(tensor.distinct for tensor in call.tensors())
    reads, writes = moved(*call.tensors()), moved(*call.outputs)
    return [Draft(OpClass.REDUCTION, FLOPS_PER_MAC * largest, reads, writes)]


@rule("linear")
def _linear(call: Call) -> list[Draft]:
    source, weight = call.args[0], call.args[1]
    rows, depth, columns = prod(source.shape[:-1]), source.shape[-1], weight.shape[0]
    macs = rows * depth * columns
    gemm = (rows, columns, depth, 1)
    reads, writes = moved(*call.tensors()), moved(*call.outputs)
    return [
        Draft(OpClass.GEMM, FLOPS_PER_MAC * macs, reads, writes, gemm, streamed=source.distinct, reuse=columns),
    ]


_FUSED = {
    "_scaled_dot_product_flash_attention": 4,
    "_scaled_dot_product_flash_attention_for_cpu": 4,
    "_scaled_dot_product_efficient_attention": 6,
    "_scaled_dot_product_cudnn_attention": 6,
    "_scaled_dot_product_fused_attention_overrideable": 5,
}
"""Fused forward -> position of `is_causal`."""


def _pairs(query: Tensor, key: Tensor, *, causal: bool) -> tuple[int, int]:
    """Pairs of positions that are computed, and all pairs, over heads and batch.

    A causal kernel skips tiles that are masked throughout: of S x S pairs it computes S (S + 1) / 2.
    Source: Dao, "FlashAttention-2", 2023, arXiv 2307.08691, section 3.1.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    everything = prod(query.shape[:-1]) * keys
    if not causal:
        return everything, everything
    growing = min(queries, keys)
    seen = growing * (growing + 1) // 2 + (queries - growing) * keys
    return prod(query.shape[:-2]) * seen, everything


def _attention(query: Tensor, key: Tensor, depth: int, vector: int, causal: bool) -> Draft:
    """One kernel, its products joined along k: m * n * k * groups is their sum; reads and writes are left empty."""
    computed, everything = _pairs(query, key, causal=causal)
    rows = query.shape[0] * query.shape[-2]
    heads = prod(query.shape[1:-2])
    flops = (FLOPS_PER_MAC * depth + vector + causal) * computed
    gemm = (rows, computed / (rows * heads), depth, heads)
    return Draft(OpClass.ATTENTION, flops, (), (), gemm, macs=depth * everything)


@rule(*_FUSED)
def _fused_attention(call: Call) -> list[Draft]:
    """Q K' and P V with the softmax between them on chip: moves the inputs, the output and one number a row."""
    query, key, value = call.args[:3]
    causal = bool(call.get(_FUSED[call.name], "is_causal", False))
    bias = next((item for item in call.args[3:] if isinstance(item, Tensor)), call.kwargs.get("attn_mask"))
    draft = _attention(query, key, query.shape[-1] + value.shape[-1], 1 + SOFTMAX_FLOPS + (bias is not None), causal)
    floats = [item for item in call.outputs if len(item.shape) >= 3]
    return [_moving(draft, moved(query, key, value, bias), moved(*floats))]


def _moving(draft: Draft, read: Moved, write: Moved) -> Draft:
    return Draft(draft.op_class, draft.flops, read, write, draft.gemm, macs=draft.macs)


_FUSED_BACKWARD = {f"{name}_backward": position for name, position in _FUSED.items()}


@rule(*_FUSED_BACKWARD)
def _fused_attention_backward(call: Call) -> list[Draft]:
    """Q K' again, then dP, dV, dQ and dK: five products."""
    query, key, value = call.args[1:4]
    causal = any(argument is True for argument in [*call.args, *call.kwargs.values()])  # its only flag
    depth = 3 * query.shape[-1] + 2 * value.shape[-1]
    draft = _attention(query, key, depth, 1 + GRADIENT_FLOPS, causal)
    floats = [item for item in call.tensors() if len(item.shape) >= 3]
    return [_moving(draft, moved(*floats), moved(*call.outputs))]
