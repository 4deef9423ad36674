"""What each piece of a pipeline takes for one micro-batch, and why; from one lowering of one rank's share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.device.system import Cluster
from simulator.op.experts import Experts
from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.kernels import FloatArray, Kernels
from simulator.op.transfer import Transfer
from simulator.parallel.beside import WorkBeside, exposed
from simulator.parallel.groups import Groups
from simulator.parallel.plan import Plan
from simulator.parallel.recomputing import again_seconds
from simulator.parallel.stages import chunks_of, crossing_elements
from simulator.precision import Precision
from simulator.roofline.collectives import Collective, collective_seconds, dispatch_seconds
from simulator.roofline.times import Times
from simulator.workload.workload import Workload


@dataclass(frozen=True, eq=False)
class LayerSeconds:
    """Times of each layer for one micro-batch, shape (layers,). [s]

    `forward`, `backward` (gradients of activations), `weights` (of weights) and `update` are kernels; `casts` write the
    narrow copies of weights, once a step; `sent` and `returned` are what ranks exchange and nothing hides.
    """

    forward: FloatArray
    backward: FloatArray
    weights: FloatArray
    update: FloatArray
    casts: FloatArray
    sent: FloatArray
    returned: FloatArray

    @property
    def total(self) -> FloatArray:
        """Forward and backward, with what is exchanged."""
        return self.forward + self.backward + self.weights + self.sent + self.returned


@dataclass(frozen=True, eq=False)
class Piece:
    """One piece for one micro-batch. [s]

    Attributes
    ----------
    layers : positions in the rank's workload.
    again_s : forward work that the backward pass repeats.
    sent_s, returned_s : exchange among the ranks that share its layers.
    update_s : the optimizer, over weights that no other rank updates.
    """

    layers: range
    forward_s: float
    again_s: float
    backward_s: float
    weights_s: float
    sent_s: float
    returned_s: float
    update_s: float


def layer_seconds(
    workload: Workload,
    kernels: Kernels,
    times: Times,
    exchange: tuple[Groups, Cluster],
    samples: tuple[Precision, int],
    *,
    pipelined: bool = False,
) -> LayerSeconds:
    """Times by layer of a rank's workload.

    samples : the precision and the micro-batch.
    pipelined : whether tensor-parallel ranks exchange in pieces beside their products.
    """
    layers = len(workload.layers)

    def total(mask: FloatArray) -> FloatArray:
        return np.bincount(kernels.layer, weights=np.where(mask, times.time_s, 0.0), minlength=layers).astype(float)

    phase = kernels.phase
    narrow = kernels.distinct.write[Role.WEIGHT].any(axis=0) & (kernels.distinct.op_class == OpClass.CAST)
    casts = narrow[kernels.row] & (phase == Phase.FORWARD)
    work = WorkBeside(total((phase == Phase.FORWARD) & ~casts), total(phase == Phase.INPUT_GRADIENT))
    ways = exchange[0].tensor.size if pipelined else 1
    sent, returned = exposed(workload, _exchanged(workload, exchange, samples), work, ways)
    return LayerSeconds(
        forward=work.forward,
        backward=work.backward,
        weights=total(phase == Phase.WEIGHT_GRADIENT),
        update=total(phase == Phase.UPDATE),
        casts=total(casts),
        sent=sent,
        returned=returned,
    )


def _exchanged(
    workload: Workload, exchange: tuple[Groups, Cluster], samples: tuple[Precision, int]
) -> tuple[FloatArray, FloatArray]:
    """Seconds of each transfer by itself, forward and backward."""
    sent, returned = np.zeros(len(workload.layers)), np.zeros(len(workload.layers))
    known: dict[Transfer, tuple[float, float]] = {}
    for place, layer in enumerate(workload.layers):
        if not isinstance(layer.op, Transfer):
            continue
        if layer.op not in known:
            known[layer.op] = _transfer_seconds(layer.op, *exchange, samples)
        sent[place], returned[place] = known[layer.op]
    return sent, returned


def _transfer_seconds(
    op: Transfer, groups: Groups, cluster: Cluster, samples: tuple[Precision, int]
) -> tuple[float, float]:
    precision, batch = samples
    group = groups.named(op.group)

    def seconds(kind: str, elements: int, role: Role) -> float:
        if not kind or group.size == 1:
            return 0.0
        message = elements * precision.widths[role] * batch
        if op.active:
            return float(dispatch_seconds(message, op.active, group, cluster))
        return float(collective_seconds(Collective(kind), message, group, cluster))

    return seconds(op.sent, op.message, Role.ACTIVATION), seconds(op.returned, op.answer, Role.GRADIENT)


@lru_cache(maxsize=256)
def split_of(workload: Workload, seconds: LayerSeconds, count: int) -> tuple[range, ...]:
    """Positions of each of `count` pieces of a rank's workload.

    Raises
    ------
    InputError
        If there are more pieces than blocks.
    """
    return chunks_of(workload, count, seconds.total)


def pieces_of(workload: Workload, seconds: LayerSeconds, plan: Plan) -> tuple[Piece, ...]:
    """The plan's pieces of a rank's workload."""
    again = again_seconds(workload, seconds.forward, seconds.sent, plan.recompute)
    split = split_of(workload, seconds, plan.chunks)
    update = (seconds.update + seconds.casts) / _update_ranks(workload, plan)
    columns = (seconds.forward, again, seconds.backward, seconds.weights, seconds.sent, seconds.returned, update)
    sums = np.add.reduceat(columns, [layers.start for layers in split], axis=1)
    return tuple(Piece(layers, *spent) for layers, spent in zip(split, sums.T.tolist(), strict=True))


def _update_ranks(workload: Workload, plan: Plan) -> FloatArray:
    """Ranks over which ZeRO shares out the update of each layer."""
    if not plan.zero:
        return np.ones(len(workload.layers))
    return np.where(_routed(workload), expert_replicas(plan), plan.data * plan.context).astype(float)


@lru_cache(maxsize=64)
def _routed(workload: Workload) -> FloatArray:
    """Whether each layer is of experts."""
    return np.array([isinstance(layer.op, Experts) for layer in workload.layers])


def expert_replicas(plan: Plan) -> int:
    """Ranks that have the same experts."""
    return plan.tokens_ranks // plan.expert if plan.expert > 1 else plan.data * plan.context


def hop_seconds(
    workload: Workload,
    pieces: tuple[Piece, ...],
    exchange: tuple[Groups, Cluster],
    samples: tuple[Precision, int],
    *,
    sequence: bool,
) -> float:
    """What the widest tensor between two pieces takes to the next stage. [s]

    Tensor ranks that all have the whole tensor send a share each and gather it at the other end.

    sequence : whether they share out its positions already.

    Source: Narayanan et al., SC 2021, arXiv 2104.04473, section 4.1 (scatter/gather); DeepSpeed, `PartitionedTensor`.
    """
    (groups, cluster), (precision, batch) = exchange, samples
    if len(pieces) == 1:
        return 0.0
    crossing = crossing_elements(workload)
    widest = max(crossing[piece.layers.stop - 1][0] for piece in pieces[:-1])
    message = widest * precision.widths[Role.ACTIVATION] * batch
    ranks = 1 if sequence else groups.tensor.size
    sent_s = collective_seconds(Collective.POINT_TO_POINT, message / ranks, groups.hop, cluster)
    gathered_s = 0.0 if sequence else collective_seconds(Collective.ALL_GATHER, message, groups.tensor, cluster)
    return float(sent_s + gathered_s)
