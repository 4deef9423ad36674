"""Values beside tensors that have none: what a network may ask for (positions, masks, counts) is computed for real.

A network without data cannot be asked whether a mask is all ones or how many tokens an expert has. Constants and whole
numbers are small, so their values travel along with the tensors of a trace, as an attribute; where a value follows from
the network's floating-point numbers, which nobody computes, choices among experts are taken to be even.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from simulator.errors import UnsupportedError

ATTRIBUTE = "_value_beside"
LIMIT = 2**22
"""Elements of the largest tensor whose values are followed."""

ASKING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2",
          "unique_consecutive", "bincount", "repeat_interleave", "nonzero_static", "allclose", "nms"}  # fmt: skip
"""Calls whose result, or its shape, is the values themselves."""


SHAPED = {"full_like", "zeros_like", "ones_like", "new_zeros", "new_ones", "new_full"}
"""Calls that look at the shape of their first argument alone."""


@dataclass
class Values:
    """Follows values through the calls of one run.

    Attributes
    ----------
    everything : floating-point numbers of the network too, drawn at random where they start.
    selects : whether what is selected by unknown numbers is taken at its most, which inference's counts may be.
    boxes : entries that such a selection keeps at most; all if None.
    selected : whether any was.
    """

    everything: bool = False
    selects: bool = False
    boxes: int | None = None
    selected: bool = False

    def __post_init__(self) -> None:
        self._lost: dict[int, Any] = {}  # storages, kept alive so that none takes the number of another

    def of(self, tensor: Any) -> Any:
        """A tensor's values, None where nobody knows them."""
        if tensor.device.type != "meta":
            return tensor
        value = getattr(tensor, ATTRIBUTE, None)
        lost = value is not None and value.untyped_storage()._cdata in self._lost
        return None if lost else value

    def start(self, tensor: Any) -> Any:
        """Give an input or weight its values: ones for whole numbers, random numbers where all are asked for."""
        if getattr(tensor, ATTRIBUTE, None) is None:
            if not tensor.dtype.is_floating_point and not tensor.dtype.is_complex and tensor.numel() <= LIMIT:
                attach(tensor, torch.ones(tensor.shape, dtype=tensor.dtype))
            elif self.everything:
                attach(tensor, torch.randn(tensor.shape, dtype=tensor.dtype) / 8)
        return tensor

    def asked(self, function: Any, name: str, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
        """The result of a call that depends on values, alone in a tuple; None for other calls.

        Raises
        ------
        UnsupportedError
            If nobody knows them.
        """
        leaves = kwargs.get("device")
        if leaves is not None and torch.device(leaves).type != "meta" and name == "_to_copy":
            value = self.of(args[0])
            return None if value is None else (function(value, **kwargs),)
        if name == "index" and _has_mask(args[1]):
            return (self._masked(function, args, name),)
        if name in ("nms", "nonzero") and self.selects and self.of(args[0]) is None:
            return (self._selected(args[0]) if name == "nonzero" else self._kept(args[0]),)
        if name not in ASKING:
            return None
        if name == "repeat_interleave" and isinstance(args[0], torch.Tensor) and kwargs.get("output_size") is not None:
            return None
        found = self._computed(function, args, kwargs)
        if found is None:
            raise _unknown(name)
        return (_on_meta(found[0]),)

    def _masked(self, function: Any, args: Any, name: str) -> Any:
        """Entries that masks pick, by their positions."""
        places: list[Any] = []
        for item in args[1]:
            if item is None or item.dtype not in _MASKS:
                places.append(item)
                continue
            if self.of(item) is None and not self.selects:
                raise _unknown(name)
            found = self._selected(item) if self.of(item) is None else _on_meta(self.of(item).nonzero())
            places += [self._column(found, side) for side in range(item.dim())]
        result = function(args[0], places)
        self.follow(function, name, (args[0], places), {}, result)
        return result

    def _column(self, found: Any, side: int) -> Any:
        return _on_meta(self.of(found)[:, side].contiguous())

    def _selected(self, mask: Any) -> Any:
        """Positions of all entries of an unknown mask, or of as many as are kept at most."""
        whole = torch.ones(mask.shape, dtype=torch.bool).nonzero()
        self.selected = True
        return _on_meta(whole[: self.boxes] if self.boxes is not None else whole)

    def _kept(self, entries: Any) -> Any:
        """What a suppression of overlapping boxes keeps: all, or as many as are kept at most."""
        self.selected = True
        count = entries.shape[0] if self.boxes is None else min(self.boxes, entries.shape[0])
        return _on_meta(torch.arange(count))

    def follow(self, function: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """Give the outputs of a call their values, where those of its arguments are known."""
        outputs = [item for item in _tensors((result,)) if item.device.type == "meta"]
        unwritten = name.startswith(("empty", "new_empty"))
        if not outputs or (unwritten and not self.everything):
            return
        large = sum(item.numel() for item in outputs) > LIMIT
        random = torch.Tag.nondeterministic_seeded in function.tags
        skipped = (large or random) and not self.everything
        given = (_stand_in(args[0]), *args[1:]) if name in SHAPED else args
        found = None if skipped else self._computed(function, given, kwargs)
        if found is None:
            self._lose(name, args)
            if not large:
                self._choose(name, args, kwargs, outputs)
            return
        for item, value in zip(outputs, _tensors(found), strict=True):
            attach(item, value.zero_() if unwritten else value)

    def _computed(self, function: Any, args: Any, kwargs: Any) -> tuple[Any] | None:
        """The real result, alone in a tuple, if all arguments are known."""
        if any(self.of(item) is None for item in _tensors((args, *kwargs.values()))):
            return None
        real = self._real(args), {key: self._real(value) for key, value in kwargs.items()}
        try:
            return (function(*real[0], **real[1]),)
        except (RuntimeError, NotImplementedError):  # an accelerator's function that a processor does not have
            return None

    def _real(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self.of(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._real(item) for item in value)
        return torch.device("cpu") if isinstance(value, torch.device) else value

    def _lose(self, name: str, args: Any) -> None:
        """What is written in place by unknown values has none any more, nor have its views."""
        value = self.of(args[0]) if name.endswith("_") and isinstance(args[0], torch.Tensor) else None
        if value is not None:
            storage = value.untyped_storage()
            self._lost[storage._cdata] = storage

    def _choose(self, name: str, args: Any, kwargs: Any, outputs: list[Any]) -> None:
        """Choices by unknown numbers: row r takes the entries r k, r k + 1, ..., so that all are taken alike."""
        chooser = _CHOOSERS.get(name)
        indices = outputs[-1]
        if chooser is None or indices.dtype != torch.long or not args[0].dim():
            return
        side = chooser(args, kwargs) % args[0].dim()
        entries = args[0].shape[side]
        moved = indices if indices.dim() == args[0].dim() else indices.unsqueeze(side)
        shape = list(moved.shape)
        taken = shape.pop(side)
        chosen = torch.arange(prod(shape) * taken).remainder(entries).reshape(*shape, taken).movedim(-1, side)
        attach(indices, chosen.reshape(indices.shape))


def _side(position: int) -> Callable[[Any, Any], int]:
    def find(args: Any, kwargs: Any) -> int:
        found = args[position] if len(args) > position else kwargs.get("dim", -1)
        return int(found if found is not None else -1)

    return find


_CHOOSERS = {"topk": _side(2), "sort": _side(1), "argsort": _side(1), "argmax": _side(1), "max": _side(1)}
"""Calls that choose by value -> the side along which they do."""


def attach(tensor: Any, value: Any) -> None:
    """Give a tensor without data its values."""
    setattr(tensor, ATTRIBUTE, value)


_MASKS = (torch.bool, torch.uint8)


def _stand_in(tensor: Any) -> Any:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


def _has_mask(indices: Any) -> bool:
    return any(item is not None and item.dtype in _MASKS for item in indices)


def _unknown(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"the network asks for values (aten::{name}) that a trace without data does not have; "
        "--trace real runs it once on random numbers"
    )


def _on_meta(found: Any) -> Any:
    """Tensors of a real result without their data, but with their values beside them."""
    if isinstance(found, torch.Tensor):
        bare = torch.empty_strided(found.shape, found.stride(), dtype=found.dtype, device="meta")
        attach(bare, found)
        return bare
    return type(found)(_on_meta(item) for item in found) if isinstance(found, (list, tuple)) else found


def _tensors(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


class _Following(TorchDispatchMode):  # type: ignore[misc]
    """Follows values while a module is built."""

    def __init__(self) -> None:
        super().__init__()
        self.values = Values()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No guard against compilation, whose import takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer one call."""
        name, named = func.overloadpacket.__name__, kwargs or {}
        asked = self.values.asked(func, name, args, named)
        if asked is not None:
            return asked[0]
        result = func(*args, **named)
        whole = [item for item in _tensors((result,)) if item.dtype.is_floating_point or item.dtype.is_complex]
        if not whole:
            self.values.follow(func, name, args, named, result)
        return result


@contextmanager
def built_without_data() -> Iterator[None]:
    """Modules that are built here have shapes alone, besides the values of their whole numbers."""
    with torch.device("meta"), _Following():
        yield
