"""Random numbers: a pass that writes them; drawing one is not counted as arithmetic, comparing with it is."""

from __future__ import annotations

from math import ceil, log2

from simulator.errors import InputError
from simulator.op.passes import Pass
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.messages import INT32
from simulator.workload.importers.onnx.sampling import elements_read


@operator("RandomNormal", "RandomUniform")
def noise(call: NodeCall) -> GraphTensor:
    """Noise of a written shape, drawn anew in each step."""
    return _noise(call, call.builder.root, call.node.integers("shape", ()) or ())


@operator("RandomNormalLike", "RandomUniformLike")
def noise_like(call: NodeCall) -> GraphTensor:
    """Noise of the input's shape; of a constant's it is drawn too."""
    source = call.builder.root if call.first.constant else call.first
    return _noise(call, source, call.first.shape)


def _noise(call: NodeCall, source: GraphTensor, shape: tuple[int, ...]) -> GraphTensor:
    work = Pass("random", call.builder.sample(shape), 0, 0)
    return call.add(work.op(), [source], LayerPlan(shape, call.node.integer("dtype", 1)))


@operator("Bernoulli")
def bernoulli(call: NodeCall) -> GraphTensor:
    """One comparison with a random number each."""
    sample = call.builder.sample(call.first.shape)
    work = Pass("bernoulli", sample, elements_read(call, call.first), product(sample))
    return call.add(work.op(), [call.first], LayerPlan(call.first.shape, call.node.integer("dtype", call.first.kind)))


@operator("Multinomial")
def multinomial(call: NodeCall) -> GraphTensor:
    """(batch, classes) -> (batch, draws): an exponential and a running sum a class, then a search a draw."""
    if len(call.first.shape) != 2:
        raise InputError(f"Multinomial of {list(call.first.shape)}")
    classes, draws = call.first.shape[1], call.node.integer("sample_size", 1)
    output = (call.first.shape[0], draws)
    read = elements_read(call, call.first)
    flops = 2 * read + draws * ceil(log2(max(classes, 2)))
    return call.add(
        Pass("multinomial", call.builder.sample(output), read, flops).op(),
        [call.first],
        LayerPlan(output, call.node.integer("dtype", INT32)),
    )
