"""How a module is traced, and what starts its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from simulator.workload.importers.torch.rules import Rule


@dataclass(frozen=True, slots=True)
class Tracing:
    """How to trace.

    Attributes
    ----------
    name : of the workload; the module's class if empty.
    loss : from the module's output to a scalar; by default its own, else the cross-entropy of its outputs.
    attention : "eager" takes scaled_dot_product_attention apart into products and softmax; else it is one kernel.
    allow_unknown : keep operations without a cost rule as layers that cost nothing.
    names : of the last inputs, those that the module takes by name.
    training : forward, loss and backward; else the forward pass alone, in evaluation mode, for inference.
    real : run the module once on random numbers, where its control flow asks for values.
    boxes : entries that a choice by unknown values keeps at most, as those of detectors; all if None, at inference
        alone.
    rules : cost rules of your own by ATen function ("linalg_inv_ex"), each from a call, with the shapes that it saw
        (`calls.Call`), to its kernels (`rules.Draft`); they go before ours.
    where : what starts an error, torch:NAME if empty.
    """

    name: str = ""
    loss: Callable[[Any], Any] | None = None
    attention: str | None = None
    allow_unknown: bool = False
    names: tuple[str, ...] = ()
    training: bool = True
    real: bool = False
    boxes: int | None = None
    rules: Mapping[str, Rule] = field(default_factory=dict)
    where: str = ""

    @property
    def source(self) -> str:
        """What starts an error."""
        return self.where or f"torch:{self.name}"


class TorchSource(NamedTuple):
    """A network's name, and what starts its errors."""

    name: str
    where: str
