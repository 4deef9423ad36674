"""A training step of a plan: pieces, schedule, exchange of gradients and weights, played out to a time and parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy import asarray

from simulator.device.system import Cluster
from simulator.op.kernels import FloatArray, Kernels
from simulator.parallel.adding import with_adding
from simulator.parallel.bound import PlanBound
from simulator.parallel.data import late_seconds, slowed_seconds
from simulator.parallel.groups import groups_of
from simulator.parallel.pieces import LayerSeconds, Piece, hop_seconds, pieces_of
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.playing import Durations, Timeline, least_seconds, played_seconds
from simulator.parallel.zero import Bucket, Sharing, gathered, gradient_exchange, weights_exposed
from simulator.precision import Precision
from simulator.roofline.times import Times
from simulator.workload.workload import Workload

ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Share:
    """One rank's share of a network, lowered and timed for one micro-batch.

    adding_s : what adding up a micro-batch's gradients takes in each layer, shape (layers,). [s]
    taken : share of their speed that kernels lose beside an exchange.
    """

    workload: Workload
    kernels: Kernels
    times: Times
    seconds: LayerSeconds
    adding_s: FloatArray
    taken: FloatArray


@dataclass(frozen=True, eq=False)
class PlanStep:
    """A step of all devices.

    Attributes
    ----------
    time_s : from the first forward pass to the last update. [s]
    seconds : in the order of `PlanBound`; they sum to `time_s`. [s]
    pieces : of the network, each for one micro-batch; stage s has the pieces s, s + stages, s + 2 stages ...
    timeline : the micro-batches that were played; of a long step the first and last.
    hop_s : a tensor's way to the next stage. [s]
    buckets : of each stage, the gradients on the link.
    """

    plan: Plan
    microbatches: int
    time_s: float
    seconds: tuple[float, ...]
    pieces: tuple[Piece, ...]
    timeline: Timeline
    hop_s: float
    buckets: tuple[tuple[Bucket, ...], ...]

    @property
    def bound(self) -> PlanBound:
        """What takes most of the step."""
        return max(PlanBound, key=lambda bound: self.seconds[bound])

    def of_stage(self, stage: int) -> tuple[Piece, ...]:
        """The pieces of one stage."""
        return self.pieces[stage :: self.plan.pipeline]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A step that is ready to be played.

    Attributes
    ----------
    waits : what gathers and scatters add to each piece's forward and backward pass. [s]
    hop_s : a tensor's way to the next stage. [s]
    """

    share: Share
    sharing: Sharing
    microbatches: int
    pieces: tuple[Piece, ...]
    waits: tuple[list[float], list[float]]
    hop_s: float

    @property
    def plan(self) -> Plan:
        """How devices share the network."""
        return self.sharing.plan

    @property
    def durations(self) -> Durations:
        """Times of the pieces' passes. [s]"""
        return _durations(self.pieces, self.waits, self.hop_s, overlap=self.plan.overlap)

    @property
    def least_s(self) -> float:
        """No step is faster: its stages' own work, the way to them and back, and the update. [s]"""
        ends = least_seconds(self.plan, self.durations, self.microbatches)
        updates = [sum(piece.update_s for piece in self.of_stage(stage)) for stage in range(self.plan.pipeline)]
        late_s = float(late_seconds(self.plan.devices, asarray(max(ends))))
        return late_s + max(end + update for end, update in zip(ends, updates, strict=True))

    def of_stage(self, stage: int) -> tuple[Piece, ...]:
        """The pieces of one stage."""
        return self.pieces[stage :: self.plan.pipeline]


def prepared(
    share: Share, plan: Plan, cluster: Cluster, samples: tuple[Precision, int, int], bucket_bytes: float
) -> Prepared:
    """The pieces of a plan's step and what they wait for.

    Parameters
    ----------
    share : timed at the micro-batch.
    samples : precision, samples of a micro-batch, micro-batches of a replica.
    bucket_bytes : gradients that are exchanged together. [byte]

    Raises
    ------
    InputError
        If the plan is for another number of devices, or has more pieces than the network has blocks.
    """
    precision, size, microbatches = samples
    groups = groups_of(plan, cluster)
    pieces = with_adding(pieces_of(share.workload, share.seconds, plan), share.adding_s, plan, microbatches)
    sharing = Sharing(plan, groups, cluster, precision, bucket_bytes, share.taken)
    waits = gathered(share.workload, pieces, share.seconds, sharing)
    hop_s = hop_seconds(share.workload, pieces, (groups, cluster), (precision, size), sequence=plan.sequence)
    return Prepared(share, sharing, microbatches, pieces, waits, hop_s)


def plan_step(ready: Prepared) -> PlanStep:
    """The step, played."""
    share, plan, sharing, pieces = ready.share, ready.plan, ready.sharing, ready.pieces
    timeline, played_s = played_seconds(plan, ready.durations, ready.microbatches)
    ends = _stage_ends(timeline, played_s - timeline.end_s)
    late_s = float(late_seconds(plan.devices, asarray(played_s)))
    buckets = tuple(_buckets(share, ready.of_stage(stage), sharing) for stage in range(plan.pipeline))
    tails = [_tail(share, ready.of_stage(stage), sharing, sent) for stage, sent in enumerate(buckets)]
    time_s = late_s + max(end + sum(tail) for end, tail in zip(ends, tails, strict=True))
    spent = _spent(pieces, ready.waits, (plan, ready.microbatches), tails) | {PlanBound.LATE: late_s}
    idle = time_s - sum(spent.values())
    spent[PlanBound.BUBBLE] = idle if idle > ROUNDING * time_s else 0.0
    seconds = tuple(spent.get(bound, 0.0) for bound in PlanBound)
    return PlanStep(plan, ready.microbatches, time_s, seconds, pieces, timeline, ready.hop_s, buckets)


def with_late_samples(step: PlanStep, exposed_s: float) -> PlanStep:
    """The same step where it waits so long for samples, beside all else. [s]"""
    seconds = tuple(step.seconds[bound] + exposed_s * (bound is PlanBound.INPUT) for bound in PlanBound)
    return replace(step, time_s=step.time_s + exposed_s, seconds=seconds)


def _durations(
    pieces: Sequence[Piece], waits: tuple[list[float], list[float]], hop_s: float, *, overlap: bool
) -> Durations:
    """Times of the pieces; without overlap a stage computes nothing while it sends to the next one or receives."""
    last = len(pieces) - 1
    held_s = [0.0 if overlap else hop_s * ((place > 0) + (place < last)) for place in range(len(pieces))]
    ahead = zip(pieces, waits[0], held_s, strict=True)
    back = zip(pieces, waits[1], held_s, strict=True)
    return Durations(
        [piece.forward_s + piece.sent_s + wait + held for piece, wait, held in ahead],
        [p.again_s + p.backward_s + p.returned_s + wait + held for p, wait, held in back],
        [piece.weights_s for piece in pieces],
        hop_s if overlap else 0.0,
    )


def _stage_ends(timeline: Timeline, more_s: float) -> list[float]:
    """When each stage has computed its last gradient. [s]"""
    return [ends[-1] + more_s for ends in timeline.ends_s]


def _buckets(share: Share, here: Sequence[Piece], sharing: Sharing) -> tuple[Bucket, ...]:
    """A stage's gradients on the link; none where FSDP scatters them with each block, or nobody shares the weights."""
    if sharing.plan.shared == FULLY or sharing.plan.tokens_ranks == sharing.plan.tensor:
        return ()
    return tuple(gradient_exchange(here, share.workload, share.seconds, sharing))


def _tail(share: Share, here: Sequence[Piece], sharing: Sharing, sent: Sequence[Bucket]) -> tuple[float, float]:
    """What a stage does after its last backward pass: exchange that nothing hides, and the update. [s]"""
    exposed = max(sent[-1].end_s, 0.0) if sent else 0.0
    if sharing.plan.overlap:
        busy = sum(bucket.end_s - bucket.start_s for bucket in sent)
        exposed += float(slowed_seconds(busy, exposed, sharing.taken))
    return exposed + weights_exposed(here, share.workload, sharing), sum(piece.update_s for piece in here)


def _spent(
    pieces: Sequence[Piece],
    waits: tuple[list[float], list[float]],
    counts: tuple[Plan, int],
    tails: Sequence[tuple[float, float]],
) -> dict[PlanBound, float]:
    """Seconds on the average over the stages, but for what is idle."""
    plan, microbatches = counts
    each = microbatches / plan.pipeline
    return {
        PlanBound.COMPUTE: each * sum(piece.forward_s + piece.backward_s + piece.weights_s for piece in pieces),
        PlanBound.RECOMPUTE: each * sum(piece.again_s for piece in pieces),
        PlanBound.EXCHANGE: each * sum(piece.sent_s + piece.returned_s for piece in pieces),
        PlanBound.GATHERS: each * sum(map(sum, waits)),
        PlanBound.GRADIENTS: sum(exposed for exposed, _ in tails) / plan.pipeline,
        PlanBound.UPDATE: sum(update for _, update in tails) / plan.pipeline,
    }
