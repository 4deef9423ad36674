"""What an ONNX file says, without its weights: nodes, attributes, shapes and types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simulator.errors import InputError
from simulator.workload.importers.onnx.wire import Span

SMALL_BYTES = 2**16
"""Largest tensor whose values are looked at: shapes, axes, scales of a resize."""
MAX_LIST = 2**16

FLOAT, UINT8, INT8, INT32, INT64, STRING, BOOL = 1, 2, 3, 6, 7, 8, 9
FLOATS = {1, 10, 11, 16}
ITEM_BITS = {
    **{1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16},
    **{17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2},
}
"""Element type -> bits. [bit]"""


@dataclass(slots=True)
class Stored:
    """A tensor of the file: sides, element type, and where its values are, if in the file and small."""

    name: str = ""
    dims: tuple[int, ...] = ()
    kind: int = 0
    raw: Span | None = None
    numbers: list[int] = field(default_factory=list)
    reals: list[float] = field(default_factory=list)
    doubles: Span | None = None
    external: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """An attribute of a function's node that stands for an attribute of the call."""

    name: str


@dataclass(slots=True)
class Node:
    """One operator."""

    op: str = ""
    domain: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name, or its first output's."""
        return self.name or next((name for name in self.outputs if name), self.op)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int(self._typed(name, int, default))

    def real(self, name: str, default: float) -> float:
        """A number."""
        return float(self._typed(name, (int, float), default))

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        return str(self._typed(name, str, default))

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """A list of integers, or the default."""
        value = self._typed(name, list, None)
        if value is None:
            return None if default is None else tuple(default)
        if not all(isinstance(item, int) for item in value):
            raise InputError(f"node {self.label!r}: the attribute {name} is no list of integers")
        return tuple(value)

    def reals(self, name: str) -> list[float] | None:
        """A list of numbers."""
        value = self._typed(name, list, None)
        return None if value is None else [float(item) for item in value if isinstance(item, (int, float))]

    def _typed(self, name: str, kind: Any, default: Any) -> Any:
        value = self.attributes.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise InputError(f"node {self.label!r}: the attribute {name} is of the wrong type")
        return value

    def bound(self, call: Node) -> Node:
        """A function's node with the attributes of the call put in."""
        if not any(isinstance(value, Reference) for value in self.attributes.values()):
            return self
        given = {
            key: call.attributes.get(value.name) if isinstance(value, Reference) else value
            for key, value in self.attributes.items()
        }
        return replace(self, attributes={key: value for key, value in given.items() if value is not None})


@dataclass(slots=True)
class Value:
    """A declared input, output or inner tensor: each side a number, a symbol, or unknown (None)."""

    name: str = ""
    kind: int = 0
    sides: tuple[int | str | None, ...] | None = None


@dataclass(slots=True)
class Graph:
    """Nodes in order, and what goes in and out."""

    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, Stored] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    declared: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class Function:
    """An operator that the file defines by other operators."""

    domain: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Model:
    """A file."""

    graph: Graph = field(default_factory=Graph)
    opset: int = 0
    domains: dict[str, int] = field(default_factory=dict)
    functions: dict[tuple[str, str], Function] = field(default_factory=dict)
