"""Einstein's sums: any number of operands, joined two at a time from the left.

Two operands are a product of groups, rows, columns and summed sides, by where their letters stand. A letter that one
operand has alone and nobody needs any more is summed up first, a diagonal is cut out first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from simulator.errors import InputError
from simulator.op.reshape import Cut, Reduce
from simulator.workload.importers.onnx.builder import GraphTensor, LayerPlan, NodeCall, operator, product
from simulator.workload.importers.onnx.movement import copied
from simulator.workload.importers.onnx.product import multiply

_SPARE = "0123456789"
"""Letters for the sides that "..." stands for, the last side "0"."""

Term = tuple[str, GraphTensor]
"""A tensor and the letters of its sides."""


@operator("Einsum")
def einsum(call: NodeCall) -> GraphTensor:
    """The sum of an equation such as "bij,bjk->bik"; without an arrow, of the letters that stand once, in order."""
    written, arrow, output = call.node.text("equation", "").replace(" ", "").partition("->")
    names = written.split(",")
    given = call.given
    if len(names) != len(given):
        raise InputError(f"Einsum {written!r} of {len(given)} tensors")
    terms = [(_letters(name, tensor), tensor) for name, tensor in zip(names, given, strict=True)]
    dots = max((sum(letter in _SPARE for letter in letters) for letters, _ in terms), default=0)
    spare = _SPARE[:dots][::-1]
    target = output.replace("...", spare) if arrow else spare + _once(names)
    if not set(target) <= set("".join(letters for letters, _ in terms)) or len(set(target)) < len(target):
        raise InputError(f"Einsum {written}->{output}: an output side that no input has, or one twice")
    return _contracted(call, terms, target)


def _letters(name: str, tensor: GraphTensor) -> str:
    """The letters of a tensor's sides, "..." written out."""
    head, dots, tail = name.partition("...")
    hidden = len(tensor.shape) - len(head) - len(tail)
    if hidden < 0 or hidden > len(_SPARE) or (hidden and not dots):
        raise InputError(f"Einsum: {name!r} does not name the sides of {list(tensor.shape)}")
    return head + _SPARE[:hidden][::-1] + tail


def _once(names: Iterable[str]) -> str:
    counts = Counter("".join(names).replace(".", ""))
    return "".join(sorted(letter for letter, count in counts.items() if count == 1))


def _contracted(call: NodeCall, terms: list[Term], target: str) -> GraphTensor:
    """All terms in one, its sides in the order of the target."""
    first, *rest = terms
    first = _alone(call, first, set(target).union(*(set(letters) for letters, _ in rest)))
    for number, second in enumerate(rest):
        later = set(target).union(*(set(letters) for letters, _ in rest[number + 1 :]))
        second = _alone(call, second, later | set(first[0]))
        first = _joined(call, _alone(call, first, later | set(second[0])), second, later)
    letters, tensor = first
    shape = tuple(tensor.shape[letters.index(letter)] for letter in target)
    if letters == target or tensor.constant:
        return GraphTensor(shape, tensor.kind, tensor.handle, tensor.stored)
    if len(terms) > 1:  # a product writes its sides in any order
        return call.view(tensor, shape)
    return copied(call, shape)


def _alone(call: NodeCall, term: Term, needed: set[str]) -> Term:
    """A term with its diagonals cut out and what nobody else needs summed up."""
    letters, tensor = term
    unique = "".join(dict.fromkeys(letters))
    sides = [tensor.shape[letters.index(letter)] for letter in unique]
    if unique != letters:
        tensor = _shrunk(call, tensor, tuple(sides), diagonal=True)
    kept = "".join(letter for letter in unique if letter in needed)
    if kept != unique:
        shape = tuple(side for letter, side in zip(unique, sides, strict=True) if letter in needed)
        tensor = _shrunk(call, tensor, shape, diagonal=False)
    return kept, tensor


def _shrunk(call: NodeCall, tensor: GraphTensor, shape: tuple[int, ...], *, diagonal: bool) -> GraphTensor:
    if tensor.constant:
        return GraphTensor(shape, tensor.kind, None, tensor.stored)
    sample = call.builder.sample(shape)
    op = Cut(shape=sample) if diagonal else Reduce(shape=sample)
    return call.add(op, [tensor], LayerPlan(shape, tensor.kind))


def _joined(call: NodeCall, first: Term, second: Term, later: set[str]) -> Term:
    """The product of two terms: groups, rows, columns, as they stand in it."""
    (a, left), (b, right) = first, second
    sides = _sides(first) | {letter: side for letter, side in _sides(second).items() if side > 1 or letter not in a}
    shared = [letter for letter in a if letter in b]
    groups = [letter for letter in shared if letter in later]
    summed = [letter for letter in shared if letter not in later]
    rows, columns = [letter for letter in a if letter not in b], [letter for letter in b if letter not in a]
    size = {
        name: product([sides[letter] for letter in group])
        for name, group in (("rows", rows), ("columns", columns), ("summed", summed))
    }
    head = tuple(sides[letter] for letter in groups)
    one = GraphTensor((*head, size["rows"], size["summed"]), left.kind, left.handle, left.stored)
    two = GraphTensor((*head, size["summed"], size["columns"]), right.kind, right.handle, right.stored)
    result = multiply(call, one, two, left.kind)
    letters = groups + rows + columns
    shape = tuple(sides[letter] for letter in letters)
    return "".join(letters), GraphTensor(shape, result.kind, result.handle, result.stored)


def _sides(term: Term) -> dict[str, int]:
    return dict(zip(term[0], term[1].shape, strict=True))
