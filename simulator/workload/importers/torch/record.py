"""Watching a PyTorch module run on meta tensors, forward and backward: shapes without memory and without arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.shapes import IMAGES, is_last, output_like
from simulator.workload.importers.torch.values import Values, attach

FREE = {"_unsafe_view", "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "unsafe_split",
        "unsafe_split_with_sizes", "lift_fresh", "lift", "set_", "resize_", "_local_scalar_dense", "is_same_size",
        "_assert_async", "_linalg_check_errors", "_assert_tensor_metadata", "record_stream", "result_type",
        "is_pinned"}  # fmt: skip
"""Calls that move nothing, besides those whose schema says that they return a view."""


class Overload(NamedTuple):
    """What the schema of an ATen function says, looked up once."""

    name: str
    overload: str
    free: bool
    fresh: bool
    """Whether its outputs are new memory, so that a call of the same shapes gives the same again."""
    in_place: bool
    """Whether it fills its first argument and leaves its shape alone."""


_overloads: dict[Any, Overload] = {}


def _overload(function: Any) -> Overload:
    found = _overloads.get(function)
    if found is None:
        schema = function._schema
        aliases = [item.alias_info for item in schema.returns if item.alias_info is not None]
        name = function.overloadpacket.__name__
        view = any(not alias.is_write for alias in aliases)
        fresh = not aliases and not schema.is_mutable and name not in FREE
        reshapes = torch.Tag.inplace_view in function.tags
        in_place = name.endswith("_") and len(schema.returns) == 1 and not reshapes
        found = Overload(name, function._overloadname, view or reshapes or name in FREE, fresh, in_place)
        _overloads[function] = found
    return found


@dataclass
class Recording:
    """The calls of one run, and what autograd kept of it.

    Attributes
    ----------
    saved : storage -> (kind, elements) of what the backward pass reads.
    inputs : storages of the network's inputs. parameters : storage -> elements, of trained tensors.
    names : storage -> name, of trained tensors. frozen : name -> elements of the others, which have no gradient.
    selected : whether entries were selected by values that nobody knows.
    """

    forward: list[Call] = field(default_factory=list)
    backward: list[Call] = field(default_factory=list)
    saved: dict[int, tuple[Kind, int]] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    parameters: dict[int, int] = field(default_factory=dict)
    buffers: set[int] = field(default_factory=set)
    names: dict[int, str] = field(default_factory=dict)
    frozen: dict[str, int] = field(default_factory=dict)
    selected: bool = False


class Recorder(TorchDispatchMode):  # type: ignore[misc]
    """Writes down each ATen call below autograd, and answers it with tensors that have a shape and no values."""

    def __init__(
        self, weights: Mapping[str, Any], buffers: Iterable[Any], inputs: Iterable[Any], values: Values
    ) -> None:
        super().__init__()
        self.recording = Recording()
        self.values = values
        self.module: list[tuple[str, int]] = [("", 0)]
        self.products = 0
        self._visits = 0
        self._backward = False
        self._gradients: set[int] = set()
        self._weights: set[int] = set()
        self._alive: list[Any] = []
        self._metas: dict[int, Any] = {}
        for name, weight in weights.items():
            key = self._storage(weight)
            self._weights.add(key)
            if weight.requires_grad:
                self.recording.parameters[key] = weight.numel()
                self.recording.names[key] = name
            else:
                self.recording.frozen[name] = weight.numel()
        self.recording.buffers = {self._storage(buffer) for buffer in buffers}
        self.recording.inputs = [self._see(tensor) for tensor in inputs]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No guard against compilation, which nobody asks for here and whose import takes seconds."""
        return False

    def _storage(self, tensor: Any) -> int:
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        key: int = storage._cdata
        return key

    def _see(self, tensor: Any) -> Tensor:
        storage = self._storage(tensor)
        shape, distinct = tuple(tensor.shape), 2 if tensor.dtype.is_complex else 1
        for side, stride in zip(shape, tensor.stride(), strict=True):
            distinct *= side if stride else min(side, 1)
        kind = self._kind(tensor, storage)
        return Tensor(shape, distinct, kind, storage, tensor.storage_offset(), *_layout(tensor))

    def _kind(self, tensor: Any, storage: int) -> Kind:
        if tensor.dtype == torch.bool:
            return Kind.MASK
        if not tensor.dtype.is_floating_point and not tensor.dtype.is_complex:
            return Kind.INDEX
        if storage in self._weights:
            return Kind.WEIGHT
        return Kind.GRADIENT if storage in self._gradients else Kind.ACTIVATION

    def _seen(self, value: Any) -> Any:
        """An argument with its tensors replaced by what is to be remembered of them."""
        if isinstance(value, torch.Tensor):
            return self._see(value)
        if isinstance(value, (list, tuple)):
            return [self._seen(item) for item in value]
        return value

    def _on_meta(self, value: Any) -> Any:
        """An argument without values: a constant that the model keeps elsewhere joins the run as its shape."""
        if isinstance(value, torch.Tensor):
            if value.device.type == "meta":
                return value
            if id(value) not in self._metas:
                self._alive.append(value)
                self._metas[id(value)] = torch.empty_like(value, device="meta")
                attach(self._metas[id(value)], value)
            return self._metas[id(value)]
        if isinstance(value, (list, tuple)):
            return type(value)(self._on_meta(item) for item in value)
        return torch.device("meta") if isinstance(value, torch.device) else value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record and answer one call."""
        known, named = _overload(func), kwargs or {}
        if _mixed(args) or _mixed(named.values()):
            args, named = self._on_meta(args), {key: self._on_meta(value) for key, value in named.items()}
        seen, seen_named = [self._seen(value) for value in args], {key: self._seen(v) for key, v in named.items()}
        result = self._result(func, known, args, named)
        self._write(known, seen, seen_named, result)
        return result

    def _result(self, func: Any, known: Overload, args: Any, kwargs: Any) -> Any:
        """The call's result: real where it is about values that are known, else shapes."""
        asked = None if self._backward else self.values.asked(func, known.name, args, kwargs)
        if asked is not None:
            return asked[0]
        result = _answer(func, known, args, kwargs)
        if not self._backward:
            self.values.follow(func, known.name, args, kwargs, result)
        return result

    def _write(self, known: Overload, args: list[Any], kwargs: dict[str, Any], result: Any) -> None:
        outputs = [item for item in (result if isinstance(result, (tuple, list)) else (result,)) if _is_tensor(item)]
        if self._backward and not known.free:
            self._gradients.update(self._storage(item) for item in outputs)
        seen = tuple(self._see(item) for item in outputs)
        call = Call(
            known.name, known.overload, args, kwargs, seen, self.module[-1][0], None, known.free, self.module[-1][1]
        )
        if self._backward:
            node = torch._C._current_autograd_node()
            call.sequence = node._sequence_nr() if node is not None else None
            call.accumulates = known.name in ("add", "add_") and _from_engine()
            self.recording.backward.append(call)
        else:
            call.sequence = torch.autograd._get_sequence_nr() - 1
            call.inside = self.products > 0
            self.recording.forward.append(call)

    def keep(self, tensor: Any) -> Any:
        """Note a tensor that autograd saves."""
        seen = self._see(tensor)
        whole = tensor.untyped_storage().nbytes() // tensor.element_size()
        if seen.kind is not Kind.WEIGHT and seen.storage not in self.recording.buffers:
            self.recording.saved.setdefault(seen.storage, (seen.kind, whole))
        return tensor

    @contextmanager
    def watching(self, names: dict[Any, str]) -> Iterator[None]:
        """Follow which module runs, and what autograd saves."""

        def enter(module: Any, inputs: Any) -> None:  # noqa: ARG001
            self._visits += 1
            leaf = not module._modules
            self.module.append((names.get(module, self.module[-1][0]), self._visits if leaf else 0))

        def leave(module: Any, inputs: Any, output: Any) -> None:  # noqa: ARG001
            self.module.pop()

        hooks = torch.nn.modules.module
        handles = [hooks.register_module_forward_pre_hook(enter), hooks.register_module_forward_hook(leave)]
        try:
            with torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor), self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def differentiate(self, loss: Any, weights: list[Any]) -> None:
        """Run the backward pass and record it."""
        self._backward = True
        torch.autograd.grad(loss, weights, allow_unused=True)


def _answer(function: Any, known: Overload, args: Any, kwargs: Any) -> Any:
    """The call's result; nothing is done where no value is kept and the shapes are plain."""
    if known.fresh:
        return output_like(function, args, kwargs)
    if known.in_place and args[0].device.type == "meta" and not kwargs.keys() - {"alpha"}:
        others = [item for item in args[1:] if isinstance(item, (torch.Tensor, list, tuple))]
        if all(isinstance(item, torch.Tensor) and item.shape in (args[0].shape, ()) for item in others):
            return args[0]
    return function(*args, **kwargs)


def _layout(tensor: Any) -> tuple[bool, bool]:
    """Whether images lie side by side in memory, and whether their channels are innermost; true, false of others."""
    if tensor.dim() != IMAGES:
        return True, False
    last = is_last(tensor)
    return tensor.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format), last


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _mixed(values: Iterable[Any]) -> bool:
    """Whether tensors with and without values meet."""
    devices = {tensor.device.type for tensor in _flat(values)}
    return len(devices) > 1 and "meta" in devices


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _flat(value)


def _from_engine() -> bool:
    """Whether autograd's engine itself makes the call, rather than the backward function of some node in Python."""
    frame: Any = sys._getframe(3)  # who called __torch_dispatch__
    return bool(frame.f_code.co_name == "_engine_run_backward")
