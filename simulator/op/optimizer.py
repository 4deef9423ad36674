"""Optimizers: the traffic and work of one update of one parameter."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.errors import UnknownNameError
from simulator.op.kernel import Kernel, OpClass, Phase, Role, once


@dataclass(frozen=True)
class Optimizer:
    """`moments` state values a parameter, read and written; `flops` of one update.

    SGD with momentum and weight decay: m = mu * m + (g + lambda * w); w = w - eta * m, 6 FLOP.
    Adam: two moments (6 FLOP), two bias corrections, root, quotient and step (6), weight decay (2).
    Source: Sutskever et al., ICML 2013; Kingma, Ba, "Adam", 2015, arXiv 1412.6980, algorithm 1.
    """

    name: str
    moments: int
    flops: int

    def update(self, parameters: int, *, master_weights: bool) -> Kernel:
        """The update of a tensor: weights, moments and gradient read, weights and moments written.

        With master weights all of it is in the state's width: the weights that the kernels read are cast copies.
        """
        state = once((self.moments + 1) * parameters)
        moments, weights, gradient = (
            once(self.moments * parameters),
            once(parameters),
            once(parameters),
        )
        if master_weights:
            reads = ((Role.STATE, once((self.moments + 2) * parameters)),)
            return Kernel(OpClass.UPDATE, Phase.UPDATE, once(self.flops * parameters), reads, ((Role.STATE, state),))
        return Kernel(
            OpClass.UPDATE,
            Phase.UPDATE,
            once(self.flops * parameters),
            ((Role.WEIGHT, weights), (Role.STATE, moments), (Role.WEIGHT_GRADIENT, gradient)),
            ((Role.WEIGHT, weights), (Role.STATE, moments)),
        )


OPTIMIZERS: dict[str, Optimizer] = {o.name: o for o in (Optimizer("sgd", 1, 6), Optimizer("adam", 2, 14))}


def get_optimizer(name: str) -> Optimizer:
    """An optimizer by name, or an `UnknownNameError` with the nearest one."""
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def cast_weights(parameters: int) -> Kernel:
    """Mixed precision, forward: the master weights become the narrow copy that the kernels read."""
    return Kernel(
        OpClass.CAST, Phase.FORWARD, once(0), ((Role.STATE, once(parameters)),), ((Role.WEIGHT, once(parameters)),)
    )


def cast_gradients(parameters: int) -> Kernel:
    """Mixed precision, backward: the narrow gradient becomes the wide one that the optimizer reads."""
    return Kernel(
        OpClass.CAST,
        Phase.WEIGHT_GRADIENT,
        once(0),
        ((Role.WEIGHT_GRADIENT, once(parameters)),),
        ((Role.STATE, once(parameters)),),
    )
