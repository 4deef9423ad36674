"""Two sources of one network side by side: where their counts part."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

from simulator.op.kernel import Phase, Role
from simulator.op.kernels import Kernels
from simulator.workload.lowering import lower
from simulator.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Total:
    """One total of both networks."""

    what: str
    first: float
    second: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Layers with MACs that stand in one network and not, or not so, in the other: (name, MACs, parameters)."""

    first: tuple[tuple[str, int, int], ...]
    second: tuple[tuple[str, int, int], ...]


def totals(first: Workload, second: Workload) -> list[Total]:
    """Parameters, MACs, and elements moved forward and backward for one sample."""
    kernels = lower(first), lower(second)
    return [
        Total("parameters", first.parameters, second.parameters),
        Total("MACs forward", first.macs, second.macs),
        Total("elements moved forward", *(moved_elements(k, forward=True) for k in kernels)),
        Total("elements moved backward", *(moved_elements(k, forward=False) for k in kernels)),
    ]


def moved_elements(kernels: Kernels, *, forward: bool) -> float:
    """Elements read and written for one sample by the forward pass, or by the gradients; indices and masks left out."""
    phase = kernels.phase
    chosen = phase == Phase.FORWARD if forward else (phase != Phase.FORWARD) & (phase != Phase.UPDATE)
    moved = (kernels.read + kernels.write).sum(axis=1)[: Role.INDEX]
    return float(moved[:, chosen].sum())


def differences(first: Workload, second: Workload) -> list[Disagreement]:
    """Where the sequences of (MACs, parameters) of the layers with MACs part, in order."""
    rows = [_rows(workload) for workload in (first, second)]
    counts = [[row[1:] for row in side] for side in rows]
    found = SequenceMatcher(None, counts[0], counts[1], autojunk=False).get_opcodes()
    return [Disagreement(tuple(rows[0][a:b]), tuple(rows[1][c:d])) for tag, a, b, c, d in found if tag != "equal"]


def _rows(workload: Workload) -> list[tuple[str, int, int]]:
    pairs = zip(workload.layers, workload.counts, strict=True)
    return [(layer.name, count.macs, layer.parameters) for layer, count in pairs if count.macs]
