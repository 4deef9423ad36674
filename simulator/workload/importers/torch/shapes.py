"""Outputs of ATen calls on meta tensors, faster than PyTorch finds them: by rule for the slowest, else remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from simulator.workload.importers.torch.recurrent import gradients, outputs

aten: Any = torch.ops.aten

_Meta = tuple[tuple[int, ...], tuple[int, ...], Any]
_known: dict[Any, tuple[Any, tuple[_Meta, ...]] | None] = {}
IMAGES = 4
"""Sides of a batch of images."""

MEMORY = 20_000
"""Calls remembered at most."""


def output_like(function: Any, args: Any, kwargs: Any) -> Any:
    """What a call that returns new memory returns: tensors without values."""
    rule = _RULES.get(function)
    if rule is not None and isinstance(args[0], torch.Tensor) and args[0].device.type == "meta":
        result = rule(*args, **kwargs)
        if result is not None:
            return result
    try:
        key = (function, _describe(args), _describe(tuple(kwargs.items())))
        found = _known.get(key)
    except TypeError:  # an argument that cannot be hashed
        return function(*args, **kwargs)
    if found is None:
        result = function(*args, **kwargs)
        if len(_known) < MEMORY:
            _known[key] = _metas(result)
        return result
    make, metas = found
    return make(torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in metas)


def _describe(value: Any) -> Any:
    """A hashable description of an argument: of a tensor, its shape, strides, type and device."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype, value.device.type
    if isinstance(value, (list, tuple)):
        return tuple([_describe(item) for item in value])
    return type(value), value


def _metas(result: Any) -> tuple[Any, tuple[_Meta, ...]] | None:
    """How to make the same outputs again, if all are meta tensors."""
    items = result if isinstance(result, (tuple, list)) else (result,)
    if not all(isinstance(item, torch.Tensor) and item.device.type == "meta" for item in items):
        return None
    make = type(result) if isinstance(result, (tuple, list)) else next
    if make not in (tuple, list, next):
        return None
    return make, tuple((tuple(item.shape), item.stride(), item.dtype) for item in items)


def _like(tensor: Any) -> Any:
    """A tensor of the same shape, in channels-last order if it is; PyTorch's own way loads its compiler first."""
    return _image(tensor, tuple(tensor.shape))


def _image(tensor: Any, shape: tuple[int, ...]) -> Any:
    """A tensor of another shape in the order of one."""
    order = torch.channels_last if is_last(tensor) else torch.contiguous_format
    return torch.empty(shape, dtype=tensor.dtype, device="meta", memory_format=order)


def is_last(tensor: Any) -> bool:
    """Whether a batch of images has its channels innermost, be they a slice of more."""
    if tensor.dim() != IMAGES:
        return False
    channels, height, width = tensor.shape[1:]
    return bool(channels > 1 and height * width > 1 and tensor.stride(1) == 1)


def _new(tensor: Any, *shape: int) -> Any:
    return torch.empty(shape, dtype=tensor.dtype, device="meta")


def _batch_norm(source: Any, *args: Any, **_: Any) -> Any:
    training = args[4]
    channels = source.shape[1] if training else 0
    return _like(source), _new(source, channels), _new(source, channels)


def _batch_norm_backward(gradient: Any, source: Any, weight: Any, *args: Any, **_: Any) -> Any:  # noqa: ARG001
    mask, channels = args[-1], source.shape[1]
    return (
        _like(source) if mask[0] else None,
        _new(source, channels) if mask[1] else None,
        _new(source, channels) if mask[2] else None,
    )


def _convolution(source: Any, weight: Any, *args: Any) -> Any:
    """(size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1 a side; None for what is left to PyTorch."""
    _, stride, padding, dilation, transposed, _, _ = args
    kernel, sizes = weight.shape[2:], source.shape[2:]
    if transposed or len({len(kernel), len(sizes), len(stride), len(padding), len(dilation)}) > 1:
        return None
    reach = [size + 2 * p - d * (k - 1) - 1 for size, p, d, k in zip(sizes, padding, dilation, kernel, strict=True)]
    if min(reach) < 0 or source.shape[1] % weight.shape[1]:
        return None
    return _image(source, (source.shape[0], weight.shape[0], *(r // s + 1 for r, s in zip(reach, stride, strict=True))))


def _mean(source: Any, sides: Any = None, keep: bool = False, *, dtype: Any = None) -> Any:
    if not sides or dtype is not None:
        return None
    gone = {side % source.dim() for side in sides}
    kept = [1 if number in gone else size for number, size in enumerate(source.shape) if keep or number not in gone]
    return _new(source, *kept)


def _product(left: Any, right: Any, *_: Any) -> Any:
    return _new(left, *left.shape[:-1], right.shape[-1]) if left.shape[-1] == right.shape[-2] else None


def _grouped_product(left: Any, right: Any, offsets: Any = None, *_: Any, **__: Any) -> Any:
    """Rows by expert times a matrix an expert, or their gradient; whatever the numbers' width."""
    if left.dim() == 2 and right.dim() == 2:
        return _new(left, offsets.shape[0], left.shape[0], right.shape[1])
    return _new(left, *left.shape[:-1], right.shape[-1])


def _added_product(_: Any, left: Any, right: Any, **__: Any) -> Any:
    return _product(left, right)


def _max_pool(
    source: Any, kernel: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil: Any = False
) -> Any:
    """Rounded down, as nearly always; else None, which leaves it to PyTorch."""
    if ceil or source.dim() != 4 or {1} != set(dilation):
        return None
    steps, pads = (list(item) * (2 // len(item)) for item in (stride or kernel, padding))
    sides = list(kernel) * (2 // len(kernel))
    reach = [size + 2 * p - k for size, p, k in zip(source.shape[2:], pads, sides, strict=True)]
    if min(reach) < 0:
        return None
    shape = (*source.shape[:2], *(r // s + 1 for r, s in zip(reach, steps, strict=True)))
    return _image(source, shape), torch.empty(shape, dtype=torch.long, device="meta")


def _add(left: Any, right: Any, **_: Any) -> Any:
    """Of one shape and type; else None."""
    same = isinstance(right, torch.Tensor) and left.shape == right.shape and left.dtype == right.dtype
    return _like(left) if same else None


def _log_softmax(source: Any, side: int, half: bool) -> Any:  # noqa: ARG001
    return None if half else _like(source)


def _nll_loss(source: Any, *args: Any) -> Any:
    """A mean over rows of classes; else None."""
    return (_new(source), _new(source)) if source.dim() == 2 and args[2] == 1 else None


def _nll_loss_backward(_: Any, source: Any, *__: Any) -> Any:
    return _like(source)


def _attention_backward(_: Any, query: Any, key: Any, value: Any, bias: Any, *args: Any, **__: Any) -> Any:
    """Gradients of keys and values in their own shapes, also where they have fewer heads."""
    tensors = (query, key, value, bias)
    return tuple(_like(item) if given else None for item, given in zip(tensors, args[5], strict=True))


def _like_first(first: Any, *_: Any, **__: Any) -> Any:
    return _like(first)


_RULES: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.threshold_backward.default: _like_first,
    aten.convolution.default: _convolution,
    aten.mean.dim: _mean,
    aten.add.Tensor: _add,
    aten.mm.default: _product,
    aten.bmm.default: _product,
    aten.addmm.default: _added_product,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten._log_softmax.default: _log_softmax,
    aten._log_softmax_backward_data.default: _like_first,
    aten.nll_loss_forward.default: _nll_loss,
    aten.nll_loss_backward.default: _nll_loss_backward,
    aten.div.Scalar: _like_first,
    aten.max_pool2d_with_indices_backward.default: lambda _, source, *__: _like(source),
    aten._scaled_dot_product_efficient_attention_backward.default: _attention_backward,
    aten._cudnn_rnn.default: outputs,
    aten._cudnn_rnn_backward.default: gradients,
}
if hasattr(aten, "_grouped_mm"):  # from PyTorch 2.8 on
    _RULES[aten._grouped_mm.default] = _grouped_product
"""Calls whose meta functions do their arithmetic step by step, milliseconds each, or load seconds' worth of modules."""
