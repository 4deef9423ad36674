"""Fourier transforms and the windows before them.

FLOPs: 5 N log2 N for N complex points, half for real ones.
Source: Frigo, Johnson, "The design and implementation of FFTW3", Proc. IEEE 93(2), 2005, section II.
"""

from __future__ import annotations

from math import log2

from simulator.errors import InputError
from simulator.op.kernel import OpClass
from simulator.op.passes import Pass
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.sampling import elements_read


def transform_flops(length: int, *, real: bool) -> int:
    """FLOPs of one transform: of 64 real points 5 / 2 * 64 * 6 = 960. [FLOP]"""
    return round((2.5 if real else 5) * length * log2(length)) if length > 1 else 0


@operator("DFT")
def fourier(call: NodeCall) -> GraphTensor:
    """(..., n, ..., 1 or 2) along one axis; one-sided, n // 2 + 1 of the numbers."""
    data = call.first
    axis = call.node.integer("axis", 1) if call.opset < 20 else (call.numbers(2) or (-2,))[0]
    if len(data.shape) < 2 or not -len(data.shape) <= axis < len(data.shape) or data.shape[-1] not in (1, 2):
        raise InputError(f"DFT of {list(data.shape)} along {axis}")
    axis %= len(data.shape)
    half, inverse = bool(call.node.integer("onesided", 0)), bool(call.node.integer("inverse", 0))
    whole = 2 * (data.shape[axis] - 1) if half and inverse else data.shape[axis]
    length = (call.numbers(1) or (whole,))[0]
    side, parts = (length, 1) if half and inverse else (length // 2 + 1 if half else length, 2)
    output = (*data.shape[:axis], side, *data.shape[axis + 1 : -1], parts)
    sample = call.builder.sample(output)
    flops = product(sample) // (side * parts) * transform_flops(length, real=half or data.shape[-1] == 1)
    work = Pass("fft", sample, elements_read(call, data), flops, flops, op_class=OpClass.REDUCTION)
    return call.add(work.op(), [data], LayerPlan(output, data.kind))


@operator("STFT")
def short_time(call: NodeCall) -> GraphTensor:
    """Signal (batch, length, 1 or 2), step, window, frame length -> (batch, frames, numbers, 2)."""
    data, window = call.first, call.optional(2)
    step = (call.numbers(1) or (0,))[0]
    frame = (call.numbers(3) or (window.shape if window is not None else (0,)))[0]
    if len(data.shape) not in (2, 3) or step < 1 or not 1 <= frame <= data.shape[1]:
        raise InputError(f"STFT of {list(data.shape)} in frames of {frame} every {step}")
    frames, real = (data.shape[1] - frame) // step + 1, data.shape[2:] in ((), (1,))
    numbers = frame // 2 + 1 if call.node.integer("onesided", 1) and real else frame
    output = (data.shape[0], frames, numbers, 2)
    windowed = 0 if window is None else frame * (1 if real else 2)
    sample = call.builder.sample(output)
    flops = product(sample) // (numbers * 2) * (transform_flops(frame, real=real) + windowed)
    work = Pass("stft", sample, elements_read(call, data), flops, flops, op_class=OpClass.REDUCTION)
    return call.add(work.op(), [data], LayerPlan(output, data.kind))


@operator("BlackmanWindow", "HammingWindow", "HannWindow")
def window(call: NodeCall) -> GraphTensor:
    """Numbers that no input changes."""
    return GraphTensor(((call.numbers(0) or (1,))[0],), call.node.integer("output_datatype", 1))


@operator("MelWeightMatrix")
def mel_weights(call: NodeCall) -> GraphTensor:
    """(numbers of a transform, mel bins), which no input changes."""
    bins, length = ((call.numbers(position) or (1,))[0] for position in (0, 1))
    return GraphTensor((length // 2 + 1, bins), call.node.integer("output_datatype", 1))
