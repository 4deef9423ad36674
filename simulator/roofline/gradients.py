"""Gradients of grouped convolutions for which libraries have poor kernels at half width in channels first."""

from __future__ import annotations

import numpy as np

from simulator.causes.tiles import HALF_WIDTH
from simulator.op.kernel import Phase
from simulator.op.kernels import Columns, FloatArray
from simulator.op.views import channels, is_depthwise, is_grouped
from simulator.roofline.depthwise import own_depthwise
from simulator.roofline.products import MANY_GROUPS
from simulator.roofline.setting import GRAPHICS, Setting


def gradients_slower(columns: Columns, setting: Setting) -> FloatArray | None:
    """Times that gradients take of what forward kernels' rates would give, (kernels,); None where no kernel is slower.

        1 / depthwise_gradients                        one channel a group
        (channels of a group + narrow_gradients) / channels of a group     fewer than 32 groups

    Training in mixed precision on an RTX 3090 (timm, PyTorch 1.12): MobileNets, MNASNets and EfficientNets were 16 to
    39 % too fast, RegNets 7 to 31 %, ResNets, ResNeXts and DenseNets within 13. With groups of 8, 16, 24 and 128
    channels gradients take 4, 3.3, 2 and 1.5 times as long; in channels last, as ConvNeXt's are, depthwise ones do not.

    Worked example: at 44 further channels, gradients of 11 groups of 8 channels take 6.5 times as long.
    """
    path = setting.path
    own = path.depthwise_gradients < 1 or path.narrow_gradients > 0
    if not own or setting.width > HALF_WIDTH or path.layout != "channels first" or setting.device.kind != GRAPHICS:
        return None
    gradient = is_grouped(columns) & (columns.phase != Phase.FORWARD) & ~columns.last
    in_own = own_depthwise(columns, setting)
    if in_own is not None:
        gradient = gradient & ~in_own
    if not gradient.any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.minimum(*channels(columns))
        narrow = np.where(columns.groups < MANY_GROUPS, (width + path.narrow_gradients) / width, 1.0)
    slower = np.where(is_depthwise(columns), 1 / path.depthwise_gradients, narrow)
    result: FloatArray = np.where(gradient, slower, 1.0)
    return result
