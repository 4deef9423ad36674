"""What lies on each stage of a plan, and what it holds of weights, their gradients and an optimizer's moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simulator.device.framework import Reserve
from simulator.op.kernels import FloatArray
from simulator.op.optimizer import Optimizer
from simulator.op.sequence import TiedLinear
from simulator.parallel.pieces import expert_replicas
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.stages import blocks
from simulator.parallel.zero import AHEAD, weights_of
from simulator.precision import Precision, Role
from simulator.workload.lowering import optimizer_values
from simulator.workload.workload import Workload


@dataclass(frozen=True)
class Holding:
    """What a stage's memory depends on beside the network: number format, optimizer, device, framework.

    fused : whether the framework fuses element-wise operations.
    accumulation : how it adds up the gradients of micro-batches.
    """

    precision: Precision
    optimizer: Optimizer
    capacity_bytes: float
    reserve: Reserve
    fused: bool = False
    accumulation: str = "added"

    @property
    def master_bytes(self) -> float:
        """Of a master weight; none where the kernels' own are as wide."""
        return self.precision.widths[Role.STATE] if self.precision.master_weights else 0.0

    @property
    def gradient_bytes(self) -> float:
        """Of a weight's gradient, as it lies from its making to the update."""
        wide = self.precision.master_weights and self.accumulation != "narrow"
        return self.precision.widths[Role.STATE if wide else Role.WEIGHT_GRADIENT]

    def keeps(self, what: str) -> bool:
        """Whether the framework keeps "gradients", what ranks have "gathered", or what stages have "sent"."""
        return what in self.reserve.keeps


@dataclass(frozen=True, eq=False)
class StageContent:
    """What lies on one stage.

    here : positions of the layers of its pieces.
    counts : micro-batches that the schedule keeps of each.
    microbatches : of a step.
    """

    workload: Workload
    plan: Plan
    here: tuple[range, ...]
    counts: tuple[int, ...]
    microbatches: int
    number: int


class StageStates(NamedTuple):
    """Of a stage: weights, all of their gradients, moments. [byte]"""

    parameters: float
    gradients: float
    optimizer: float


def stage_states(stage: StageContent, holding: Holding) -> StageStates:
    workload, plan = stage.workload, stage.plan
    widths = holding.precision.widths
    dense, experts = _weights(workload, stage.here, tied=plan.pipeline > 1 and stage.number == plan.pipeline - 1)
    states = _states_of_a_weight(workload, holding.optimizer) * widths[Role.STATE]
    whole = _shared(dense, experts, plan, 2) * holding.gradient_bytes
    if holding.accumulation == "narrow":  # the share that a rank updates is widened for it
        states += widths[Role.STATE]
    if holding.accumulation == "copied":
        whole += (dense + experts) * widths[Role.WEIGHT]
    shared = _shared(dense, experts, plan, 1)
    return StageStates(
        _narrow_bytes(stage, dense + experts, holding) + shared * holding.master_bytes, whole, shared * states
    )


@lru_cache(maxsize=64)
def _states_of_a_weight(workload: Workload, optimizer: Optimizer) -> float:
    """Values that an optimizer keeps of a weight, on the average."""
    return optimizer_values(workload, optimizer) / max(workload.parameters, 1)


def _weights(workload: Workload, here: Sequence[range], *, tied: bool) -> tuple[float, float]:
    """Trained values of a stage, those of experts apart; the last one has a copy of a tied embedding."""
    weights = weights_of(workload)
    spans = [slice(layers.start, layers.stop) for layers in here]
    copies = sum(_tied(workload)[span].sum() for span in spans) if tied else 0.0
    dense = sum(weights.dense[span].sum() for span in spans) + copies
    return float(dense), float(sum(weights.experts[span].sum() for span in spans))


@lru_cache(maxsize=64)
def _tied(workload: Workload) -> FloatArray:
    """Weights of products that read another layer's table, by layer."""
    layers = workload.layers
    return np.array([x.op.out * x.inputs[0][-1] if isinstance(x.op, TiedLinear) else 0 for x in layers], dtype=float)


def _shared(dense: float, experts: float, plan: Plan, stage: int) -> float:
    """What a rank keeps of weights that ZeRO shares out from a stage on."""
    if plan.shared < stage:
        return dense + experts
    return dense / (plan.data * plan.context) + experts / expert_replicas(plan)


def _narrow_bytes(stage: StageContent, weights: float, holding: Holding) -> float:
    """Weights as the kernels read them; of FSDP those that are gathered, beside wide ones or its own share of them.

    PyTorch gathers them before they are rounded to 8 bits, unless torchao's float8 all-gather is asked for.
    """
    plan, precision = stage.plan, holding.precision
    width = precision.widths[Role.WEIGHT]
    if plan.zero == FULLY and holding.keeps("gathered"):
        width = max(width, precision.widths[Role.ACTIVATION])
    if plan.shared < FULLY or plan.data * plan.context == 1:
        return weights * width
    own = 0.0 if precision.master_weights else weights / (plan.data * plan.context) * width
    return own + _gathered(stage.workload, stage.here, plan) * width


def _gathered(workload: Workload, here: Sequence[range], plan: Plan) -> float:
    """Weights of the blocks that FSDP has gathered at one time, beside a rank's own share. [parameters]"""
    if plan.shared < FULLY or plan.data * plan.context == 1:
        return 0.0
    sizes = sorted(
        sum(workload.layers[place].parameters for place in block)
        for block in blocks(workload)
        if any(block.start >= layers.start and block.stop <= layers.stop for layers in here)
    )
    return float(sum(sizes[-AHEAD:]))
