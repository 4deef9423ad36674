"""The layout that a compiler chooses for a network's tensors."""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Kernels
from simulator.op.views import KEPT, shares_channels
from simulator.roofline.setting import Setting

MOST_GROUPED = 1 / 3
"""Share of a network's convolutions, by FLOP, up to which groups do not keep channels first at inference. Source:
TorchInductor weighs grouped ones 1.358 and others 0.823 for what channels last cost them and takes a sum below one;
PyTorch 2.13, `torch/_inductor/graph.py`."""


def with_layout(setting: Setting, kernels: Kernels) -> Setting:
    """A setting with the layout that TorchInductor chooses: channels last, unless grouped convolutions weigh too much.

    In training none may have groups of more than one channel. A setting whose path says its layout is as it was.
    """
    if setting.path.layout != "chosen":
        return setting
    columns = kernels.distinct
    convolution = columns.op_class == OpClass.CONVOLUTION
    flops = np.bincount(kernels.row, minlength=len(columns)) * columns.flops.sum(axis=0) * convolution
    grouped = flops[shares_channels(columns)].sum()
    training = bool((columns.phase == Phase.WEIGHT_GRADIENT).any())
    last = grouped <= (0.0 if training else MOST_GROUPED) * flops.sum()
    return _laid_out(setting, "channels last" if last else "channels first")


@lru_cache(maxsize=KEPT)
def _laid_out(setting: Setting, layout: str) -> Setting:
    """The same object each time, so that what follows from it is kept."""
    return msgspec.structs.replace(setting, layout=layout)
