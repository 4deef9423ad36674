"""Depthwise convolutions: one channel a group, in lanes, by a library's kernels or a framework's own."""

from __future__ import annotations

import numpy as np

from simulator.causes.groups import Depthwise
from simulator.op.kernel import Phase
from simulator.op.kernels import BoolArray, Columns, FloatArray, at_batch
from simulator.op.views import is_depthwise
from simulator.precision import Role
from simulator.roofline.setting import GRAPHICS, Setting

UNROLLED = (1, 3, 5)
"""Sides of depthwise windows for which PyTorch's own kernel is compiled, and those that it leaves to cuDNN. Source:
aten/src/ATen/native/cuda/DepthwiseConv2d.cu; aten/src/ATen/native/Convolution.cpp, use_cudnn_depthwise."""

COUNTED = 2.0**31
"""Values from which on a tensor's places do not fit into the 32 bits that cuDNN's depthwise kernels count with."""


def depthwise_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds that depthwise convolutions compute, (kernels,) or (batches, kernels); without meaning for others."""
    flops = at_batch(columns.flops, batch)
    seconds = setting.cause(Depthwise).seconds(columns, flops, setting.lanes_flop_per_s)
    own = own_depthwise(columns, setting)
    if own is None:
        return seconds
    return np.where(own, flops / (setting.path.own_depthwise * setting.lanes_flop_per_s), seconds)


def own_depthwise(columns: Columns, setting: Setting) -> BoolArray | None:
    """Depthwise convolutions that a framework's own kernel runs, (kernels,); None where it has none.

    PyTorch's takes a thread for each output, which adds up its window value by value. Windows of 1 x 1, 3 x 3 and 5 x 5
    it gives to cuDNN at half width, or to loops that are unrolled, and all whose channels are last to cuDNN.
    """
    path = setting.path
    if not path.own_depthwise or path.layout != "channels first" or setting.device.kind != GRAPHICS:
        return None
    height, width = columns.window[0], columns.window[1]
    squares = (height == width) & np.isin(height, UNROLLED)
    own: BoolArray = is_depthwise(columns) & ~squares & ~columns.last
    return own


def large_depthwise_seconds(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray | float:
    """Seconds by which depthwise convolutions of very many values in channels last take longer. [s]

        time = large_depthwise x bytes of the input / sustained bandwidth, from 2^31 values on

    Worked example: 144 channels of 150 x 150 for 1,024 images are 3.3e9 values, 6.6 GB; ten passes at 0.84 TB/s take
    79 ms. For 512 images they are 1.7e9, and take none.
    """
    path = setting.path
    if not path.large_depthwise:
        return 0.0
    values = at_batch(columns.read[Role.ACTIVATION], batch)
    last = columns.last | (path.layout == "channels last")
    large = is_depthwise(columns) & last & (columns.phase == Phase.FORWARD) & (values >= COUNTED)
    passes_s = path.large_depthwise * setting.width * values / setting.bandwidth_byte_per_s
    return np.where(large, passes_s, 0.0)
