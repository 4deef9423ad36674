"""What runs beside an exchange among the ranks that share a network, and what of the exchange it leaves exposed.

A ring that hands on keys and values runs beside the attention that reads them. Where tensor parallelism is pipelined,
the exchange of positions around a product goes in as many pieces as there are ranks, and the product with it: the
first piece is gathered before it, the last scattered after it, and between them the slower of the two sets the pace.
Backward, the exchange runs beside the product that makes the gradient of the input.

Sources: Liu et al., "Ring Attention", 2023, arXiv 2310.01889; Wang et al., "Overlap Communication with Dependent
Computation via Decomposition", ASPLOS 2023, section 3; Transformer Engine's `ub_overlap`, PyTorch's asynchronous
tensor parallelism.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.op.attention import Attention
from simulator.op.kernels import FloatArray
from simulator.op.linear import Linear
from simulator.op.transfer import Transfer
from simulator.parallel.tensor import last_product
from simulator.workload.fusion import readers_of
from simulator.workload.workload import Workload

RING_BACKWARD = 2.5
"""Products of attention's backward pass over those of its forward pass, beside which a ring hands on."""


@dataclass(frozen=True, eq=False)
class WorkBeside:
    """Seconds of each layer's kernels, forward and of the gradients of activations, shape (layers,). [s]"""

    forward: FloatArray
    backward: FloatArray


def exposed(
    workload: Workload, exchange: tuple[FloatArray, FloatArray], work: WorkBeside, ways: int
) -> tuple[FloatArray, FloatArray]:
    """What of each transfer's seconds nothing hides, forward and backward, shape (layers,). [s]

    ways : tensor-parallel ranks whose exchange goes in pieces beside their products; 1 where it does not.
    """
    sent, returned = (seconds.copy() for seconds in exchange)
    for place, layer in enumerate(workload.layers):
        if isinstance(layer.op, Transfer) and layer.op.hidden:
            beside = _attention_after(workload, place, work.forward)
            sent[place] = max(sent[place] - beside, 0.0)
            returned[place] = max(returned[place] - RING_BACKWARD * beside, 0.0)
    if ways > 1:
        for place, products in _products_beside(workload).items():
            sent[place] = in_pieces(sent[place], float(work.forward[products].sum()), ways)
            returned[place] = in_pieces(returned[place], float(work.backward[products].sum()), ways)
    return sent, returned


def in_pieces(exchange_s: float, product_s: float, ways: int) -> float:
    """What an exchange in `ways` pieces adds to the product beside it. [s]

    Worked example: 8 ms of product and 4 ms of exchange in 4 pieces: the product, and one piece of 1 ms. 4 ms and 8 ms:
    the exchange, and a quarter of the product, 9 ms, 5 more than the product.
    """
    return max(exchange_s - product_s, 0.0) + min(exchange_s, product_s) / ways


def _attention_after(workload: Workload, place: int, forward: FloatArray) -> float:
    following = range(place + 1, len(workload.layers))
    found = next((p for p in following if isinstance(workload.layers[p].op, Attention)), None)
    return 0.0 if found is None else float(forward[found])


def _products_beside(workload: Workload) -> dict[int, list[int]]:
    """Exchanges of positions -> the products that read or write them; the vocabulary's is not pipelined."""
    layers, readers = workload.layers, readers_of(workload.layers)
    head = last_product(layers)
    found = {}
    for place, layer in enumerate(layers):
        if not isinstance(layer.op, Transfer) or layer.op.group != "tensor":
            continue
        near = {*layer.sources, *readers[place]} - {head}
        products = [other for other in near if other >= 0 and isinstance(layers[other].op, Linear)]
        if products:
            found[place] = products
    return found
