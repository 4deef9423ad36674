"""Matrix products: fully connected layers, products of activations."""

from __future__ import annotations

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Op, Shape
from simulator.op.linear import Linear
from simulator.op.matmul import Matmul
from simulator.op.sequence import TiedLinear
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product


@operator("Gemm")
def gemm(call: NodeCall) -> GraphTensor:
    """A * B + C; a trained B is a fully connected layer."""
    left, right, bias = call.first, call.input(1), call.optional(2)
    if len(left.shape) != 2 or len(right.shape) != 2:
        raise InputError(f"Gemm needs two matrices, found {list(left.shape)} and {list(right.shape)}")
    a = _turned(left) if call.node.integer("transA", 0) else left
    b = _turned(right) if call.node.integer("transB", 0) else right
    trained_bias = bias if bias is not None and bias.constant else None
    return multiply(call, a, b, left.kind, trained_bias)


def _turned(matrix: GraphTensor) -> GraphTensor:
    """The transpose, which a product reads as it is."""
    return GraphTensor((*matrix.shape[:-2], *matrix.shape[:-3:-1]), matrix.kind, matrix.handle, matrix.stored)


@operator("MatMul")
def matmul(call: NodeCall) -> GraphTensor:
    """A product as NumPy's `matmul` has it; a trained vector added by the only reader becomes its bias."""
    right = call.input(1)
    bias = _merged_bias(call, right) if right.constant and len(right.shape) == 2 else None
    return multiply(call, call.first, right, call.first.kind, bias)


def _merged_bias(call: NodeCall, weight: GraphTensor) -> GraphTensor | None:
    """The vector that the only reader of this product adds, and that reader's output taken over."""
    reader = call.scope.sole_reader(call.node.outputs[0])
    if reader is None or reader.op != "Add" or reader.domain or len(reader.inputs) != 2 or call.first.constant:
        return None
    other = [name for name in reader.inputs if name != call.node.outputs[0]]
    bias = call.scope.tensors.get(other[0]) if len(other) == 1 else None
    if bias is None or not bias.constant or not bias.stored or bias.shape != weight.shape[1:] or not bias.is_float:
        return None
    rank = max(len(call.first.shape), 2)
    output = (*call.first.shape[: rank - 1], weight.shape[1])
    call.scope.merged[id(reader)] = GraphTensor(output, call.first.kind, len(call.builder.layers))
    return bias


def multiply(
    call: NodeCall, left: GraphTensor, right: GraphTensor, kind: int, bias: GraphTensor | None = None
) -> GraphTensor:
    """The product, with whichever operand is constant as a trained weight."""
    shape = product_shape(left.shape, right.shape)
    a = left.shape if len(left.shape) > 1 else (1, *left.shape)
    b = right.shape if len(right.shape) > 1 else (*right.shape, 1)
    if right.constant and not left.constant and product(b[:-2]) == 1:
        return _linear(call, left, right, bias, LayerPlan(shape, kind))
    if left.constant and not right.constant and product(a[:-2]) == 1:
        return _linear(call, right, left, bias, LayerPlan(shape, kind), features=a[-1])
    if left.constant or right.constant:
        return _weighted(call, left, right, LayerPlan(shape, kind))
    return _batched(call, (left, a), (right, b), LayerPlan(shape, kind))


def product_shape(left: Shape, right: Shape) -> Shape:
    """The shape of NumPy's `matmul`."""
    a = left if len(left) > 1 else (1, *left)
    b = right if len(right) > 1 else (*right, 1)
    if not left or not right or a[-1] != b[-2]:
        raise InputError(f"a product of {list(left)} and {list(right)} has no common side")
    head = broadcast(a[:-2], b[:-2])
    return head + (a[-2:-1] if len(left) > 1 else ()) + (b[-1:] if len(right) > 1 else ())


def broadcast(*shapes: Shape) -> Shape:
    """The shape into which all fit, sides compared from the last; sides of 1 are repeated."""
    result: list[int] = []
    for place in range(1, max(len(shape) for shape in shapes) + 1):
        sides = {shape[-place] for shape in shapes if len(shape) >= place} - {1}
        if len(sides) > 1:
            raise InputError(f"{' and '.join(str(list(shape)) for shape in shapes)} do not fit together")
        result.append(sides.pop() if sides else 1)
    return tuple(reversed(result))


def _linear(
    call: NodeCall,
    data: GraphTensor,
    weight: GraphTensor,
    bias: GraphTensor | None,
    plan: LayerPlan,
    features: int | None = None,
) -> GraphTensor:
    """A fully connected layer over all positions, whatever sides they stand in."""
    depth = data.shape[-1] if features is None else features
    total = product(call.builder.sample(data.shape))
    out = weight.size // depth
    rows = total // depth
    inputs, sample = ((rows, depth), (rows, out)) if len(call.builder.sample(plan.output)) > 1 else ((depth,), (out,))
    if total % depth or rows * out != product(call.builder.sample(plan.output)):
        raise InputError(f"a product of {list(data.shape)} and {list(weight.shape)} mixes the samples of a batch")
    tied = call.builder.shared(weight)
    op: Op = TiedLinear(out=out, bias=bias is not None) if tied else Linear(out=out, bias=bias is not None)
    weights = (weight,) if bias is None else (weight, bias)
    return call.add(op, [data], LayerPlan(plan.output, plan.kind, (inputs,), sample, weights))


def _weighted(call: NodeCall, left: GraphTensor, right: GraphTensor, plan: LayerPlan) -> GraphTensor:
    """A trained matrix for each head or expert."""
    data, weight = (left, right) if right.constant else (right, left)
    if data.constant:
        return GraphTensor(plan.output, plan.kind, None, (*left.stored, *right.stored))
    depth = left.shape[-1]
    groups = product(weight.shape[:-2])
    columns = weight.size // groups // depth
    rows = product(call.builder.sample(plan.output)) // max(1, groups * columns)
    if rows < 1 or columns < 1:
        raise InputError(f"a product of {list(left.shape)} and {list(right.shape)} mixes the samples of a batch")
    inputs, sample = ((groups, rows, depth),), (groups, rows, columns)
    return call.add(
        Matmul(trained=True, columns=columns), [data], LayerPlan(plan.output, plan.kind, inputs, sample, (weight,))
    )


def _batched(
    call: NodeCall, left: tuple[GraphTensor, Shape], right: tuple[GraphTensor, Shape], plan: LayerPlan
) -> GraphTensor:
    """A batched product of activations: groups without the batch."""
    (first, a), (second, b) = left, right
    builder = call.builder
    output = product(builder.sample(plan.output))
    rows, depth, columns = a[-2], a[-1], b[-1]
    if rows % builder.batch == 0 and (builder.open_batch or len(a) == 2):
        rows //= builder.batch
    groups = max(1, output // max(1, rows * columns))
    if groups * rows * columns != output:
        raise UnsupportedError("a product over the batch, which no step that is linear in it has")
    own = product(builder.sample(second.shape)) // max(1, depth * columns)
    inputs = ((groups, rows, depth), (groups if own >= groups else 1, depth, columns))
    return call.add(Matmul(), [first, second], LayerPlan(plan.output, plan.kind, inputs, (groups, rows, columns)))
