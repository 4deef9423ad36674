"""Number formats: how wide each kind of tensor is, and which peak each engine runs at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from simulator.errors import UnknownNameError


class Role(IntEnum):
    """What a tensor is for; a precision gives each role its width."""

    WEIGHT = 0
    """Parameters as the kernels read them."""
    ACTIVATION = 1
    GRADIENT = 2
    """Gradients of activations."""
    WEIGHT_GRADIENT = 3
    STATE = 4
    """Master weights, optimizer moments, running statistics."""
    INDEX = 5
    """Labels, token numbers, positions of maxima."""
    MASK = 6
    """One flag an element."""
    WIDE = 7
    """Activations and their gradients that mixed precision keeps in full width."""


class Engine(IntEnum):
    """Which units of a device do the work."""

    VECTOR = 0
    MATRIX = 1


INDEX_BYTES = 8
MASK_BYTES = 1


@dataclass(frozen=True)
class Precision:
    """A training or inference precision.

    `matrix_peaks` and `vector_peaks` are names of peaks in a device profile that can serve: a GEMM at "fp16" runs on
    tensor cores, half-width lanes or, widened, fp32 lanes, whichever the device has and is fastest at.

    Attributes
    ----------
    widths : bytes of a value by `Role`.
    operand_bytes : width of a product's operands as its units take them.
    attention : the precision that attention trains in, where its scores are not rounded so far; None for its own.
    """

    name: str
    description: str
    widths: tuple[float, ...]
    operand_bytes: float
    matrix_peaks: tuple[str, ...]
    vector_peaks: tuple[str, ...]
    inference_only: bool = False
    attention: str | None = None

    @property
    def master_weights(self) -> bool:
        """Whether the optimizer keeps wider weights than the kernels read (mixed precision)."""
        return self.widths[Role.STATE] != self.widths[Role.WEIGHT]


def _widths(weight: float, activation: float, state: float) -> tuple[float, ...]:
    wide = max(activation, state)
    return (weight, activation, activation, activation, state, INDEX_BYTES, MASK_BYTES, wide)


FP4_BYTES = 4.5 / 8
"""Four bits and a scale of eight for each sixteen values. Source: NVIDIA, "Introducing NVFP4", 2025."""

_HALF = ("fp16_tensor", "bf16_tensor", "fp16", "fp32")

PRECISIONS: dict[str, Precision] = {
    p.name: p
    for p in (
        Precision("fp32", "single precision throughout", _widths(4, 4, 4), 4, ("fp32_tensor", "fp32"), ("fp32",)),
        Precision(
            "tf32",
            "fp32 values, products on tensor cores after rounding",
            _widths(4, 4, 4),
            4,
            ("tf32_tensor",),
            ("fp32",),
        ),
        Precision(
            "amp", "automatic mixed precision: fp16 kernels, fp32 master weights", _widths(2, 2, 4), 2, _HALF, ("fp32",)
        ),
        Precision(
            "fp16",
            "pure half precision, weights and states too; rarely trained in",
            _widths(2, 2, 2),
            2,
            ("fp16_tensor", "fp16", "fp32"),
            ("fp32",),
        ),
        Precision("bf16", "bf16 kernels, fp32 master weights", _widths(2, 2, 4), 2, ("bf16_tensor", "bf16"), ("fp32",)),
        Precision(
            "fp8",
            "products of 8-bit operands, rounded before them; attention and the rest in bf16, fp32 master weights",
            _widths(1, 2, 4),
            1,
            ("fp8_tensor",),
            ("fp32",),
            attention="bf16",
        ),
        Precision(
            "nvfp4",
            "training with products of 4-bit operands with a scale for each 16; else as fp8",
            _widths(FP4_BYTES, 2, 4),
            FP4_BYTES,
            ("fp4_tensor",),
            ("fp32",),
            attention="bf16",
        ),
        Precision("fp64", "double precision throughout", _widths(8, 8, 8), 8, ("fp64_tensor", "fp64"), ("fp64",)),
        Precision(
            "int8",
            "8-bit weights and activations, products summed in int32",
            _widths(1, 1, 1),
            1,
            ("int8_tensor", "int8"),
            ("fp32",),
            inference_only=True,
        ),
        Precision(
            "fp4",
            "inference with 4-bit weights and operands with a scale for each 16; bf16 between kernels",
            _widths(FP4_BYTES, 2, FP4_BYTES),
            FP4_BYTES,
            ("fp4_tensor",),
            ("fp32",),
            inference_only=True,
        ),
    )
}
"""Element-wise work of the narrow formats is done in fp32 lanes after widening, as cuDNN and PyTorch do."""


def get_precision(name: str) -> Precision:
    """A precision by name, or an `UnknownNameError` with the nearest one."""
    if name not in PRECISIONS:
        raise UnknownNameError("precision", name, PRECISIONS)
    return PRECISIONS[name]
