"""A call that an importer watched and already counted: its kernels stand in it instead of following from a rule."""

from __future__ import annotations

from simulator.op.base import Counts, Op, Shape, Shapes, Site
from simulator.op.kernel import Affine, Kernel, OpClass, Role, Window


class Traced(Op, frozen=True):
    """One call of a traced network, with the kernels that it and its gradients launch.

    It is not registered, since nobody writes kernels into a workload file; its `kind` is the call's own name.

    Attributes
    ----------
    shape : output of one sample.
    forward_kernels, inference_kernels : the forward pass, in training and not.
    backward_kernels : what the framework ran for it in the backward pass; which gradients are needed is decided there.
    sizes : elements of each trained tensor that this call is the first to read.
    kept : what the backward pass keeps of its outputs. [elements]
    macs : of one forward pass of one sample; a fused kernel may skip some of them.
    """

    kind: str  # type: ignore[misc]  # the instance's, where registered operations have one name a class
    shape: Shape
    forward_kernels: tuple[Kernel, ...] = ()
    inference_kernels: tuple[Kernel, ...] = ()
    backward_kernels: tuple[Kernel, ...] = ()
    sizes: tuple[int, ...] = ()
    kept: tuple[tuple[Role, Affine], ...] = ()
    macs: int = 0
    takes_fold: bool = False  # type: ignore[misc]
    folds: bool = False  # type: ignore[misc]
    loss: bool = False  # type: ignore[misc]
    view: bool = False  # type: ignore[misc]
    untrained: bool = False  # type: ignore[misc]
    full_width: bool = False  # type: ignore[misc]
    computes_wide: bool = False  # type: ignore[misc]
    for_all_samples: bool = False  # type: ignore[misc]
    narrows: bool = False  # type: ignore[misc]

    def output_shape(self, inputs: Shapes) -> Shape:  # noqa: ARG002
        """The shape that was seen."""
        return self.shape

    def parameter_sizes(self, inputs: Shapes) -> tuple[int, ...]:  # noqa: ARG002
        """The tensors that were seen."""
        return self.sizes

    def counts(self, site: Site) -> Counts:  # noqa: ARG002
        """MACs as published counts have them; FLOPs of the forward kernels."""
        return Counts(self.macs, int(sum(sum(kernel.flops) for kernel in self.forward_kernels)))

    def forward(self, site: Site) -> list[Kernel]:
        """What was seen."""
        return list(self.forward_kernels if site.training else self.inference_kernels)

    def backward(self, site: Site) -> list[Kernel]:  # noqa: ARG002
        """What was seen."""
        return list(self.backward_kernels)

    def saved(self, site: Site) -> tuple[tuple[Role, Affine], ...]:  # noqa: ARG002
        """What was seen."""
        return self.kept

    def window(self, inputs: Shapes) -> Window:  # noqa: ARG002
        """The first kernel's window; a softmax has a row alone."""
        first = self.forward_kernels[0] if self.forward_kernels else None
        return first.window if first and first.op_class is not OpClass.SOFTMAX else Window()
