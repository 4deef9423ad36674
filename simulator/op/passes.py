"""Layers that are one pass over memory, their work counted by an importer: sampling, selection, noise, transforms."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.op.base import Shape, elements, elementwise
from simulator.op.kernel import Kernel, OpClass, Phase, Role, each
from simulator.op.traced import Traced


@dataclass(frozen=True)
class Pass:
    """One pass forward and, where there is a gradient, one back.

    Attributes
    ----------
    kind : the operation's name in tables.
    shape : the output of one sample.
    read : elements of a sample that it reads. [elements]
    flops : of one sample. [FLOP]
    gradient : FLOPs of the pass back, which reads the output's gradient and writes the input's; None where the output
        does not change smoothly with the input, as places and noise do not. [FLOP]
    kept : elements that the pass back reads beside the gradient. [elements]
    loss : whether it belongs to training only.
    """

    kind: str
    shape: Shape
    read: int
    flops: int
    gradient: int | None = None
    kept: int = 0
    op_class: OpClass = OpClass.ELEMENTWISE
    loss: bool = False

    def op(self) -> Traced:
        """The operation."""
        size = elements(self.shape)
        forward = elementwise(
            Phase.FORWARD, self.flops, {Role.ACTIVATION: self.read}, {Role.ACTIVATION: size}, self.op_class
        )
        kept = ((Role.ACTIVATION, each(self.kept)),) if self.kept else ()
        return Traced(
            kind=self.kind,
            shape=self.shape,
            forward_kernels=(forward,),
            inference_kernels=(forward,),
            backward_kernels=() if self.gradient is None else (self._backward(size, self.gradient),),
            kept=kept,
            loss=self.loss,
        )

    def _backward(self, size: int, flops: int) -> Kernel:
        reads = {Role.GRADIENT: size} | ({Role.ACTIVATION: self.kept} if self.kept else {})
        return elementwise(Phase.INPUT_GRADIENT, flops, reads, {Role.GRADIENT: self.read}, self.op_class)
