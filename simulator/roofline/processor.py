"""What a processor adds to the roofline: it is its own host, and its libraries and system move more than a kernel says.

Each cause has a coefficient that `simulate calibrate` measures; a device whose profile lacks one is without the cause.
A device that measured nothing takes from the framework's file (`processor`) what calls and libraries cost on any.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from simulator.causes.processor import Copies, Instructions
from simulator.device.device import Device
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import BoolArray, Columns, FloatArray, IntArray, Kernels, at_batch, side_by_side
from simulator.op.views import KEPT
from simulator.precision import Engine, Precision, Role
from simulator.roofline.calibrated import uncached_bytes
from simulator.roofline.setting import PROCESSOR, Setting

LARGEST_REUSED = 32 * 2**20
"""Allocations from here on come from the system each time, below it from what was freed before: the largest threshold
that glibc's malloc moves itself to (mallopt(3), M_MMAP_THRESHOLD). [byte]"""


NATIVE_INPUT = 20480
"""Up to so many input elements, PyTorch gathers the windows of one sample itself and multiplies matrices, where there
are no groups and the window is narrow: such convolutions never reach the convolution library. [elements]
Source: aten/src/ATen/native/Convolution.cpp, `use_mkldnn`."""

NATIVE_WINDOW = 3
"""The widest such window."""


def in_library(columns: Columns, batch: FloatArray | float) -> BoolArray:
    """Which kernels run in the convolution library, (kernels,) or (batches, kernels)."""
    inputs = at_batch(columns.read[Role.ACTIVATION], batch)
    narrow = (columns.window[:2].min(axis=0) <= NATIVE_WINDOW) & (columns.groups <= 1)
    native = narrow & (columns.phase == Phase.FORWARD) & (inputs <= NATIVE_INPUT) & (np.asarray(batch) <= 1)
    result: BoolArray = (columns.op_class == OpClass.CONVOLUTION) & ~native
    return result


def start_seconds(device: Device) -> float:
    """From one kernel to the next: its start, and the threads of all cores started and joined. [s]

    A machine that measured its calls had its threads in them.
    """
    threads = device.unit_count if device.kind == PROCESSOR and device.calls_s is None else 0
    return device.launch_s + threads * device.start_s


def by_phase(seconds: Sequence[float], phase: IntArray) -> FloatArray:
    """What each launch costs by its phase, (launches,), or (variants, launches) where costs are columns. [s]"""
    result: FloatArray = side_by_side(seconds)[..., phase]
    return result


def with_first(seconds: FloatArray, first_s: float) -> FloatArray:
    """The same with what the first launch costs besides. [s]"""
    whole: FloatArray = np.array(seconds + np.zeros_like(first_s))
    whole[..., :1] += first_s
    return whole


def call_seconds(kernels: Kernels, setting: Setting, batch: FloatArray | float) -> FloatArray | None:
    """What comes before each kernel on a processor: the call, the start of the threads; None where calls queue. [s]

    Host and device are one, so that nothing runs ahead: a call's cost adds to its kernel's time and never hides.
    MXNet's engine fills a queue on processors too. A call of the convolution library describes the operation, looks it
    up and copies its operands anew each time: 65 us on one thread for 16 channels of 4 x 4, where a linear layer takes
    10 (PyTorch 2.13, oneDNN, Xeon with 2 cores).
    """
    device, framework = setting.device, setting.framework
    if device.calls_s is not None:
        calls_s = np.where(kernels.dispatch, by_phase(device.calls_s, kernels.phase), 0.0) + start_seconds(device)
        return with_first(calls_s, device.step_s)
    if not setting.on_processor or framework.processor.call_s is None:
        return None
    issued_s = by_phase((framework.processor.call_s, *framework.dispatch_s[1:]), kernels.phase)
    library_s = np.where(in_library(kernels.distinct, batch), framework.processor.convolution_s, 0.0)
    calls_s = np.where(kernels.dispatch, issued_s + library_s[..., kernels.row], 0.0) * device.host_scale
    result: FloatArray = calls_s + start_seconds(device)
    return result


def arithmetic_seconds(columns: Columns, setting: Setting, compute_s: FloatArray) -> FloatArray:
    """Compute seconds with the rates that compilers reach where no library has a matrix product."""
    result: FloatArray = compute_s / setting.cause(Instructions).rate(columns)
    return result


def copy_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds of what no kernel overlaps: operands copied into a library's own layout, and pages new from the system.

    A convolution library takes channels in blocks, so that operands in channels-first layout, weights too, are copied
    into blocks and the result back; a matrix library packs panels of its operands. A tensor of `LARGEST_REUSED` or
    more is allocated from the system each time, which zeroes its pages as they are first written; so is its blocked
    copy. Element-wise functions of the forward pass are taken to work in place.

        time = (relayout + packing) x 2 x bytes of the operands / sustained bandwidth
             + fresh bytes / (bandwidth x first_touch)

    Worked example: a convolution whose operands and result have 40 MB, copied 0.8 times at 20 GB/s: 3.2 ms; a result of
    36 MB on new pages, written at 0.25 of 24 GB/s, with its blocked copy 1.8 x 36 MB / 6 GB/s = 10.8 ms.

    References
    ----------
    Goto, van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM Trans. Math. Softw. 34(3), 2008:
    packing. doi:10.1145/1356052.1356053. Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on
    SIMD Architectures", SC 2018, arXiv 1808.05567: channels in blocks.
    """
    device, precision = setting.device, setting.precision
    copies, weights_only = _layout_copies(columns, setting, batch)
    activations = at_batch(_bytes(columns, precision, _OUTPUTS, read_too=True), batch)
    weights = at_batch(_bytes(columns, precision, _WEIGHTS, read_too=True), batch)
    copied = weights + (0.0 if weights_only else activations)
    bandwidth = setting.bandwidth_byte_per_s
    seconds: FloatArray = copies * uncached_bytes(2 * copied, setting) / bandwidth
    packing = _packing(columns, setting, batch)
    seconds = seconds + packing * uncached_bytes(2 * (activations + weights), setting) / bandwidth
    measured = setting.cause(Copies).first_touch
    first_touch = setting.calls.first_touch if measured is None else measured
    if not np.any(first_touch):
        return seconds
    in_place = (columns.op_class == OpClass.ELEMENTWISE) & (columns.phase == Phase.FORWARD)
    written = at_batch(_bytes(columns, precision, _OUTPUTS, read_too=False), batch)
    blocked = 0.0 if weights_only else np.minimum(copies, 1.0)
    fresh = np.where((written >= LARGEST_REUSED) & ~in_place, written * (1 + blocked), 0.0)
    fresh = fresh + np.where(weights >= LARGEST_REUSED, weights * copies, 0.0)
    touched_s = fresh / (device.memory.bandwidth_byte_per_s * np.where(np.equal(first_touch, 0), np.inf, first_touch))
    return seconds + touched_s


def _layout_copies(columns: Columns, setting: Setting, batch: FloatArray | float) -> tuple[FloatArray, bool]:
    """Times that a convolution's operands change layout, and whether only the weights do.

    TorchInductor keeps activations channels last, and without `freezing` copies the weights so at every call; oneDNN
    then copies them into blocks. Weights of a 1 x 1 window are the same in both layouts, which leaves one copy.
    """
    if (relayout := setting.cause(Copies).relayout) is not None:
        return np.where(columns.op_class == OpClass.CONVOLUTION, relayout, 0.0), False
    calls = setting.calls
    window = columns.window[0] * columns.window[1]
    copies = np.where((window > 1) | (not calls.channels_last), calls.relayout, np.minimum(calls.relayout, 1.0))
    return np.where(in_library(columns, batch), copies, 0.0), calls.channels_last


def _packing(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Times that a matrix library packs a product's operands; that of one row reads its weights once, as they are."""
    product = (columns.engine == Engine.MATRIX) & (columns.op_class != OpClass.CONVOLUTION)
    if (packing := setting.cause(Copies).packing) is not None:
        return np.where(product, packing, 0.0)
    return np.where(product & (at_batch(columns.gemm[0], batch) > 1), setting.calls.packing, 0.0)


_OUTPUTS = (Role.ACTIVATION, Role.GRADIENT, Role.WIDE)
_WEIGHTS = (Role.WEIGHT, Role.WEIGHT_GRADIENT)


@lru_cache(maxsize=KEPT)
def _bytes(columns: Columns, precision: Precision, roles: tuple[Role, ...], *, read_too: bool) -> FloatArray:
    """Bytes of some roles written, with `read_too` also those read, (2, kernels)."""
    tables = (columns.read, columns.write) if read_too else (columns.write,)
    total: FloatArray = sum(table[role] * precision.widths[role] for table in tables for role in roles)
    return total
