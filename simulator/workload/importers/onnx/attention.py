"""Attention in one operator."""

from __future__ import annotations

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Shape
from simulator.op.eager_attention import EagerAttention
from simulator.op.fused_attention import FusedAttention
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator
from simulator.workload.importers.onnx.movement import joined


@operator("Attention", "ai.onnx.preview.FlexAttention")
def attention(call: NodeCall) -> list[GraphTensor]:
    """Scaled dot-product attention of operator set 23; (batch, heads, positions, size) or heads inside the features.

    Earlier keys and values are joined with the new ones in a copy; outputs 1 and 2 are all of them. Output 3, the
    scores, is written by attention that is taken apart alone.
    """
    if {"score_mod", "prob_mod"} & set(call.node.attributes):
        raise UnsupportedError("attention whose scores a graph of its own changes has no rule")
    query, key, value = (call.input(i) for i in range(3))
    heads, kv_heads = _heads(call, query, "q_num_heads"), _heads(call, key, "kv_num_heads")
    key, value = (with_past(call, new, 4 + i, kv_heads) for i, new in enumerate((key, value)))
    causal, softcap = bool(call.node.integer("is_causal", 0)), call.node.real("softcap", 0.0) > 0
    result = attend(call, (query, key, value), (heads, kv_heads), causal=causal, softcap=softcap)
    sides = _positions(query)[0], _positions(key)[0]
    scores = call.view(result, (query.shape[0], heads, *sides))
    return [result, key, value, scores][: max(1, len(call.node.outputs))]


def attend(
    call: NodeCall,
    operands: tuple[GraphTensor, GraphTensor, GraphTensor],
    heads: tuple[int, int],
    *,
    causal: bool = False,
    softcap: bool = False,
    span: int = -1,
) -> GraphTensor:
    """Attention of queries, keys and values, each of four sides or of three; `span` keys back, below zero all.

    Parameters
    ----------
    heads : of the queries, and of keys and values.
    """
    query, _, value = operands
    scores_written = len(call.node.outputs) > 3 and not call.node.domain
    eager = call.builder.request.attention == "eager" or scores_written
    op_type = EagerAttention if eager else FusedAttention
    inputs = tuple(_positions(tensor) for tensor in operands)
    op = op_type(heads=heads[0], kv_heads=heads[1], causal=causal, softcap=softcap, span=span if span > 0 else None)
    sample = op.output_shape(inputs)
    size = inputs[2][1] // max(heads[1], 1)
    output: Shape = (*query.shape[:3], size) if len(query.shape) == 4 else (*query.shape[:2], heads[0] * size)
    return call.add(op, list(operands), LayerPlan(output, value.kind, inputs, sample))


def with_past(call: NodeCall, new: GraphTensor, position: int, heads: int, *, force: bool = False) -> GraphTensor:
    """Keys or values (batch, heads, positions, size), earlier ones before them."""
    past = call.optional(position)
    wanted = past is not None or force or len(call.node.outputs) > 1
    if wanted and len(new.shape) == 3:
        batch, positions, features = new.shape
        new = call.view(new, (batch, heads, positions, features // heads))
    return new if past is None else joined(call, [past, new], 2)


def _heads(call: NodeCall, tensor: GraphTensor, attribute: str) -> int:
    if len(tensor.shape) == 4:
        return tensor.shape[1]
    heads = call.node.integer(attribute, 0)
    if len(tensor.shape) != 3 or heads < 1:
        raise InputError(f"Attention needs {attribute} with inputs of {list(tensor.shape)}")
    return heads


def _positions(tensor: GraphTensor) -> tuple[int, int]:
    """(positions, features of all heads) of one sample."""
    shape = tensor.shape
    return (shape[2], shape[1] * shape[3]) if len(shape) == 4 else (shape[1], shape[2])
