"""What a processor adds to the roofline: it is its own host, and its libraries and system move more than a kernel says.

Each cause has a coefficient that `simulate calibrate` measures; a device whose profile lacks one is without the cause.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.device.device import Device
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, Kernels, at_batch
from simulator.precision import Engine, Precision, Role
from simulator.roofline.calibrated import uncached_bytes
from simulator.roofline.products import KEPT

KIND = "cpu"

LARGEST_REUSED = 32 * 2**20
"""Allocations from here on come from the system each time, below it from what was freed before: the largest threshold
that glibc's malloc moves itself to (mallopt(3), M_MMAP_THRESHOLD). [byte]"""


def call_seconds(kernels: Kernels, device: Device, shape: tuple[int, ...]) -> FloatArray:
    """What comes before each kernel on a processor that knows its `calls`: the call, the start of the threads. [s]

    Host and device are one, so that nothing runs ahead: a call's cost adds to its kernel's time and never hides. Other
    processors keep the framework's queue, whose costs were fitted as such; MXNet's engine fills one on processors too.
    """
    calls_s = np.where(kernels.dispatch, np.array(device.calls_s)[kernels.phase], 0.0) + device.launch_s
    calls_s[:1] += device.step_s
    return np.broadcast_to(calls_s, shape)


def arithmetic_seconds(columns: Columns, device: Device, compute_s: FloatArray) -> FloatArray:
    """Compute seconds with the rates that compilers reach where no library has a matrix product.

    Functions such as an exponential take tens of instructions for what counts as one operation; the windows of a
    pooling in channels-first layout are compared one number at a time; statistics over a batch are summed in double
    precision, one channel after the other.
    """
    arithmetic, sliding, statistics = (device.kernel.get(name, 1.0) for name in ("arithmetic", "sliding", "statistics"))
    reads_alone = (columns.op_class == OpClass.NORMALIZATION) & (columns.phase == Phase.FORWARD)
    reads_alone = reads_alone & ~columns.write[Role.ACTIVATION].any(axis=0)
    rate = np.select([columns.op_class == OpClass.POOLING, reads_alone], [sliding, statistics], arithmetic)
    result: FloatArray = compute_s / np.where(columns.engine == Engine.VECTOR, rate, 1.0)
    return result


def copy_seconds(columns: Columns, device: Device, precision: Precision, batch: FloatArray | float) -> FloatArray:
    """Seconds of what no kernel overlaps: operands copied into a library's own layout, and pages new from the system.

    A convolution library takes channels in blocks, so that operands in channels-first layout, weights too, are copied
    into blocks and the result back; a matrix library packs panels of its operands. A tensor of `LARGEST_REUSED` or
    more is allocated from the system each time, which zeroes its pages as they are first written; so is its blocked
    copy. Element-wise functions of the forward pass are taken to work in place.
    """
    convolution = columns.op_class == OpClass.CONVOLUTION
    layout, packing = (device.kernel.get(name, 0.0) for name in ("layout", "packing"))
    copies = np.where(convolution, layout, np.where(columns.engine == Engine.MATRIX, packing, 0.0))
    copied = at_batch(_bytes(columns, precision, _OPERANDS, read_too=True), batch)
    bandwidth = device.memory.bandwidth_byte_per_s * device.sustained["bandwidth"]
    seconds: FloatArray = copies * uncached_bytes(2 * copied, device) / bandwidth
    if "first_touch" in device.kernel:
        in_place = (columns.op_class == OpClass.ELEMENTWISE) & (columns.phase == Phase.FORWARD)
        written = at_batch(_bytes(columns, precision, _OUTPUTS, read_too=False), batch)
        blocked = np.where(convolution, min(layout, 1.0), 0.0)
        fresh = np.where((written >= LARGEST_REUSED) & ~in_place, written * (1 + blocked), 0.0)
        seconds = seconds + fresh / (device.memory.bandwidth_byte_per_s * device.kernel["first_touch"])
    return seconds


_OUTPUTS = (Role.ACTIVATION, Role.GRADIENT)
_OPERANDS = (*_OUTPUTS, Role.WEIGHT, Role.WEIGHT_GRADIENT)


@lru_cache(maxsize=KEPT)
def _bytes(columns: Columns, precision: Precision, roles: tuple[Role, ...], *, read_too: bool) -> FloatArray:
    """Bytes of some roles written, with `read_too` also those read, (2, kernels)."""
    tables = (columns.read, columns.write) if read_too else (columns.write,)
    total: FloatArray = sum(table[role] * precision.widths[role] for table in tables for role in roles)
    return total
