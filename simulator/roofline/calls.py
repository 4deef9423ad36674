"""What the calls of a framework cost beside their kernels: time of the host, and small kernels of their own."""

from __future__ import annotations

import numpy as np

from simulator.device.framework import Framework
from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.kernels import BoolArray, FloatArray, Kernels
from simulator.op.views import shares_channels
from simulator.roofline.processor import by_phase


def issued_seconds(kernels: Kernels, framework: Framework) -> tuple[FloatArray, FloatArray]:
    """Host time to issue each launch, and device time of the small kernels beside it, each (launches,). [s]

    A matrix library takes arrays as they lie, where a convolution library wants layouts, fills and descriptors: under
    XLA a product costs the host less than a convolution, launches nothing else, and its weights are narrowed within
    the product's own call: on an A100 BERT base takes 3.4 ms in mixed precision and at tf32 for batches of 1 and 2.

    A graph's executor hands calls that wait for nothing to another thread: ResNet-50 in mixed precision, with a cast
    for each of 54 weights, takes 4.2 ms for an image on a V100 under TensorFlow 1.15, and at fp32, without any, 5.8.
    """
    issued_s = np.where(kernels.dispatch, by_phase(framework.dispatch_s, kernels.phase), 0.0)
    helpers_s = np.where(kernels.dispatch, framework.helpers_s, 0.0)
    casts = _casts(kernels)
    if framework.casts_beside:
        issued_s, helpers_s = np.where(casts, 0.0, issued_s), np.where(casts, 0.0, helpers_s)
    if framework.product_s is None:
        return issued_s, helpers_s
    product = kernels.distinct.op_class[kernels.row] == OpClass.GEMM
    within = casts & np.isin(kernels.layer, kernels.layer[product])
    first = kernels.dispatch & product & (kernels.phase == Phase.FORWARD)
    issued_s = np.where(first, framework.product_s, np.where(within, 0.0, issued_s))
    return issued_s, np.where(product | within, 0.0, helpers_s)


def _casts(kernels: Kernels) -> BoolArray:
    """Launches that narrow weights, or widen their gradients."""
    columns = kernels.distinct
    wide = (columns.read[Role.STATE] + columns.write[Role.STATE]).any(axis=0)
    result: BoolArray = ((columns.op_class == OpClass.CAST) & wide)[kernels.row]
    return result


def group_launches(kernels: Kernels) -> FloatArray:
    """Further launches of each kernel by a library that issues a convolution group by group, (launches,).

    Under TensorFlow 1.15 and cuDNN 8.0 a V100 infers ResNeXt-101 32x4d in mixed precision in 11 ms for 1 image and for
    8, of which twice ResNet-50's calls are 8; an A100 takes 8 ms. 33 convolutions x 31 further launches make the rest.
    """
    columns = kernels.distinct
    result: FloatArray = np.where(shares_channels(columns), columns.groups - 1.0, 0.0)[kernels.row]
    return result
