"""Counts at two batch sizes become counts that are affine in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulator.errors import UnsupportedError
from simulator.op.base import Shape
from simulator.op.kernel import Affine, Gemm, Kernel, Phase, Role
from simulator.units import FLOPS_PER_MAC
from simulator.workload.importers.torch.calls import Call, Kind
from simulator.workload.importers.torch.rules import Draft, Moved

SMALL, LARGE = 2, 3
"""The batch sizes: a count c2, c3 is (c3 - c2) a sample and 3 c2 - 2 c3 whatever the batch."""

MEETING = 32
"""Samples of which each meets all, as texts and images in CLIP's loss: those of a step where nobody says."""

ROUNDING = 1e-9
"""Of a count that is a share of another, such as an expert's rows."""

ROLES = {
    Kind.WEIGHT: Role.WEIGHT,
    Kind.ACTIVATION: Role.ACTIVATION,
    Kind.GRADIENT: Role.GRADIENT,
    Kind.WEIGHT_GRADIENT: Role.WEIGHT_GRADIENT,
    Kind.INDEX: Role.INDEX,
    Kind.MASK: Role.MASK,
}


def affine(small: float, large: float, what: str) -> Affine:
    """The count through two points; a part for each pair of samples is taken as it is among `MEETING` of them.

    Worked example: 4 and 9, a number for each pair, are 32 a sample; 10 and 21, one a pair and three a sample, 35.

    Raises
    ------
    UnsupportedError
        If it is neither, so that it grows faster than pairs do.
    """
    each = large - small
    fixed = small - SMALL * each
    fixed = 0 if abs(fixed) < ROUNDING * small else fixed
    pairs = large / LARGE - small / SMALL
    alone = small / SMALL - SMALL * pairs
    if fixed < 0 and alone > -ROUNDING * small:
        return Affine(0, MEETING * pairs + max(alone, 0))
    if fixed < 0 or each < 0:
        raise UnsupportedError(
            f"{what}: {small:g} at batch {SMALL} and {large:g} at batch {LARGE} is not a fixed part and one for each "
            "sample; samples that meet each other are not supported"
        )
    return Affine(fixed, each)


def meet(small: Shape, large: Shape) -> bool:
    """Whether a tensor holds a number for each pair of samples: two of its sides are the batch."""
    return sum(a == SMALL and b == LARGE for a, b in zip(small, large, strict=True)) > 1


def sample_shape(small: Shape, large: Shape) -> Shape:
    """The shape of one sample: a side that is the batch goes, one that holds it (batch * heads) is divided by it."""
    sides = [b - a if a != b else a for a, b in zip(small, large, strict=True)]
    kept = [side for side, a, b in zip(sides, small, large, strict=True) if a == b or side != 1]
    return tuple(side for side in kept if side > 0) or (1,)


def repeated(draft: Draft, samples: int) -> Draft:
    """A forward kernel of one sample as one of several: weights are read once, rows of products add up."""

    def each(moved: Moved) -> Moved:
        return tuple((kind, count if kind is Kind.WEIGHT else count * samples) for kind, count in moved)

    rows = (draft.gemm[0] * samples, *draft.gemm[1:]) if draft.gemm else None
    return replace(
        draft,
        flops=draft.flops * samples,
        read=each(draft.read),
        write=each(draft.write),
        gemm=rows,
        streamed=draft.streamed * samples,
        macs=None if draft.macs is None else draft.macs * samples,
    )


def macs_of(draft: Draft) -> float:
    """MACs of a kernel as published counts have them."""
    if draft.macs is not None:
        return draft.macs
    return draft.flops / FLOPS_PER_MAC if draft.gemm else 0


def kernel_through(small: Draft, large: Draft, phase: Phase | None, what: str) -> Kernel:
    """The kernel through two drafts; a backward kernel that writes nothing a sample makes a weight gradient."""
    read, write = _moved(small.read, large.read, what), _moved(small.write, large.write, what)
    if phase is None:
        fixed = write and all(count.per_sample == 0 for _, count in write)
        phase = small.phase or (Phase.WEIGHT_GRADIENT if fixed else Phase.INPUT_GRADIENT)
    return Kernel(
        small.op_class,
        phase,
        affine(small.flops, large.flops, what),
        read,
        write,
        _gemm(small, large, what),
        small.window,
        affine(small.streamed, large.streamed, what),
        small.reuse,
        small.last,
    )


def _moved(small: Moved, large: Moved, what: str) -> tuple[tuple[Role, Affine], ...]:
    return tuple(_role(kind, affine(a, b, what)) for (kind, a), (_, b) in zip(small, large, strict=True))


def _role(kind: Kind, count: Affine) -> tuple[Role, Affine]:
    """A gradient whose size the batch does not change is that of a weight."""
    if kind is Kind.GRADIENT and count.per_sample == 0:
        return Role.WEIGHT_GRADIENT, count
    return ROLES[kind], count


def _gemm(small: Draft, large: Draft, what: str) -> Gemm | None:
    """The matrix view; where the batch multiplies the number of products, it multiplies their rows instead."""
    if small.gemm is None or large.gemm is None:
        return None
    sides = [affine(a, b, what) for a, b in zip(small.gemm[:3], large.gemm[:3], strict=True)]
    groups = affine(small.gemm[3], large.gemm[3], what)
    if groups.per_sample and not groups.fixed:
        return Gemm(Affine(0, sides[0].fixed), sides[1], sides[2], int(groups.per_sample))
    return Gemm(sides[0], sides[1], sides[2], small.gemm[3])


def alike(small: Sequence[Call], large: Sequence[Call]) -> bool:
    """Whether both runs made the same calls in the same order."""
    return [call.name for call in small] == [call.name for call in large]


def paired(small: Sequence[Call], large: Sequence[Call]) -> list[tuple[Call, Call]]:
    """Each call at both batch sizes; an `UnsupportedError` where the runs made other calls."""
    if not alike(small, large):
        raise UnsupportedError(f"the network makes other calls at batch {SMALL} than at batch {LARGE}")
    return list(zip(small, large, strict=True))
