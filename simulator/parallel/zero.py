"""What data-parallel ranks exchange of gradients and weights (ZeRO, FSDP), and how much of it the computation hides.

Stage 0 sums gradients; 1 and 2 hand each rank its share of the sums and gather the updated weights; 3 gathers each
block's weights before it computes, forward and backward, and keeps none. Gradients travel in buckets beside the last
micro-batch's backward pass; weights are gathered two blocks ahead, as PyTorch's FSDP limits it.

Sources: Rajbhandari et al., "ZeRO", SC 2020, arXiv 1910.02054, section 7; Zhao et al., "PyTorch FSDP", VLDB 16(12),
2023, sections 3.3 and 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.device.system import Cluster
from simulator.op.experts import Experts
from simulator.op.kernels import FloatArray
from simulator.parallel.data import one_after_another, slowed_seconds
from simulator.parallel.groups import Groups
from simulator.parallel.pieces import LayerSeconds, Piece
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.stages import blocks
from simulator.precision import Precision, Role
from simulator.roofline.collectives import Collective, collective_seconds
from simulator.workload.workload import Workload

AHEAD = 2
"""Blocks whose weights are gathered or in use at one time. Source: FSDP's rate limiter, section 3.4."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of each layer, those of experts apart, which other ranks share; shape (layers,). [parameters]

    trained : 1 where a layer's have a gradient, else 0.
    """

    dense: FloatArray
    experts: FloatArray
    trained: FloatArray


@lru_cache(maxsize=64)
def weights_of(workload: Workload) -> Weights:
    """Weights by layer."""
    counts = np.array([layer.parameters for layer in workload.layers], dtype=float)
    routed = np.array([isinstance(layer.op, Experts) for layer in workload.layers])
    trained = np.array([not layer.op.untrained for layer in workload.layers], dtype=float)
    return Weights(np.where(routed, 0.0, counts), np.where(routed, counts, 0.0), trained)


def gradient_width(precision: Precision) -> float:
    """Bytes of a gradient as ranks exchange it: in the width of the optimizer's states, where that is wider."""
    return precision.widths[Role.STATE if precision.master_weights else Role.WEIGHT_GRADIENT]


@dataclass(frozen=True)
class Sharing:
    """What a plan's exchange of gradients and weights needs to know.

    taken : share of their speed that kernels lose beside an exchange.
    """

    plan: Plan
    groups: Groups
    cluster: Cluster
    precision: Precision
    bucket_bytes: float
    taken: FloatArray

    def seconds(self, kind: Collective, dense: FloatArray, experts: FloatArray) -> FloatArray:
        """Time of a collective over both kinds of weights, of messages in bytes. [s]"""
        total = np.zeros(np.broadcast(dense, experts).shape)
        for message, group in ((dense, self.groups.replicas), (experts, self.groups.experts)):
            if group.size > 1:
                spent = collective_seconds(kind, message, group, self.cluster)
                total = total + np.where(np.asarray(message) > 0, spent, 0.0)
        return total


@dataclass(frozen=True, eq=False)
class Bucket:
    """Gradients on the link; times count from the end of the stage's last backward pass. [byte], [s]"""

    message_bytes: float
    start_s: float
    end_s: float


def gradient_exchange(
    here: Sequence[Piece], workload: Workload, seconds: LayerSeconds, sharing: Sharing
) -> list[Bucket]:
    """The buckets of a stage's gradients, beside and after its last backward pass, those of experts last."""
    plan, weights = sharing.plan, weights_of(workload)
    places = np.concatenate([np.arange(piece.layers.start, piece.layers.stop) for piece in here])[::-1]
    ready = np.cumsum((seconds.backward + seconds.weights)[places]) * _stretch(here)
    ready -= ready[-1]
    kind = Collective.ALL_REDUCE if plan.shared == 0 else Collective.REDUCE_SCATTER
    limit = sharing.bucket_bytes if plan.overlap else float("inf")
    found: list[Bucket] = []
    for counts, group in ((weights.dense, sharing.groups.replicas), (weights.experts, sharing.groups.experts)):
        gradient = gradient_width(sharing.precision) * (counts * weights.trained)[places]
        if group.size == 1 or not gradient.any():
            continue
        size, when = buckets_of(gradient, ready, limit)
        spent = collective_seconds(kind, size, group, sharing.cluster)
        last = one_after_another(np.maximum(when, found[-1].end_s if found else -np.inf), spent)
        found += map(Bucket, size.tolist(), (last - spent).tolist(), last.tolist())
    return found


def _stretch(here: Sequence[Piece]) -> float:
    """The backward pass with what it repeats and exchanges over its kernels alone."""
    kernels = sum(piece.backward_s + piece.weights_s for piece in here)
    more = sum(piece.again_s + piece.returned_s for piece in here)
    return 1 + more / kernels if kernels else 1.0


def buckets_of(gradient: FloatArray, ready: FloatArray, limit: float) -> tuple[FloatArray, FloatArray]:
    """Gradients in the order in which they are ready, put together until a bucket is full: sizes and times.

    Worked example: 10, 20 and 30 bytes, ready at 1, 2 and 3, a limit of 25: 30 at 2, and 30 at 3.
    """
    kept = gradient > 0
    gradient, ready = gradient[kept], ready[kept]
    ends, filled = [], 0.0
    for place, size in enumerate(gradient.tolist()):
        filled += size
        if filled >= limit or place == len(gradient) - 1:
            ends.append(place)
            filled = 0.0
    sums = np.cumsum(gradient)[ends]
    return np.diff(sums, prepend=0.0), ready[ends]


def weights_exposed(here: Sequence[Piece], workload: Workload, sharing: Sharing) -> float:
    """What gathering the updated weights takes beyond the next step's first forward pass (stages 1 and 2). [s]"""
    if sharing.plan.shared not in (1, 2):
        return 0.0
    weights, width = weights_of(workload), sharing.precision.widths[Role.WEIGHT]
    dense = sum(float(weights.dense[p.layers.start : p.layers.stop].sum()) for p in here)
    experts = sum(float(weights.experts[p.layers.start : p.layers.stop].sum()) for p in here)
    spent = float(sharing.seconds(Collective.ALL_GATHER, np.array(dense * width), np.array(experts * width)))
    hidden = sum(piece.forward_s for piece in here) if sharing.plan.overlap else 0.0
    return max(spent - hidden, 0.0)


def gathered(
    workload: Workload, pieces: Sequence[Piece], seconds: LayerSeconds, sharing: Sharing
) -> tuple[list[float], list[float]]:
    """What FSDP's gathers and scatters add to each piece's forward and backward pass of a micro-batch. [s]"""
    if sharing.plan.shared < FULLY:
        nothing = [0.0] * len(pieces)
        return nothing, nothing
    found = [_exposed(workload, piece, seconds, sharing) for piece in pieces]
    return [forward for forward, _ in found], [backward for _, backward in found]


def _exposed(workload: Workload, piece: Piece, seconds: LayerSeconds, sharing: Sharing) -> tuple[float, float]:
    parts = [b for b in blocks(workload) if b.start >= piece.layers.start and b.stop <= piece.layers.stop]
    weights = weights_of(workload)
    dense = np.array([weights.dense[b.start : b.stop].sum() for b in parts])
    experts = np.array([weights.experts[b.start : b.stop].sum() for b in parts])
    width, wide = sharing.precision.widths[Role.WEIGHT], gradient_width(sharing.precision)
    gather = sharing.seconds(Collective.ALL_GATHER, dense * width, experts * width)
    scatter = sharing.seconds(Collective.REDUCE_SCATTER, dense * wide, experts * wide)
    ahead = seconds.forward + seconds.sent
    back = seconds.backward + seconds.weights + seconds.returned
    forward = np.array([ahead[b.start : b.stop].sum() for b in parts])
    total = piece.backward_s + piece.weights_s + piece.returned_s
    backward = np.array([back[b.start : b.stop].sum() for b in parts]) * (1 + piece.again_s / total if total else 1)
    if not sharing.plan.overlap:
        return float(gather.sum()), float((gather + scatter).sum())
    none = np.zeros(len(parts))
    ahead_s = prefetched(forward, gather, none) - float(forward.sum())
    back_s = prefetched(backward[::-1], gather[::-1], scatter[::-1]) - float(backward.sum())
    return (
        ahead_s + float(slowed_seconds(float(gather.sum()), ahead_s, sharing.taken)),
        back_s + float(slowed_seconds(float((gather + scatter).sum()), back_s, sharing.taken)),
    )


def prefetched(compute: FloatArray, gather: FloatArray, scatter: FloatArray) -> float:
    """Time of blocks whose weights come over a link before each and whose gradients leave after it, in order. [s]

    Worked example: computing 2, 2, 2, gathering 1, 1, 1, nothing to scatter: 1 to wait, then 6.
    """
    link = computed = 0.0
    ends: list[float] = []
    for place, (work, before) in enumerate(zip(compute.tolist(), gather.tolist(), strict=True)):
        room = ends[place - AHEAD] if place >= AHEAD else 0.0
        here = max(link, room) + before
        ends.append(max(computed, here) + work)
        link = _after(here, computed, float(scatter[place - 1])) if place else here
        computed = ends[-1]
    return _after(max(link, computed), computed, float(scatter[-1]))


def _after(link: float, ready: float, length: float) -> float:
    """The link's end after a scatter that starts when it is ready; none of no length."""
    return max(link, ready) + length if length else link
