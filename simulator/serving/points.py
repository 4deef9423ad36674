"""Counts of a step's kernels at points: so many tokens, requests, cached tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from simulator.op.attention import SOFTMAX_FLOPS
from simulator.op.kernel import Engine, OpClass, Phase, Role
from simulator.op.kernels import Columns, FloatArray, at_points
from simulator.serving.network import Attending
from simulator.serving.work import ExpertGroup
from simulator.units import FLOPS_PER_MAC

FEW_ROWS = 8
"""Products of so many rows at most have kernels of their own, which stream the weights past them."""


def expert_columns(group: ExpertGroup, tokens: FloatArray, tile: int | None = None) -> Columns:
    """The two grouped products of a layer of experts, (2 x points,): first products, then second ones.

    tile : rows that a kernel works on at a time, if it has one size alone; see `filled`.

    Of T tokens that choose k of E experts each, E (1 - (1 - k / E)^T) experts have any, if all are equally likely; only
    those are read. Worked example: 8 of 256 for one token, 8 experts; for 64 tokens, 256 (1 - 0.969^64) = 222.
    """
    share = group.count / group.total
    rows = np.maximum(tokens * group.active * share, 1e-9)
    touched = group.count * (1 - (1 - group.active / group.total) ** tokens)
    parts = []
    for depth, columns, width in (
        (group.features, group.first, group.weight_bytes[0]),
        (group.width, group.features, group.weight_bytes[1]),
    ):
        moved = {Role.WEIGHT: width * touched * depth * columns, Role.ACTIVATION: rows * depth}
        each = filled(rows / touched, tile)
        sides = (each, np.full_like(rows, columns), np.full_like(rows, depth))
        written = {Role.ACTIVATION: rows * columns}
        parts.append((OpClass.GEMM, FLOPS_PER_MAC * rows * depth * columns, moved, written, sides, touched))
    return _joined([kernel_columns(*part) for part in parts])


def filled(rows: FloatArray, tile: int | None) -> FloatArray:
    """Rows of an expert's product, at least one, with those that fill its last tile.

    Numbers of rows differ from expert to expert, so that half a tile is empty in the mean, and of a few rows the rest.
    """
    return np.maximum(rows, 1.0) if tile is None else np.maximum(rows + tile / 2, tile)


def filled_to(columns: Columns, rows: FloatArray, tile: int | None) -> Columns:
    """Kernels, of which products of more than a few rows have those of a tile at least."""
    if tile is None:
        return columns
    gemm = columns.gemm.copy()
    gemm[0, 0] = np.where(rows > FEW_ROWS, np.maximum(gemm[0, 0], tile), gemm[0, 0])
    return replace(columns, gemm=gemm)


def weights_of(columns: Columns) -> FloatArray:
    """How many weights products have, of all their groups."""
    result: FloatArray = columns.gemm[1, 0] * columns.gemm[2, 0] * columns.groups
    return result


def decode_columns(attending: Attending, requests: FloatArray, context: FloatArray) -> Columns:
    """Attention of one new token of each request over its cache, (points,)."""
    return at_points(decoding_columns(attending), requests, context_seen(attending, context))


def context_seen(attending: Attending, context: FloatArray) -> FloatArray:
    """Cached tokens that a decoding request's query sees."""
    return context if attending.span is None else np.minimum(context, attending.span)


@lru_cache(maxsize=256)
def decoding_columns(attending: Attending) -> Columns:
    """The same kernel at any number of requests and any context, (1,): counts are affine in both and their product.

    Heads that share keys fill the rows of a tile together. Source: Dao et al., "Flash-Decoding", 2023.
    """
    heads, shared, depth = attending.heads, attending.kv_heads, attending.key_size + attending.value_size
    kept = attending.key_size if attending.cached < shared * depth else depth
    flops = _terms(each_cached=(FLOPS_PER_MAC * depth + SOFTMAX_FLOPS) * heads)
    read = {Role.ACTIVATION: _terms(each=heads * attending.key_size, each_cached=shared * kept)}
    written = {Role.ACTIVATION: _terms(each=heads * attending.value_size)}
    sides = (_terms(each=heads / shared), _terms(cached=1.0), _terms(once=depth))
    return kernel_columns(OpClass.ATTENTION, flops, read, written, sides, np.array([float(shared)]))


def _terms(once: float = 0.0, each: float = 0.0, cached: float = 0.0, each_cached: float = 0.0) -> FloatArray:
    """A count of one kernel by its terms, as `at_batch` takes them, (4, 1)."""
    return np.array([[once], [each], [cached], [each_cached]])


def prefill_columns(attending: Attending, requests: FloatArray, new: FloatArray, past: FloatArray) -> Columns:
    """Causal attention of `new` tokens of each request over `past` cached ones and themselves, (points,)."""
    seen = keys_seen(attending, new, past)
    depth = attending.prefill_key + attending.prefill_value
    sides = (requests * new, seen, np.full_like(new, depth))
    tokens = past + new if attending.span is None else np.minimum(past, attending.span) + new
    own = new * attending.heads * attending.prefill_key + tokens * attending.prefill_kv * depth
    read = {Role.ACTIVATION: requests * own}
    written = {Role.ACTIVATION: requests * new * attending.heads * attending.prefill_value}
    flops = (FLOPS_PER_MAC * depth + SOFTMAX_FLOPS) * requests * new * seen * attending.heads
    return kernel_columns(OpClass.ATTENTION, flops, read, written, sides, np.full_like(new, attending.heads))


def keys_seen(attending: Attending, new: FloatArray, past: FloatArray) -> FloatArray:
    """Keys that a query sees on average: past ones and, of the new, those up to itself; at most the span."""
    if attending.span is None:
        return past + (new + 1) / 2
    growing = np.clip(attending.span - past, 0, new)
    total: FloatArray = growing * past + growing * (growing + 1) / 2 + (new - growing) * attending.span
    return total / np.maximum(new, 1)


def kernel_columns(
    op_class: OpClass,
    flops: FloatArray,
    read: dict[Role, FloatArray],
    written: dict[Role, FloatArray],
    sides: tuple[FloatArray, FloatArray, FloatArray],
    groups: FloatArray,
) -> Columns:
    """Columns of forward kernels on matrix units: counts are worked out, (points,), or terms, (4, kernels)."""
    counted = _as_terms(flops)
    number, zero = counted.shape[-1], np.zeros_like(counted)
    table = {
        name: np.stack([_as_terms(moved[role]) if role in moved else zero for role in Role])
        for name, moved in (("read", read), ("write", written))
    }
    return Columns(
        phase=np.full(number, Phase.FORWARD, dtype=np.int64),
        op_class=np.full(number, op_class, dtype=np.int64),
        engine=np.full(number, Engine.MATRIX, dtype=np.int64),
        flops=counted,
        read=table["read"],
        write=table["write"],
        gemm=np.stack([_as_terms(side) for side in sides]),
        groups=groups,
        window=np.ones((6, number)),
        streamed=zero,
        reuse=np.ones(number),
        last=np.zeros(number, dtype=bool),
    )


def _as_terms(count: FloatArray) -> FloatArray:
    """Counts that are worked out do not depend on the batch any more."""
    return np.stack([count, np.zeros_like(count)]) if count.ndim == 1 else count


def _joined(parts: Sequence[Columns]) -> Columns:
    fields = list(Columns.__dataclass_fields__)
    return Columns(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in fields))


__all__ = [
    "FEW_ROWS",
    "context_seen",
    "decode_columns",
    "decoding_columns",
    "expert_columns",
    "filled_to",
    "kernel_columns",
    "keys_seen",
    "prefill_columns",
    "weights_of",
]
