"""What automatic mixed precision keeps in full width, by the names of ATen calls and by what they read.

Source: PyTorch 2.13, `aten/src/ATen/autocast_mode.h`: `AT_FORALL_FP32`, whose inputs are cast,
`AT_FORALL_FP32_SET_OPT_DTYPE` and `norm`, which are told to sum in full width, `AT_FORALL_PROMOTE`; and its rules of
type promotion, by which a narrow and a full-width tensor give a full-width one.
"""

from __future__ import annotations

from collections.abc import Container

from simulator.workload.importers.torch.calls import Call, Kind
from simulator.workload.importers.torch.elementwise import ELEMENTWISE

CAST_FIRST = frozenset(
    {"native_layer_norm", "native_group_norm", "exp", "expm1", "log", "log10", "log2", "log1p", "pow", "rsqrt",
     "reciprocal", "acos", "asin", "cosh", "sinh", "tan", "erfinv", "softplus", "logsumexp", "nll_loss_forward",
     "nll_loss2d_forward", "binary_cross_entropy", "mse_loss", "smooth_l1_loss", "huber_loss", "dist"}
)  # fmt: skip
"""Calls whose inputs are cast to full width by a kernel of their own. Resampling, which PyTorch 2.13 lists too, is left
out: timm's HRNets move narrow values under PyTorch 1.13 to 2.9, or would be 10 to 20 % faster than they are counted."""

READ_NARROW = frozenset(
    {"_softmax", "_log_softmax", "sum", "prod", "cumsum", "cumprod", "linalg_vector_norm", "norm", "embedding"}
)
"""Calls that compute and write in full width what they read as it lies, and look-ups in a trained table."""

MIXES = frozenset({*ELEMENTWISE, "cat", "stack"} - {"_prelu_kernel"})
"""Calls whose result is as wide as their widest input."""


def casts_first(call: Call) -> bool:
    """Whether automatic mixed precision casts the inputs to full width first."""
    return call.name.removesuffix("_") in CAST_FIRST


def gives_full_width(call: Call, computed: Container[int]) -> bool:
    """Whether the result is in full width, however narrow the values are that follow from the network's input.

    Worked example: `x * gamma` with trained `gamma`, the layer scale of CaiT, is in full width, and so is a position
    table that is added; `x * 2` and `x + y` are as wide as `x` and `y`.

    computed : storage of what follows from the input; parameters, buffers and constants are in full width.
    """
    name = call.name.removesuffix("_")
    if call.inside:
        return False
    if name in CAST_FIRST or name in READ_NARROW:
        return True
    if name != call.name and call.outputs and call.outputs[0].storage in computed:
        return False
    own = [tensor for tensor in call.tensors() if tensor.kind in (Kind.WEIGHT, Kind.ACTIVATION) and tensor.shape]
    given = [tensor for tensor in own if tensor.storage not in computed]
    made_of_constants = len(given) == len(own) and bool(call.outputs) and call.outputs[0].kind is Kind.ACTIVATION
    return bool(given) and (made_of_constants or name in MIXES)
