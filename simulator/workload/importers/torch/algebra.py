"""Cost rules of Fourier transforms, of linear algebra beyond products, and of look-ups that are added up.

FLOPs of factorisations: Golub, Van Loan, "Matrix Computations", 4th edition, 2013, sections 3.2, 4.2, 5.2, 8.3, 8.6.
They run on the vector lanes, and published counts have no MACs for them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2, prod

from simulator.op.kernel import OpClass, Phase
from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.rules import Draft, moved, one_pass, rule


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c")
def _fft(call: Call) -> list[Draft]:
    """5 N log2 N FLOPs for N complex points, half for real ones; a pass over memory for each side.

    64 real points: 5 / 2 * 64 * 6 = 960 FLOP.
    Source: Frigo, Johnson, "The design and implementation of FFTW3", Proc. IEEE 93(2), 2005, section II.
    """
    source, output = call.args[0], call.outputs[0]
    longer = output.shape if prod(output.shape) > prod(source.shape) else source.shape
    sides = [longer[side] for side in call.args[1]]
    share = 5 if call.name == "_fft_c2c" else 2.5
    one = round(share * prod(sides) * sum(log2(side) for side in sides))
    first = Draft(OpClass.REDUCTION, one * (prod(longer) // prod(sides)), moved(source), moved(output))
    again = Draft(OpClass.COPY, 0, moved(output), moved(output))
    return [first, *[again] * (len(sides) - 1)]


def _lu(rows: int, columns: int) -> float:
    """Elimination: 2/3 n^3 of a square matrix."""
    least = min(rows, columns)
    return least**2 * (max(rows, columns) - least / 3)


def _qr(rows: int, columns: int) -> float:
    """Householder's reflections, and their product written out: twice 2 n^2 (m - n / 3)."""
    least = min(rows, columns)
    return 4 * least**2 * (max(rows, columns) - least / 3)


def _svd(rows: int, columns: int) -> float:
    """4 m^2 n + 8 m n^2 + 9 n^3, with both sides' vectors."""
    most, least = max(rows, columns), min(rows, columns)
    return 4 * most**2 * least + 8 * most * least**2 + 9 * least**3


_FACTORISED: dict[str, Callable[[int, int], float]] = {
    "linalg_cholesky_ex": lambda rows, _: rows**3 / 3,
    "cholesky_inverse": lambda rows, _: 2 * rows**3 / 3,
    "linalg_inv_ex": lambda rows, _: 2 * rows**3,
    "_linalg_det": _lu,
    "_linalg_slogdet": _lu,
    "linalg_lu": _lu,
    "linalg_lu_factor_ex": _lu,
    "linalg_qr": _qr,
    "_linalg_svd": _svd,
    "_linalg_eigh": lambda rows, _: 9 * rows**3,
    "linalg_eig": lambda rows, _: 25 * rows**3,
    "linalg_matrix_exp": lambda rows, _: 16 * rows**3,
}
"""Function -> FLOPs of one matrix of so many rows and columns."""


@rule(*_FACTORISED)
def _factorised(call: Call) -> list[Draft]:
    """One pass over the matrices, and the factorisation's FLOPs for each."""
    matrix: Tensor = call.args[0]
    flops = prod(matrix.shape[:-2]) * _FACTORISED[call.name](*matrix.shape[-2:])
    return [one_pass(call, OpClass.REDUCTION, int(flops))]


@rule("linalg_solve_triangular", "triangular_solve", "cholesky_solve", "linalg_lu_solve")
def _substituted(call: Call) -> list[Draft]:
    """n^2 FLOPs a right side for each triangle: 4 x 4 and 3 sides, 48."""
    right_first = call.name != "linalg_solve_triangular"
    square: Tensor = call.args[1 if right_first else 0]
    sides: Tensor = call.outputs[0]
    triangles = 2 if call.name in ("cholesky_solve", "linalg_lu_solve") else 1
    return [one_pass(call, OpClass.REDUCTION, triangles * prod(sides.shape) * square.shape[-1])]


@rule("_linalg_solve_ex")
def _solved(call: Call) -> list[Draft]:
    """Elimination, then two triangles."""
    matrix: Tensor = call.args[0]
    rows = matrix.shape[-1]
    flops = prod(matrix.shape[:-2]) * _lu(rows, rows) + 2 * prod(call.outputs[0].shape) * rows
    return [one_pass(call, OpClass.REDUCTION, int(flops))]


@rule("histc", "bincount", "nonzero", "nonzero_static", "unique_consecutive")
def _counted(call: Call) -> list[Draft]:
    """One addition an input."""
    return [one_pass(call, OpClass.REDUCTION, call.args[0].distinct)]


IOU_FLOPS = 12
"""Two boxes' common area over their joint one: 4 comparisons, 4 differences, 2 products, a sum and a quotient."""


@rule("nms")
def _suppressed(call: Call) -> list[Draft]:
    """Every pair of boxes once: of 10, 45 pairs."""
    boxes = call.args[0].shape[0]
    flops = IOU_FLOPS * (boxes * (boxes - 1) // 2)
    return [Draft(OpClass.REDUCTION, flops, moved(*call.tensors()), moved(*call.outputs))]


@rule("roi_align")
def _cut_out(call: Call) -> list[Draft]:
    """Each output is the mean of sampling_ratio^2 points of four neighbours each; by two where the ratio adapts."""
    points = max(call.get(5, "sampling_ratio", 2), 0) or 2
    output = call.outputs[0]
    flops = 8 * points**2 * output.distinct
    source = call.args[0]
    read = ((source.kind, min(source.distinct, 4 * points**2 * output.distinct)), *moved(call.args[1]))
    return [Draft(OpClass.POOLING, flops, read, moved(output))]


@rule("_embedding_bag", "_embedding_bag_forward_only")
def _bag(call: Call) -> list[Draft]:
    """Rows that are looked up are read and added; 6 indices of rows of 4 read and add 24 elements."""
    table, indices, output = call.args[0], call.args[1], call.outputs[0]
    looked = prod(indices.shape) * table.shape[1]
    read = ((table.kind, looked), *moved(*list(call.tensors())[1:]))
    return [Draft(OpClass.LOOKUP, looked, read, moved(output))]


@rule("_embedding_bag_dense_backward", "_embedding_bag_backward")
def _bag_backward(call: Call) -> list[Draft]:
    """The table's gradient is cleared, then each looked-up row has its bag's gradient added."""
    gradient, indices, output = call.args[0], call.args[1], call.outputs[0]
    hit = ((Kind.WEIGHT_GRADIENT, prod(indices.shape) * output.shape[1]),)
    return [
        Draft(OpClass.COPY, 0, (), moved(output)),
        Draft(OpClass.LOOKUP, hit[0][1], (*moved(gradient, indices), *hit), hit, phase=Phase.WEIGHT_GRADIENT),
    ]
