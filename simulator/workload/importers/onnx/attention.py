"""Attention in one operator."""

from __future__ import annotations

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Shape
from simulator.op.eager_attention import EagerAttention
from simulator.op.fused_attention import FusedAttention
from simulator.workload.importers.onnx.builder import Call, Plan, Tensor, operator
from simulator.workload.importers.onnx.movement import joined


@operator("Attention", "ai.onnx.preview.FlexAttention")
def attention(call: Call) -> list[Tensor]:
    """Scaled dot-product attention of operator set 23; (batch, heads, positions, size) or heads inside the features.

    Earlier keys and values are joined with the new ones in a copy; outputs 1 and 2 are all of them. Output 3, the
    scores, is written by attention that is taken apart alone.
    """
    if {"score_mod", "prob_mod"} & set(call.node.attributes):
        raise UnsupportedError("attention whose scores a graph of its own changes has no rule")
    query, key, value = (call.input(i) for i in range(3))
    heads, kv_heads = _heads(call, query, "q_num_heads"), _heads(call, key, "kv_num_heads")
    key, value = (_with_past(call, new, 4 + i, kv_heads) for i, new in enumerate((key, value)))
    causal = bool(call.node.integer("is_causal", 0))
    eager = call.builder.request.attention == "eager" or len(call.node.outputs) > 3
    op_type = EagerAttention if eager else FusedAttention
    inputs = tuple(_positions(tensor) for tensor in (query, key, value))
    size = inputs[2][1] // max(kv_heads, 1)
    softcap = call.node.real("softcap", 0.0) > 0
    op = op_type(heads=heads, kv_heads=kv_heads, causal=causal, softcap=softcap)
    sample = op.output_shape(inputs)
    if len(query.shape) == 4:
        output: Shape = (*query.shape[:3], size)
    else:
        output = (*query.shape[:2], heads * size)
    result = call.add(op, [query, key, value], Plan(output, query.kind, inputs, sample))
    scores = call.view(result, (query.shape[0], heads, inputs[0][0], inputs[1][0]))
    return [result, key, value, scores][: max(1, len(call.node.outputs))]


def _with_past(call: Call, new: Tensor, position: int, heads: int) -> Tensor:
    """Keys or values (batch, heads, positions, size), earlier ones before them."""
    past = call.optional(position)
    if past is not None or (len(new.shape) == 3 and len(call.node.outputs) > 1):
        batch, positions, features = new.shape if len(new.shape) == 3 else (new.shape[0], new.shape[2], 0)
        new = call.view(new, (batch, heads, positions, features // heads)) if features else new
    return new if past is None else joined(call, [past, new], 2)


def _heads(call: Call, tensor: Tensor, attribute: str) -> int:
    if len(tensor.shape) == 4:
        return tensor.shape[1]
    heads = call.node.integer(attribute, 0)
    if len(tensor.shape) != 3 or heads < 1:
        raise InputError(f"Attention needs {attribute} with inputs of {list(tensor.shape)}")
    return heads


def _positions(tensor: Tensor) -> tuple[int, int]:
    """(positions, features of all heads) of one sample."""
    shape = tensor.shape
    return (shape[2], shape[1] * shape[3]) if len(shape) == 4 else (shape[1], shape[2])
