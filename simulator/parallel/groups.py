"""Where the ranks of a plan sit: which of them share a machine.

Ranks that exchange most are neighbours: tensor-parallel ranks first, then context, expert and data ranks, pipeline
stages last, as Megatron-LM and NeMo place them. Source: Narayanan et al., SC 2021, arXiv 2104.04473, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from simulator.device.system import Cluster
from simulator.errors import InputError
from simulator.parallel.plan import Plan
from simulator.roofline.collectives import Group


@dataclass(frozen=True)
class Groups:
    """Ranks of each kind of exchange.

    `replicas` exchange gradients of weights that all have; `experts` those of experts, which fewer ranks share.
    """

    tensor: Group
    context: Group
    expert: Group
    replicas: Group
    experts: Group
    hop: Group

    def named(self, name: str) -> Group:
        """The group of a transfer."""
        return {"tensor": self.tensor, "context": self.context, "expert": self.expert}[name]


def groups_of(plan: Plan, cluster: Cluster) -> Groups:
    """The groups of a plan on a cluster, or an `InputError` where it is for another number of devices."""
    if plan.devices != cluster.devices:
        raise InputError(f"{plan.label} is for {plan.devices} devices, and there are {cluster.devices}")
    node, ways = cluster.per_node, plan.tensor
    stage = plan.tokens_ranks
    # Whole experts are not cut further, so that their groups run through the tensor-parallel ranks too.
    whole = plan.expert > 1
    return Groups(
        tensor=_group(ways, 1, node),
        context=_group(plan.context, ways, node),
        expert=_group(plan.expert, 1, node),
        replicas=_group(plan.data * plan.context, ways, node),
        experts=_group(stage // plan.expert, plan.expert, node) if whole else _group(stage // ways, ways, node),
        hop=Group(2, 2 if 2 * stage <= node else 1),
    )


def _group(size: int, stride: int, node: int) -> Group:
    """`size` ranks, each `stride` after the one before: as many in a machine as fit and divide the group."""
    room = max(node // stride, 1)
    small = [n for n in range(1, isqrt(size) + 1) if size % n == 0]
    return Group(size, max(n for one in small for n in (one, size // one) if n <= room))
