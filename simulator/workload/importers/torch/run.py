"""One training step of a module on meta tensors, recorded: its forward pass, a loss, its backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from simulator.errors import InputError
from simulator.workload.importers.torch.calls import LOSS
from simulator.workload.importers.torch.detectors import bounded
from simulator.workload.importers.torch.record import Recorder, Recording
from simulator.workload.importers.torch.recurrent import recurrent_calls
from simulator.workload.importers.torch.tracing import Tracing
from simulator.workload.importers.torch.values import ATTRIBUTE, LIMIT, Values, attach


def record(model: Any, examples: Sequence[Any], batch: int, options: Tracing) -> Recording:
    """The calls of one step at a batch size; of the forward pass alone where `options.training` is not set.

    Raises
    ------
    InputError
        If no output depends on a trained parameter. What the module itself raises passes through.
    """
    values = Values(options.real, selects=not options.training or options.boxes is not None, boxes=options.boxes)
    inputs = [values.start(_resized(example, batch, examples[0].shape[0])) for example in examples]
    weights, buffers = (_started(tensors, values) for tensors in _on_meta(model, real=options.real))
    recorder = Recorder(weights, buffers.values(), inputs, values)
    names = {module: name for name, module in model.named_modules()}

    def step(module: Any, arguments: Sequence[Any]) -> None:
        output = _called(module, arguments, options, recorder)
        if options.training:
            recorder.module.append((LOSS, 0))
            _differentiate(recorder, output, options, weights)

    grad = torch.enable_grad() if options.training else torch.no_grad()
    with _mode(model, training=options.training), grad, recorder.watching(names), _taken_apart(), bounded():
        _call_with(model, {**weights, **buffers}, step, inputs)
    recorder.recording.selected = values.selected
    return recorder.recording


def _called(module: Any, arguments: Sequence[Any], options: Tracing, recorder: Recorder) -> Any:
    """The module's output; the last inputs go by name where `options.names` are given."""
    places = len(arguments) - len(options.names)
    named = dict(zip(options.names, arguments[places:], strict=True))
    with Accelerated(recorder, attention=options.attention != "eager"):
        return module(*arguments[:places], **named)


def _differentiate(recorder: Recorder, output: Any, options: Tracing, weights: dict[str, Any]) -> None:
    trained = [weight for weight in weights.values() if weight.requires_grad]
    loss = (options.loss or _loss)(output)
    if not trained or not loss.requires_grad:
        raise InputError("no output depends on a trained parameter")
    recorder.differentiate(loss, trained)


def _started(tensors: dict[str, Any], values: Values) -> dict[str, Any]:
    """With values where all are asked for."""
    return {name: values.start(tensor) for name, tensor in tensors.items()} if values.everything else tensors


def _resized(example: Any, batch: int, was: int) -> Any:
    """The example on meta, with another batch; the first sample's values again where it has small ones."""
    shape = (batch, *example.shape[1:]) if example.shape[0] == was else tuple(example.shape)
    bare = torch.empty(shape, dtype=example.dtype, device="meta")
    value = example if example.device.type != "meta" else getattr(example, ATTRIBUTE, None)
    if value is not None and not example.dtype.is_floating_point and bare.numel() <= LIMIT:
        attach(bare, value.detach()[:1].expand(shape).clone() if example.shape[0] == was else value.detach().clone())
    return bare


def _on_meta(model: Any, *, real: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers as shapes: the module's own where they are on meta already."""
    weights = {name: _shadow(value, real=real) for name, value in model.named_parameters()}
    return weights, {name: _shadow(value, real=real) for name, value in model.named_buffers()}


def _shadow(value: Any, *, real: bool) -> Any:
    """A tensor's shape; whole numbers keep their values, which the run may change in a copy, and all in a real one."""
    if value.device.type == "meta":
        return value
    shadow = torch.empty_like(value, device="meta")
    whole = not value.dtype.is_floating_point and not value.dtype.is_complex
    if real or (whole and value.numel() <= LIMIT):
        attach(shadow, value.detach().clone())
    return shadow.requires_grad_(value.requires_grad)


@contextmanager
def _taken_apart() -> Iterator[None]:
    """Transformers of `torch.nn` call by call, also where inference would call one function of its own for a layer."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


class _Step(torch.nn.Module):  # type: ignore[misc]
    """A module around the model, so that its tensors stay exchanged until the backward pass is over."""

    def __init__(self, model: Any, work: Callable[[Any, Sequence[Any]], None]) -> None:
        super().__init__()
        self.model, self.work = model, work

    def forward(self, *inputs: Any) -> None:
        """All of the work."""
        self.work(self.model, inputs)


def _call_with(
    model: Any, tensors: dict[str, Any], work: Callable[[Any, Sequence[Any]], None], inputs: Sequence[Any]
) -> None:
    """Do the work with these tensors in place of the module's own."""
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if all(tensors[name] is value for name, value in own.items()):
        work(model, inputs)
    else:
        exchanged = {f"model.{name}": value for name, value in tensors.items()}
        torch.func.functional_call(_Step(model, work), exchanged, tuple(inputs))


@contextmanager
def _mode(model: Any, *, training: bool) -> Iterator[None]:
    """Put the module in training or in evaluation mode, and back."""
    changed = [module for module in model.modules() if module.training is not training]
    for module in changed:
        module.training = training
    try:
        yield
    finally:
        for module in changed:
            module.training = not training


def _loss(output: Any) -> Any:
    """The module's own loss where it returns one; else the cross-entropy of each output, the classes on the last side,
    or for images on the second.
    """
    own = getattr(output, "loss", None)
    if own is not None:
        return own
    logits = getattr(output, "logits", None)
    outputs = [item for item in _tensors(logits if logits is not None else output) if item.requires_grad]
    if not outputs:
        raise InputError("no output depends on a trained parameter")
    losses = [_cross_entropy(item) for item in outputs if item.dim()] + [item for item in outputs if not item.dim()]
    return sum(losses[1:], start=losses[0])


def _cross_entropy(output: Any) -> Any:
    if output.dim() == 1:
        return output.mean()
    logits = output if output.dim() in (2, 4) else output.flatten(0, -2)
    labels = torch.empty((logits.shape[0], *logits.shape[2:]), dtype=torch.long, device=logits.device)
    return functional.cross_entropy(logits, labels)


def _tensors(value: Any) -> Iterator[Any]:
    """Tensors in a nest of lists and mappings."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


PRODUCTS = frozenset(
    {functional.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.__rmatmul__}
)
"""Functions that mixed precision runs in half width, and that PyTorch takes apart where operands lie otherwise.
Source: PyTorch 2.13, `aten/src/ATen/autocast_mode.h`, `AT_FORALL_LOWER_PRECISION_FP`."""


class Accelerated(TorchFunctionMode):  # type: ignore[misc]
    """Functions that accelerators run as one kernel and PyTorch takes apart on meta tensors."""

    def __init__(self, recorder: Recorder, *, attention: bool) -> None:
        super().__init__()
        self.recorder = recorder
        self.replaced: dict[Any, Callable[..., Any]] = {functional.dropout: _dropout, torch.dropout: _dropout}
        self.replaced |= {make: _keeping(make) for make in (torch.tensor, torch.as_tensor)}
        self.replaced |= {call: _at(call) for call in (torch.Tensor.__getitem__, torch.Tensor.__setitem__)}
        self.replaced[torch.Tensor.__format__] = _formatted
        self.replaced |= recurrent_calls()
        if attention:
            self.replaced[functional.scaled_dot_product_attention] = _fused

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Put the fused call in the place of the general one; what a product is taken apart into belongs to it."""
        product = func in PRODUCTS
        self.recorder.products += product
        try:
            return self.replaced.get(func, func)(*args, **(kwargs or {}))
        finally:
            self.recorder.products -= product


def _keeping(make: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a tensor of numbers, which PyTorch forgets on a device without data: made elsewhere, and moved."""

    def made(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Any:
        if device is None or torch.device(device).type != "meta" or isinstance(data, torch.Tensor):
            return make(data, *args, device=device, **kwargs)
        return make(data, *args, device="cpu", **kwargs).to(device)

    return made


def _at(call: Callable[..., Any]) -> Callable[..., Any]:
    """Indexing by lists, whose numbers PyTorch too forgets on a device without data: by tensors of them."""

    def indexed(tensor: Any, index: Any, *value: Any) -> Any:
        places = index if isinstance(index, tuple) else (index,)
        if not any(isinstance(place, list) for place in places):
            return call(tensor, index, *value)
        return call(tensor, tuple(torch.tensor(p) if isinstance(p, list) else p for p in places), *value)

    return indexed


def _formatted(tensor: Any, how: str) -> str:
    """A number in a text, such as the name of an expert, as its value."""
    return format(tensor.item() if tensor.dim() == 0 else repr(tensor), how)


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, train: bool = True) -> Any:  # noqa: ARG001
    return torch.native_dropout(input, p, True)[0] if training and train and p > 0 else input


_plain_attention = functional.scaled_dot_product_attention


def _fused(*args: Any, **named: Any) -> Any:
    return Attend(*args, **named).fused()


class Attend(NamedTuple):
    """The arguments of a call of `scaled_dot_product_attention`."""

    query: Any
    key: Any
    value: Any
    attn_mask: Any = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def fused(self) -> Any:
        """The fused call of the same arguments; it reads a key head for several query heads in place."""
        if self.query.dim() > 4:  # no fused kernel takes them
            return _plain_attention(*self[:-2], scale=self.scale, enable_gqa=self.enable_gqa)
        if self.query.dim() == 3:
            return self._with_heads().fused().squeeze(1)
        fused = torch.ops.aten._scaled_dot_product_efficient_attention
        return fused(*self[:3], self._added(), True, self.dropout_p, self.is_causal, scale=self.scale)[0]

    def _with_heads(self) -> Attend:
        """The same with one head."""
        query, key, value = (tensor.unsqueeze(1) for tensor in self[:3])
        mask = self.attn_mask
        mask = mask.unsqueeze(1) if mask is not None and mask.dim() == 3 else mask
        return self._replace(query=query, key=key, value=value, attn_mask=mask, enable_gqa=False)

    def _added(self) -> Any:
        """What is added to the scores, for each of them."""
        mask = self.attn_mask
        if mask is None:
            return None
        if mask.dtype == torch.bool:
            mask = torch.where(mask, 0.0, float("-inf"))
        return mask.expand(*self.query.shape[:-1], self.key.shape[-2])
