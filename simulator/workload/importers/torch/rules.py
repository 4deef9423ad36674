"""Cost rules of ATen calls, by the shapes that they saw: what each reads, writes and computes at one batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from importlib import import_module

from simulator.op.kernel import OpClass, Phase, Window
from simulator.workload.importers.torch.calls import Call, Kind, Tensor

Moved = tuple[tuple[Kind, int], ...]


class When(Enum):
    """In which passes a forward kernel runs."""

    ALWAYS = 0
    TRAINING = 1
    INFERENCE = 2


@dataclass(frozen=True, slots=True)
class Draft:
    """A kernel at one batch size; two of them make a `Kernel` whose counts are affine in the batch.

    Attributes
    ----------
    flops : [FLOP]. read, write : [elements]
    gemm : sides m, n, k and groups.
    macs : where the kernel computes fewer than published counts have. [MAC]
    phase : of a backward kernel whose outputs do not tell it.
    last : of a convolution, as of `Kernel`.
    """

    op_class: OpClass
    flops: int
    read: Moved
    write: Moved
    gemm: tuple[float, float, float, int] | None = None
    window: Window = Window()
    streamed: int = 0
    reuse: int = 1
    macs: int | None = None
    when: When = When.ALWAYS
    phase: Phase | None = None
    last: bool = False


Rule = Callable[[Call], list[Draft]]
_rules: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the cost rule of ATen functions; a second one of the same name is an error."""

    def register(function: Rule) -> Rule:
        for name in names:
            if name in _rules:
                raise ValueError(f"aten::{name} has two rules")
            _rules[name] = function
        return function

    return register


@lru_cache
def rules() -> dict[str, Rule]:
    """All rules by function, from the modules that hold them."""
    for name in ("algebra", "elementwise", "norms", "products", "recurrence"):
        import_module(f"simulator.workload.importers.torch.{name}")
    return dict(_rules)


def find_rule(name: str) -> Rule | None:
    """The rule of a function; its in-place form moves the same."""
    found = rules().get(name)
    return found if found or not name.endswith("_") else rules().get(name[:-1])


def moved(*tensors: Tensor | None) -> Moved:
    """Each tensor once, without what broadcasting repeats."""
    return tuple((tensor.kind, tensor.distinct) for tensor in tensors if tensor is not None)


def total(tensors: Iterable[Tensor]) -> int:
    """Elements of all."""
    return sum(tensor.distinct for tensor in tensors)


def one_pass(call: Call, op_class: OpClass, flops: int, when: When = When.ALWAYS) -> Draft:
    """A kernel that reads every argument once and writes every output once."""
    return Draft(op_class, flops, moved(*call.tensors()), moved(*call.outputs), when=when)


def size(call: Call) -> int:
    """Elements of the first output."""
    return call.outputs[0].distinct if call.outputs else 0
