"""One training step of a module on meta tensors, recorded: its forward pass, a loss, its backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from simulator.errors import InputError
from simulator.workload.importers.torch_calls import LOSS
from simulator.workload.importers.torch_record import Recorder, Recording


class Options(Protocol):
    """What the tracer is asked; see `torch.Tracing`."""

    @property
    def loss(self) -> Callable[[Any], Any] | None: ...
    @property
    def attention(self) -> str | None: ...


def record(model: Any, examples: Sequence[Any], batch: int, options: Options) -> Recording:
    """The calls of one step at a batch size.

    Raises
    ------
    InputError
        If no output depends on a trained parameter. What the module itself raises passes through.
    """
    inputs = [_resized(example, batch, examples[0].shape[0]) for example in examples]
    weights, buffers = _on_meta(model)
    recorder = Recorder(weights.values(), buffers.values(), inputs)
    trained = [weight for weight in weights.values() if weight.requires_grad]
    names = {module: name for name, module in model.named_modules()}

    def step(module: Any, arguments: Sequence[Any]) -> None:
        with Accelerated(attention=options.attention != "eager"):
            output = module(*arguments)
        recorder.module.append((LOSS, 0))
        loss = (options.loss or _loss)(output)
        if not trained or not loss.requires_grad:
            raise InputError("no output depends on a trained parameter")
        recorder.differentiate(loss, trained)

    with _training(model), torch.enable_grad(), recorder.watching(names):
        _call_with(model, {**weights, **buffers}, step, inputs)
    return recorder.recording


def _resized(example: Any, batch: int, was: int) -> Any:
    """The example on meta, with another batch."""
    shape = (batch, *example.shape[1:]) if example.shape[0] == was else tuple(example.shape)
    return torch.empty(shape, dtype=example.dtype, device="meta")


def _on_meta(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers as shapes: the module's own where they are on meta already."""
    weights = {name: _shadow(value) for name, value in model.named_parameters()}
    return weights, {name: _shadow(value) for name, value in model.named_buffers()}


def _shadow(value: Any) -> Any:
    if value.device.type == "meta":
        return value
    shadow = torch.empty_like(value, device="meta")
    return shadow.requires_grad_(value.requires_grad)


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


class _training:  # noqa: N801 - used as a function
    """Put the module in training mode, and back."""

    def __init__(self, model: Any) -> None:
        self.resting = [module for module in model.modules() if not module.training]

    def __enter__(self) -> None:
        for module in self.resting:
            module.training = True

    def __exit__(self, *_: object) -> None:
        for module in self.resting:
            module.training = False


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


class Accelerated(TorchFunctionMode):  # type: ignore[misc]
    """Functions that accelerators run as one kernel and PyTorch takes apart on meta tensors."""

    def __init__(self, *, attention: bool) -> None:
        super().__init__()
        self.replaced: dict[Any, Callable[..., Any]] = {functional.dropout: _dropout, torch.dropout: _dropout}
        if attention:
            self.replaced[functional.scaled_dot_product_attention] = _attention

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Put the fused call in the place of the general one."""
        return self.replaced.get(func, func)(*args, **(kwargs or {}))


def _dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, *, train: bool = True) -> Any:  # noqa: ARG001
    return torch.native_dropout(input, p, True)[0] if training and train and p > 0 else input


def _attention(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
               scale: float | None = None, enable_gqa: bool = False) -> Any:  # fmt: skip  # noqa: ARG001
    """The fused call of the same arguments; it reads a key head for several query heads in place."""
    if query.dim() == 3:
        query, key, value = (tensor.unsqueeze(1) for tensor in (query, key, value))
        return _attention(query, key, value, attn_mask, dropout_p, is_causal, scale).squeeze(1)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.where(attn_mask, 0.0, float("-inf"))
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    fused = torch.ops.aten._scaled_dot_product_efficient_attention
    return fused(query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale)[0]
