"""ONNX Runtime's own operators, into which its optimizer and its model builders join several standard ones.

Source: ONNX Runtime, docs/ContribOperators.md, domain com.microsoft.
"""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.activation import GeluTanh, Silu
from simulator.op.base import Op, Shape
from simulator.op.combine import Add
from simulator.op.elementwise import Rotary
from simulator.op.layer_norm import GroupNorm, LayerNorm, RmsNorm
from simulator.op.passes import Pass
from simulator.workload.importers.onnx.attention import attend, with_past
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.elementwise import ACTIVATIONS, shifted
from simulator.workload.importers.onnx.messages import FLOAT, INT32, Stored
from simulator.workload.importers.onnx.product import multiply
from simulator.workload.importers.onnx.selection import look_up


def rows_of(call: NodeCall, tensor: GraphTensor) -> Shape:
    """(positions, features) of one sample."""
    width = tensor.shape[-1] if tensor.shape else 1
    return product(call.builder.sample(tensor.shape)) // width, width


def _row_layer(call: NodeCall, op: Op, tensor: GraphTensor, weights: tuple[GraphTensor, ...] = ()) -> GraphTensor:
    rows = rows_of(call, tensor)
    return call.add(op, [tensor], LayerPlan(tensor.shape, tensor.kind, (rows,), rows, weights))


def _added(call: NodeCall, first: GraphTensor, second: GraphTensor | None, bias: GraphTensor | None) -> GraphTensor:
    """The sum, a trained vector in it."""
    total = first if second is None else call.add(Add(), [first, second], LayerPlan(first.shape, first.kind))
    return total if bias is None else shifted(call, total, bias)


# ---- normalisation


@operator("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
def skip_norm(call: NodeCall) -> list[GraphTensor]:
    """Input, skip, scale, then shift (not of the simplified one) and bias; output 3 is the sum."""
    plain = call.node.op == "SkipSimplifiedLayerNormalization"
    total = _added(call, call.first, call.input(1), call.optional(3 if plain else 4))
    shift = None if plain else call.optional(3)
    weights = (call.input(2),) if shift is None else (call.input(2), shift)
    output = _row_layer(call, RmsNorm() if plain else LayerNorm(), total, weights)
    statistics = GraphTensor((*total.shape[:-1], 1), FLOAT)
    return [output, statistics, statistics, total]


@operator("com.microsoft.EmbedLayerNormalization")
def embed_norm(call: NodeCall) -> list[GraphTensor]:
    """Token numbers, segments, three tables, scale, shift: rows looked up, added, normalised."""
    ids, segments = call.first, call.optional(1)
    tables = [(ids, call.input(2)), (ids, call.input(3))]
    if segments is not None and call.optional(4) is not None:
        tables.append((segments, call.input(4)))
    rows = [look_up(call, table, numbers, (*ids.shape, table.shape[-1])) for numbers, table in tables]
    total = call.add(Add(), rows, LayerPlan(rows[0].shape, rows[0].kind))
    output = _row_layer(call, LayerNorm(), total, (call.input(5), call.input(6)))
    return [output, GraphTensor(ids.shape[:1], INT32), total]


@operator("com.microsoft.GroupNorm", "com.microsoft.SkipGroupNorm")
def group_norm(call: NodeCall) -> list[GraphTensor]:
    """(batch, height, width, channels), scale, shift, and of the second a skip and a bias; Swish after it if asked."""
    image, groups = call.first, call.node.integer("groups", 1)
    if len(image.shape) != 4 or not call.node.integer("channels_last", 1):
        raise InputError(f"GroupNorm of {list(image.shape)} needs the channels last")
    skip = call.node.op == "SkipGroupNorm"
    total = _added(call, image, call.input(3) if skip else None, call.optional(4) if skip else None)
    batch, height, width, channels = image.shape
    shape = (channels, call.builder.leading(batch) * height, width)
    op = GroupNorm(groups=groups)
    op.output_shape((shape,))
    plan = LayerPlan(image.shape, image.kind, (shape,), shape, (call.input(1), call.input(2)))
    output = call.add(op, [total], plan)
    if call.node.integer("activation", 0):
        output = call.add(Silu(), [output], LayerPlan(image.shape, image.kind))
    return [output, total]


# ---- products


@operator("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul")
def fused_product(call: NodeCall) -> GraphTensor:
    """A product whose operands are read transposed."""
    left, right = (
        _turned(tensor) if call.node.integer(name, 0) else tensor
        for tensor, name in ((call.first, "transA"), (call.input(1), "transB"))
    )
    return multiply(call, left, right, call.first.kind)


def _turned(tensor: GraphTensor) -> GraphTensor:
    """The last two sides the other way round, which a product reads as they are."""
    shape = tensor.shape if len(tensor.shape) < 2 else (*tensor.shape[:-2], *tensor.shape[:-3:-1])
    return GraphTensor(shape, tensor.kind, tensor.handle, tensor.stored)


@operator("com.microsoft.MatMulNBits")
def narrow_product(call: NodeCall) -> GraphTensor:
    """A, packed weights, scales, zero points, group numbers, bias: K x N weights of a few bits, however packed."""
    depth, out = call.node.integer("K", 0), call.node.integer("N", 0)
    if min(depth, out) < 1 or call.first.shape[-1:] != (depth,):
        raise InputError(f"MatMulNBits of {list(call.first.shape)} with {depth} x {out} weights")
    packed = call.input(1)
    if not packed.constant or not packed.stored:
        raise InputError("MatMulNBits needs stored weights")
    name = f"{packed.stored[0]} unpacked"
    call.builder.stored[name] = Stored(name, (depth, out), packed.kind)
    weight = GraphTensor((depth, out), packed.kind, None, (name,))
    return multiply(call, call.first, weight, call.first.kind, call.optional(5))


@operator("com.microsoft.DynamicQuantizeMatMul", "com.microsoft.MatMulIntegerToFloat")
def integer_product(call: NodeCall) -> GraphTensor:
    """Integers multiplied, and the result scaled: A, B, then scales and zero points, a bias last."""
    bias = call.optional(4 if call.node.op == "DynamicQuantizeMatMul" else 6)
    return multiply(call, call.first, call.input(1), FLOAT, bias)


@operator("com.microsoft.FusedGemm")
def fused_gemm(call: NodeCall) -> GraphTensor:
    """A * B + C, and an activation after it."""
    right = call.input(1)
    right = _turned(right) if call.node.integer("transB", 0) else right
    result = multiply(call, call.first, right, call.first.kind, call.optional(2))
    name = call.node.text("activation", "")
    if name and name not in ACTIVATIONS:
        raise InputError(f"FusedGemm with the activation {name!r}")
    return call.add(ACTIVATIONS[name], [result], LayerPlan(result.shape, result.kind)) if name else result


@operator("com.microsoft.GemmFastGelu")
def gemm_gelu(call: NodeCall) -> GraphTensor:
    """A product, a bias, GELU by a hyperbolic tangent."""
    result = multiply(call, call.first, call.input(1), call.first.kind, call.optional(2))
    return call.add(GeluTanh(), [result], LayerPlan(result.shape, result.kind))


# ---- element by element


@operator("com.microsoft.BiasAdd")
def bias_add(call: NodeCall) -> GraphTensor:
    """X, a trained vector, a skip."""
    return _added(call, call.first, call.input(2), call.input(1))


@operator("com.microsoft.BiasSplitGelu")
def gated_gelu(call: NodeCall) -> GraphTensor:
    """(..., 2 n) and a bias to (..., n): one half times GELU of the other.

    FLOPs an output: two sums, GELU by the error function 5 (quotient, error function, sum, 2 products), a product.
    """
    biased, bias = call.first, call.input(1)
    output = (*biased.shape[:-1], biased.shape[-1] // 2)
    sample, read = call.builder.sample(output), product(call.builder.sample(biased.shape))
    shifted_input = shifted(call, biased, bias)
    size = product(sample)
    return call.add(
        Pass("gated_gelu", sample, read, 6 * size, 12 * size, read).op(),
        [shifted_input],
        LayerPlan(output, biased.kind),
    )


@operator("com.microsoft.RotaryEmbedding")
def rotary(call: NodeCall) -> GraphTensor:
    """Pairs of features turned by an angle of their position."""
    return _row_layer(call, Rotary(), call.first)


# ---- attention


def _heads(call: NodeCall, name: str = "num_heads") -> int:
    heads = call.node.integer(name, 0)
    if heads < 1:
        raise InputError(f"{call.node.op} without {name}")
    return heads


def _sliced(call: NodeCall, packed: GraphTensor, widths: tuple[int, ...]) -> list[GraphTensor]:
    """Queries, keys and values that stand side by side: views."""
    if packed.shape[-1] != sum(widths):
        raise InputError(f"{call.node.op}: {packed.shape[-1]} features are not {list(widths)}")
    return [call.view(packed, (*packed.shape[:-1], width)) for width in widths]


@operator("com.microsoft.Attention")
def attention(call: NodeCall) -> list[GraphTensor]:
    """Input, weights of queries, keys and values side by side, their bias; output 1 is keys and values."""
    weight, heads = call.input(1), _heads(call)
    sizes = call.node.integers("qkv_hidden_sizes", (weight.shape[-1] // 3,) * 3) or ()
    packed = multiply(call, call.first, weight, call.first.kind, call.optional(2))
    query, key, value = _sliced(call, packed, sizes)
    result = attend(call, (query, key, value), (heads, heads), causal=bool(call.node.integer("unidirectional", 0)))
    batch, positions, features = key.shape
    return [result, call.view(key, (2, batch, heads, positions, features // heads))]


@operator("com.microsoft.MultiHeadAttention")
def multi_head(call: NodeCall) -> list[GraphTensor]:
    """Queries, keys, values (batch, positions, features), a bias of all three, masks, earlier keys and values."""
    heads, bias = _heads(call), call.optional(3)
    query, key, value = (call.input(place) for place in range(3))
    if any(len(tensor.shape) not in (3, 4) for tensor in (query, key, value)):
        raise InputError(f"MultiHeadAttention of {list(query.shape)}: packed operands have no rule")
    if bias is not None:
        query = shifted(call, query, _part(bias, query.shape[-1]))
    key, value = (with_past(call, new, place, heads, force=True) for new, place in ((key, 6), (value, 7)))
    causal = bool(call.node.integer("unidirectional", 0))
    return [attend(call, (query, key, value), (heads, heads), causal=causal), key, value]


def _part(bias: GraphTensor, width: int) -> GraphTensor:
    """The queries' part of a bias whose other parts ride along; the parameters are those of all."""
    return GraphTensor((width,), bias.kind, None, bias.stored)


@operator("com.microsoft.GroupQueryAttention")
def grouped(call: NodeCall) -> list[GraphTensor]:
    """Queries, keys, values or all in the first, then earlier keys and values; positions turned if asked."""
    heads, kv_heads = _heads(call), _heads(call, "kv_num_heads")
    query, key, value = call.first, call.optional(1), call.optional(2)
    if key is None or value is None:
        size = query.shape[-1] // (heads + 2 * kv_heads)
        query, key, value = _sliced(call, query, (heads * size, kv_heads * size, kv_heads * size))
    if call.node.integer("do_rotary", 0):
        query, key = (_row_layer(call, Rotary(), tensor) for tensor in (query, key))
    key, value = (with_past(call, new, place, kv_heads, force=True) for new, place in ((key, 3), (value, 4)))
    span = call.node.integer("local_window_size", -1)
    softcap = call.node.real("softcap", 0.0) > 0
    result = attend(call, (query, key, value), (heads, kv_heads), causal=True, softcap=softcap, span=span)
    return [result, key, value]
