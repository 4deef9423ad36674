"""Kernels of one kind on a device, before an engine's rates are put on them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulator.op.kernels import BoolArray, FloatArray, IntArray
from simulator.roofline.times import Bound, Times
from simulator.serving.called import CallTimes
from simulator.serving.load import Load
from simulator.serving.network import Attending
from simulator.serving.points import context_seen, keys_seen


@dataclass(frozen=True)
class LoweredGroup:
    """Kernels of one kind, (kernels, distinct points) each.

    Attributes
    ----------
    compute_s, memory_s : on the device, calibrated. [s]
    lanes_s : of computing on vector lanes, without tiles that rows would have to fill. [s]
    unpack_s : of widening narrow weights in memory first, where that is done apart. [s]
    product, few : products of weights, (kernels, 1), and those of few rows.
    number : launches of each in a step, (kernels, 1).
    place : which distinct point each of the step's points is, (points,).
    called : kernels whose times are those of a library's calls, with what such a call takes `beside_s` both. [s]
    rate : at which the calls compute, of the device's.
    mixture, grouped : whether they are products of experts, and whether beside calls.
    cache : whether they are attention; `reading` whether over prompts.
    sharing : heads of queries that share a head of keys.
    sparse : experts to each of which few rows come; `alone` how often a kernel without tiles reads each.
    experts : that have rows, where more come than kernels of few rows take; else 1. `fill` rows with those that fill
        their tiles, over rows.
    pairs : of a query and a key before it or in the same piece, of all heads; `seen` the share that is computed where
        attention is one kernel, which skips what lies behind a query. `new` tokens a prompt, `keys_bytes` of all keys.
    """

    compute_s: FloatArray
    memory_s: FloatArray
    lanes_s: FloatArray
    unpack_s: FloatArray
    flops: FloatArray
    traffic_bytes: FloatArray
    product: BoolArray
    few: BoolArray
    number: FloatArray
    place: IntArray
    called: BoolArray
    beside_s: FloatArray
    rate: float = 1.0
    grouped: bool = False
    mixture: bool = False
    cache: bool = False
    reading: bool = False
    sharing: int = 1
    sparse: BoolArray | bool = False
    alone: FloatArray | float = 1.0
    experts: FloatArray | float = 1.0
    fill: FloatArray | float = 1.0
    new: FloatArray | float = 1.0
    keys_bytes: FloatArray | float = 0.0
    pairs: FloatArray | float = 0.0
    seen: FloatArray | float = 1.0


PRICED = ("compute_s", "memory_s", "lanes_s", "unpack_s", "flops", "traffic_bytes", "product", "few", "called",
          "beside_s")  # fmt: skip
"""Of a group: what each kernel has at each point."""


def never_called(times: Times) -> CallTimes:
    """Of kernels that are no calls."""
    none = np.zeros_like(times.flops)
    return CallTimes(none, none, none)


def attention_group(
    times: Times, present: BoolArray, layers: float, own: CallTimes | None = None, *, reading: bool
) -> LoweredGroup:
    """One attention of as many layers, at points where there is any; `own` where it is a library's call."""
    none, never = np.zeros((1, len(present))), np.zeros((1, len(present)), dtype=bool)
    timed = own or replace(
        never_called(times), compute_s=times.seconds[Bound.COMPUTE], memory_s=times.seconds[Bound.MEMORY]
    )
    return LoweredGroup(
        compute_s=np.where(present, timed.compute_s, 0.0)[None],
        memory_s=np.where(present, timed.memory_s, 0.0)[None],
        lanes_s=none,
        unpack_s=none,
        flops=np.where(present, times.flops, 0.0)[None],
        traffic_bytes=np.where(present, times.traffic_bytes, 0.0)[None],
        product=never,
        few=never,
        number=np.full((1, 1), layers),
        place=np.arange(len(present)),
        called=~never if own else never,
        beside_s=np.where(present, timed.beside_s, 0.0)[None],
        cache=True,
        reading=reading,
    )


def with_pairs(group: LoweredGroup, attending: Attending, load: Load, cache_bytes: float) -> LoweredGroup:
    """Attention with its pairs of queries and keys, and the share of them that a kernel which skips computes.

    Worked example: a piece of 512 queries behind nothing has 512 x 512 pairs a head, of which 512 x 513 / 2 are seen.
    """
    if not group.reading:
        return replace(group, pairs=load.decoding * context_seen(attending, load.context) * attending.heads)
    tokens, kept = load.past + load.new, attending.kept
    keys = tokens if kept is None else np.minimum(tokens, kept + load.new)
    each_bytes = attending.prefill_kv * (attending.prefill_key + attending.prefill_value) * cache_bytes
    return replace(
        group,
        pairs=load.prompts * load.new * keys * attending.heads,
        seen=keys_seen(attending, load.new, load.past) / np.maximum(keys, 1.0),
        new=load.new,
        keys_bytes=load.prompts * keys * each_bytes,
    )


__all__ = ["PRICED", "LoweredGroup", "attention_group", "never_called", "with_pairs"]
