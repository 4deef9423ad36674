"""Optimizers: the state, the traffic and the work of one update of a layer's parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from simulator.errors import UnknownNameError
from simulator.op.kernel import Gemm, Kernel, OpClass, Phase, Role, once
from simulator.units import FLOPS_PER_MAC


class Matrix(NamedTuple):
    """`number` weight matrices of one layer: what its forward products multiply by."""

    rows: float
    columns: float
    number: float = 1

    @property
    def size(self) -> float:
        """Elements of all of them."""
        return self.rows * self.columns * self.number


Matrices = tuple[Matrix, ...]


class Optimizer(msgspec.Struct, frozen=True):
    """`moments` state values a parameter, read and written; `flops` of one update.

    SGD with momentum and weight decay: m = mu * m + (g + lambda * w); w = w - eta * m, 6 FLOP.
    Adam: two moments (6 FLOP), two bias corrections, root, quotient and step (6), weight decay (2).
    Source: Sutskever et al., ICML 2013; Kingma, Ba, "Adam", 2015, arXiv 1412.6980, algorithm 1.
    """

    name: str
    moments: float
    flops: int

    def state_values(self, parameters: float, matrices: Matrices) -> float:  # noqa: ARG002
        """State of a layer's parameters, in values of the state's width."""
        return self.moments * parameters

    def updates(self, parameters: float, matrices: Matrices, *, master_weights: bool) -> tuple[Kernel, ...]:  # noqa: ARG002
        """The kernels that update a layer."""
        return (self.update(parameters, master_weights=master_weights),)

    def update(self, parameters: float, *, master_weights: bool) -> Kernel:
        """The update of a tensor: weights, moments and gradient read, weights and moments written.

        With master weights all of it is in the state's width: the weights that the kernels read are cast copies.
        """
        moments, flops = self.moments * parameters, self.flops * parameters
        return _elementwise(flops, (parameters, moments, parameters), (parameters, moments), master_weights)


def _elementwise(
    flops: float, read: tuple[float, float, float], written: tuple[float, float], master_weights: bool
) -> Kernel:
    """One pass that reads weights, state and gradients, and writes weights and state. [elements]"""
    (weights, state, gradients), (new_weights, new_state) = read, written
    if master_weights:
        reads = ((Role.STATE, once(weights + state + gradients)),)
        return Kernel(OpClass.UPDATE, Phase.UPDATE, once(flops), reads, ((Role.STATE, once(new_weights + new_state)),))
    return Kernel(
        OpClass.UPDATE,
        Phase.UPDATE,
        once(flops),
        ((Role.WEIGHT, once(weights)), (Role.STATE, once(state)), (Role.WEIGHT_GRADIENT, once(gradients))),
        ((Role.WEIGHT, once(new_weights)), (Role.STATE, once(new_state))),
    )


def _others(parameters: float, matrices: Matrices) -> float:
    """Parameters that stand in no matrix: biases, scales, tables."""
    return max(parameters - sum(matrix.size for matrix in matrices), 0.0)


BLOCK = 256
"""Values of an 8-bit moment that share a full-width scale."""

WHOLE = 4096
"""Tensors of fewer values keep their moments at full width."""

SEARCH = 8
"""Comparisons that find a value among the 256 of a moment's number format."""


class UnfusedAdam(Optimizer, frozen=True):
    """Adam run line by line, sixteen kernels a tensor that move 35 values a parameter, where a fused kernel moves 7.

    The norm of all gradients is held, and of each tensor's; m *= a, m += b g; v *= c, v += d g g; root of v, + e,
    m / it; decay w, + it; times the rate, its sign, w += it.
    Source: NVIDIA's examples, PyTorch/LanguageModeling/BERT: BertAdam of optimization.py, GradientClipper of run_squad.
    """

    def updates(self, parameters: float, matrices: Matrices, *, master_weights: bool) -> tuple[Kernel, ...]:  # noqa: ARG002
        """A kernel for each line."""
        return tuple(
            _elementwise(
                flops * parameters,
                (weights * parameters, states * parameters, gradients * parameters),
                (stored * parameters, written * parameters),
                master_weights,
            )
            for flops, (weights, states, gradients), (stored, written) in ADAM_LINES
        )


ADAM_LINES = (
    *((2, (0, 0, 1), (0, 0)), (1, (0, 0, 1), (0, 1))),  # norm of all gradients, product with what it allows
    *((2, (0, 0, 1), (0, 0)), (1, (0, 0, 1), (0, 1))),  # the same of each tensor
    *((1, (0, 1, 0), (0, 1)), (2, (0, 1, 1), (0, 1))),  # first moment
    *((1, (0, 1, 0), (0, 1)), (3, (0, 1, 1), (0, 1))),  # second moment
    *((1, (0, 1, 0), (0, 1)), (1, (0, 1, 0), (0, 1)), (1, (0, 2, 0), (0, 1))),  # root, + e, quotient
    *((1, (1, 0, 0), (0, 1)), (1, (0, 2, 0), (0, 1))),  # weight decay
    *((1, (0, 1, 0), (0, 1)), (1, (0, 1, 0), (0, 1)), (1, (1, 1, 0), (1, 0))),  # rate, sign, step
)
"""FLOP; weights, state and gradients read; weights and state written, a parameter: of each line of `UnfusedAdam`."""


class Adam8Bit(Optimizer, frozen=True):
    """AdamW whose moments are 8-bit numbers in blocks of `BLOCK` with a scale each.

    Source: Dettmers et al., "8-bit Optimizers via Block-wise Quantization", ICLR 2022, arXiv 2110.02861; bitsandbytes,
    `min_8bit_size`.
    """

    def state_values(self, parameters: float, matrices: Matrices) -> float:  # noqa: ARG002
        """A quarter of full-width moments, and their scales."""
        return self.moments * parameters * (1.0 if parameters < WHOLE else 0.25 + 1 / BLOCK)

    def updates(self, parameters: float, matrices: Matrices, *, master_weights: bool) -> tuple[Kernel, ...]:
        """One pass, which widens the moments and narrows them again."""
        state = self.state_values(parameters, matrices)
        flops = (self.flops + 2 * SEARCH) * parameters
        return (_elementwise(flops, (parameters, state, parameters), (parameters, state), master_weights),)


class Adafactor(Optimizer, frozen=True):
    """Second moments of matrices as a column of row means and a row of column means; no first moment.

    Two passes over the gradient: means of its squares (3 FLOP a value), then the step (outer product, root, quotient,
    clipping by its root mean square, step: `flops`).
    Source: Shazeer, Stern, "Adafactor", ICML 2018, arXiv 1804.04235, algorithm 4.
    """

    def state_values(self, parameters: float, matrices: Matrices) -> float:
        """Rows and columns of each matrix; all values of what is none."""
        factored = sum((matrix.rows + matrix.columns) * matrix.number for matrix in matrices)
        return factored + _others(parameters, matrices)

    def updates(self, parameters: float, matrices: Matrices, *, master_weights: bool) -> tuple[Kernel, ...]:
        """Means, then the step."""
        state = self.state_values(parameters, matrices)
        return (
            _elementwise(3 * parameters, (0.0, state, parameters), (0.0, state), master_weights),
            _elementwise(self.flops * parameters, (parameters, state, parameters), (parameters, 0.0), master_weights),
        )


STEPS = 5
"""Newton-Schulz iterations of Muon."""

ADAM_MOMENTS, ADAM_FLOPS = 2, 14


class Muon(Optimizer, frozen=True):
    """Momentum of each matrix, made nearly orthogonal by `STEPS` iterations X = a X + (b A + c A A) X, A = X X'.

    The three products of an iteration take the matrix's smaller side m and larger side n: m n m, m m m and m m n MACs.
    What is no matrix is updated by AdamW.
    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """

    def state_values(self, parameters: float, matrices: Matrices) -> float:
        """One moment of matrices, two of the rest."""
        rest = _others(parameters, matrices)
        return (parameters - rest) * self.moments + rest * ADAM_MOMENTS

    def updates(self, parameters: float, matrices: Matrices, *, master_weights: bool) -> tuple[Kernel, ...]:
        """Momentum, products, step; AdamW for the rest."""
        rest = _others(parameters, matrices)
        inside = parameters - rest
        found: list[Kernel] = []
        if inside:
            found.append(_elementwise(4 * inside, (0.0, inside, inside), (inside, inside), master_weights))
            found += [kernel for matrix in matrices for _ in range(STEPS) for kernel in _newton_schulz(matrix)]
            found.append(_elementwise(4 * inside, (inside, 0.0, inside), (inside, 0.0), master_weights))
        if rest:
            adam = Optimizer("adam", ADAM_MOMENTS, ADAM_FLOPS)
            found.append(adam.update(rest, master_weights=master_weights))
        return tuple(found)


def _newton_schulz(matrix: Matrix) -> Iterator[Kernel]:
    m, n = sorted((matrix.rows, matrix.columns))
    for rows, columns, depth in ((m, m, n), (m, m, m), (m, n, m)):
        macs = rows * columns * depth * matrix.number
        moved = (rows * depth + depth * columns) * matrix.number
        yield Kernel(
            OpClass.GEMM,
            Phase.UPDATE,
            once(FLOPS_PER_MAC * macs),
            ((Role.WEIGHT, once(moved)),),
            ((Role.WEIGHT, once(rows * columns * matrix.number)),),
            Gemm(once(rows), once(columns), once(depth), round(matrix.number)),
            streamed=once(rows * depth * matrix.number),
            reuse=columns,
        )


OPTIMIZERS: dict[str, Optimizer] = {
    one.name: one
    for one in (
        Optimizer("sgd", 1, 6),
        Optimizer("adam", ADAM_MOMENTS, ADAM_FLOPS),
        Optimizer("adamw", ADAM_MOMENTS, ADAM_FLOPS),
        UnfusedAdam("adam_unfused", ADAM_MOMENTS, ADAM_FLOPS),
        Adam8Bit("adam8bit", ADAM_MOMENTS, ADAM_FLOPS),
        Adafactor("adafactor", 0, 9),
        Muon("muon", 1, 8),
    )
}


def get_optimizer(name: str) -> Optimizer:
    """An optimizer by name, or an `UnknownNameError` with the nearest one."""
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def matrices_of(forward: Iterable[Kernel]) -> Matrices:
    """The weight matrices that a layer's forward kernels multiply by."""
    return tuple(
        Matrix(kernel.gemm.n.fixed, kernel.gemm.k.fixed, kernel.gemm.groups)
        for kernel in forward
        if kernel.gemm and any(role is Role.WEIGHT for role, _ in kernel.read) and not kernel.gemm.n.per_sample
    )


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


def added_gradients(parameters: int) -> tuple[Kernel, Kernel]:
    """Gradients that are kept over steps: set to zero, then added to."""
    gradients = ((Role.WEIGHT_GRADIENT, once(parameters)),)
    both = ((Role.WEIGHT_GRADIENT, once(2 * parameters)),)
    return (
        Kernel(OpClass.UPDATE, Phase.WEIGHT_GRADIENT, once(0), (), gradients),
        Kernel(OpClass.UPDATE, Phase.WEIGHT_GRADIENT, once(parameters), both, gradients),
    )
