"""Adding up gradients over a step's micro-batches.

A product of weights may write its sum onto the gradients that are there (Megatron-LM, `gradient_accumulation_fusion`).
Elsewhere a kernel of its own reads the gradient of a micro-batch and the sum so far and writes the sum: three times the
width of the sums, for each parameter and micro-batch. FSDP adds up the shares that are left after scattering.
DeepSpeed's optimizer for bf16 does both: PyTorch adds to narrow gradients, which were filled with zeros, and when the
backward pass has ended they are read, and added to sums in fp32.

Worked example: 3.7e9 parameters of a stage, sums in fp32, 1.67 TB/s: 3 x 4 x 3.7e9 bytes take 27 ms a micro-batch. With
narrow copies of 2 bytes: 2 to fill, 6 to add, 2 to read, 8 to add to sums, 18 bytes, 40 ms.

Sources: PyTorch, `AccumulateGrad`; DeepSpeed, `bf16_optimizer.py`, `update_hp_grads` and `clear_lp_grads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulator.op.kernels import FloatArray
from simulator.parallel.pieces import Piece
from simulator.parallel.plan import FULLY, Plan
from simulator.parallel.zero import gradient_width, weights_of
from simulator.precision import Precision, Role
from simulator.roofline.setting import Setting
from simulator.workload.workload import Workload

PASSES = 3
"""The new gradient is read, the sum read and written."""


def adding_seconds(workload: Workload, setting: Setting, accumulation: str) -> FloatArray:
    """What adding a micro-batch's gradients takes in each layer of a rank's share, shape (layers,). [s]

    accumulation : how a framework adds them up (`device/framework.py`).
    """
    weights = weights_of(workload)
    trained = (weights.dense + weights.experts) * weights.trained
    result: FloatArray = trained * _moved_bytes(setting.precision, accumulation) / setting.bandwidth_byte_per_s
    return result


def _moved_bytes(precision: Precision, accumulation: str) -> float:
    """Bytes that adding up moves for each parameter and micro-batch."""
    narrow, wide = precision.widths[Role.WEIGHT_GRADIENT], gradient_width(precision)
    return {
        "fused": 0.0,
        "narrow": PASSES * narrow,
        "added": PASSES * wide,
        "copied": (PASSES + 1) * narrow + narrow + (PASSES - 1) * wide,
    }[accumulation]


def with_adding(pieces: Sequence[Piece], adding_s: FloatArray, plan: Plan, microbatches: int) -> tuple[Piece, ...]:
    """Pieces whose gradients of weights are added up over micro-batches; those of the first one need not be."""
    if microbatches == 1 or plan.shared == FULLY:
        return tuple(pieces)
    part = (microbatches - 1) / microbatches

    def added(piece: Piece) -> Piece:
        here = slice(piece.layers.start, piece.layers.stop)
        return replace(piece, weights_s=piece.weights_s + part * float(adding_s[here].sum()))

    return tuple(map(added, pieces))
