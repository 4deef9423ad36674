"""Quantised forms: pairs of quantise and dequantise around float operators, and operators on integers.

A pair says in which format its neighbours compute and is fused into them, so it costs nothing; a quantisation that no
dequantisation follows, or the other way round, is a pass over the tensor.
Source: ONNX operator specifications, QuantizeLinear, QLinearConv, MatMulInteger.
"""

from __future__ import annotations

from simulator.errors import InputError
from simulator.op.tensor import Binary, Unary
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator
from simulator.workload.importers.onnx.convolution import convolve, pooled
from simulator.workload.importers.onnx.messages import FLOAT, INT32, UINT8
from simulator.workload.importers.onnx.product import broadcast, multiply


@operator("QuantizeLinear", "com.microsoft.QuantizeLinear")
def quantize(call: NodeCall) -> GraphTensor:
    """To integers; the zero point's type is the output's."""
    zero = call.optional(2)
    kind = zero.kind if zero is not None else UINT8
    first = call.first
    readers = call.scope.readers.get(call.node.outputs[0], [])
    if first.constant or (readers and all(reader.op == "DequantizeLinear" for reader in readers)):
        return GraphTensor(first.shape, kind, first.handle, first.stored, quantized=True)
    return call.add(Unary(function="quantize"), [first], LayerPlan(first.shape, kind))


@operator("DequantizeLinear", "com.microsoft.DequantizeLinear")
def dequantize(call: NodeCall) -> GraphTensor:
    """Back to floating point; a stored integer weight stays the parameter that it is."""
    first = call.first
    if first.constant or first.quantized:
        return GraphTensor(first.shape, FLOAT, first.handle, first.stored)
    return call.add(Unary(function="multiply"), [first], LayerPlan(first.shape, FLOAT))


@operator("DynamicQuantizeLinear")
def quantize_dynamically(call: NodeCall) -> list[GraphTensor]:
    """To integers, by a scale that is measured."""
    first = call.first
    output = call.add(Unary(function="quantize"), [first], LayerPlan(first.shape, UINT8))
    return [output, GraphTensor((), FLOAT), GraphTensor((), UINT8)]


@operator("ConvInteger")
def convolution(call: NodeCall) -> GraphTensor:
    """Integers in, 32-bit integers out."""
    return convolve(call, call.first, call.input(1), None, INT32)


@operator("QLinearConv")
def quantized_convolution(call: NodeCall) -> GraphTensor:
    """x, scale, zero, w, scale, zero, y scale, zero, bias."""
    return convolve(call, call.first, call.input(3), call.optional(8), call.input(7).kind)


@operator("MatMulInteger")
def product(call: NodeCall) -> GraphTensor:
    """Integers in, 32-bit integers out."""
    return multiply(call, call.first, call.input(1), INT32)


@operator("QLinearMatMul")
def quantized_product(call: NodeCall) -> GraphTensor:
    """a, scale, zero, b, scale, zero, y scale, zero."""
    return multiply(call, call.first, call.input(3), call.input(7).kind)


@operator("com.microsoft.QGemm")
def quantized_gemm(call: NodeCall) -> GraphTensor:
    """a, scale, zero, b, scale, zero, bias."""
    left, right = call.first, call.input(3)
    if call.node.integer("transA", 0) or len(right.shape) != 2:
        raise InputError("QGemm of a transposed left matrix has no rule")
    turned = call.node.integer("transB", 0)
    weight = GraphTensor(right.shape[::-1], right.kind, right.handle, right.stored) if turned else right
    return multiply(call, left, weight, UINT8, call.optional(6))


@operator("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def quantized_binary(call: NodeCall) -> GraphTensor:
    """a, scale, zero, b, scale, zero, c scale, zero."""
    left, right = call.first, call.input(3)
    function = "add" if call.node.op == "QLinearAdd" else "multiply"
    live = [tensor for tensor in (left, right) if not tensor.constant]
    return call.add(Binary(function=function), live, LayerPlan(broadcast(left.shape, right.shape), left.kind))


@operator("com.microsoft.QLinearGlobalAveragePool")
def quantized_pool(call: NodeCall) -> GraphTensor:
    """Each channel to one number."""
    image = call.first
    return pooled(call, image, (*image.shape[:2], *(1 for _ in image.shape[2:])))
