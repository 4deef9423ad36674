"""What one ATen call looked like: plain data, without PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

LOSS = "loss"
"""Module path of what is computed after the network."""


class Kind(Enum):
    """What a tensor is, as far as one run shows it."""

    WEIGHT = "weight"
    ACTIVATION = "activation"
    GRADIENT = "gradient"
    INDEX = "index"
    MASK = "mask"
    WEIGHT_GRADIENT = "weight_gradient"


class Tensor(NamedTuple):
    """A tensor as a call saw it.

    Attributes
    ----------
    distinct : elements without those that broadcasting repeats.
    storage : identity of its memory, which views and in-place calls share.
    offset : where in that memory it starts. [elements]
    dense : whether its elements lie side by side, channels first or last, as no slice of channels does.
    last : whether an image's channels are its innermost side.
    """

    shape: tuple[int, ...]
    distinct: int
    kind: Kind
    storage: int
    offset: int
    dense: bool = True
    last: bool = False


@dataclass(slots=True)
class Call:
    """One ATen call.

    Attributes
    ----------
    free : it only gives another view of memory, or memory without a value.
    sequence : number of the autograd node that it belongs to, forward, or that it runs for, backward.
    visit : number of the run of a module without children that it is part of; zero elsewhere.
    accumulates : autograd's own sum of the gradients of a tensor with several readers.
    inside : part of a function that mixed precision runs in half width, such as a linear layer's copy and its bias.
    """

    name: str
    overload: str
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: tuple[Tensor, ...]
    module: str
    sequence: int | None
    free: bool
    visit: int = 0
    accumulates: bool = False
    inside: bool = False

    def tensors(self) -> Iterator[Tensor]:
        """Tensors among the arguments, those in lists too."""
        yield from _tensors(self.args)
        yield from _tensors(self.kwargs.values())

    def get(self, position: int, name: str = "", default: Any = None) -> Any:
        """An argument by position or name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list):
            yield from _tensors(value)
