"""Adding up gradients over a step's micro-batches.

A product of weights may write its sum onto the gradients that are there (Megatron-LM, `gradient_accumulation_fusion`).
Elsewhere a kernel of its own reads the gradient of a micro-batch and the sum so far and writes the sum: three times the
width of the sums, for each parameter and micro-batch. FSDP adds up the shares that are left after scattering.

Worked example: 3.7e9 parameters of a stage, sums in fp32, 1.67 TB/s: 3 x 4 x 3.7e9 bytes take 27 ms a micro-batch.

Sources: PyTorch, `AccumulateGrad`; DeepSpeed, `bf16_optimizer.py`, `update_hp_grads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulator.op.kernels import FloatArray
from simulator.parallel.pieces import Piece
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.zero import gradient_width, weights_of
from simulator.roofline.setting import Setting
from simulator.workload.workload import Workload

PASSES = 3
"""The new gradient is read, the sum read and written."""


def adding_seconds(workload: Workload, setting: Setting, *, fused: bool) -> FloatArray:
    """What adding a micro-batch's gradients takes in each layer of a rank's share, shape (layers,). [s]

    fused : whether the products that make the gradients add them up.
    """
    weights = weights_of(workload)
    moved = PASSES * gradient_width(setting.precision) * (weights.dense + weights.experts) * weights.trained
    result: FloatArray = (0.0 if fused else 1.0) * moved / setting.bandwidth_byte_per_s
    return result


def with_adding(pieces: Sequence[Piece], adding_s: FloatArray, plan: Plan, microbatches: int) -> tuple[Piece, ...]:
    """Pieces whose gradients of weights are added up over micro-batches; those of the first one need not be."""
    if microbatches == 1 or plan.shared == FULLY:
        return tuple(pieces)
    part = (microbatches - 1) / microbatches

    def added(piece: Piece) -> Piece:
        here = slice(piece.layers.start, piece.layers.stop)
        return replace(piece, weights_s=piece.weights_s + part * float(adding_s[here].sum()))

    return tuple(map(added, pieces))
