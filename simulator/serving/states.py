"""Layers that keep a state of fixed size of each request: what a step of serving computes and moves for them.

A decoding request reads and writes its state once, however long its context is; a prompt is scanned in chunks behind
the state that its earlier pieces left. States are kept in the width of activations, as vLLM keeps them unless told
otherwise (`mamba_ssm_cache_dtype` auto), whatever the format of the cache.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from simulator.op.kernel import Engine, Role
from simulator.op.kernels import Columns, FloatArray, at_points
from simulator.op.mixer import Mixer, MixerKernel, MixerProduct, extent
from simulator.serving.formats import Format
from simulator.serving.network import Generator
from simulator.serving.points import kernel_columns


def state_bytes(generator: Generator, form: Format) -> float:
    """Bytes of the states that a request has on one device, of all its layers. [byte]"""
    return sum(mixer.state_values for mixer in generator.mixing) * form.activation_bytes


def stepping_columns(mixer: Mixer, requests: FloatArray, form: Format) -> list[Columns]:
    """Kernels of one position of each request, (points,) each: nothing in them follows the context."""
    return [at_points(columns, requests) for columns in stepping_kernels(mixer, form)]


@lru_cache(maxsize=256)
def stepping_kernels(mixer: Mixer, form: Format) -> tuple[Columns, ...]:
    """The same kernels at any number of requests, (1,) each: counts are affine in them."""
    fixed, of_each = np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]])
    return tuple(_columns(piece, (fixed, of_each), form) for piece in mixer.step())


def reading_columns(mixer: Mixer, prompts: FloatArray, new: FloatArray, form: Format) -> list[Columns]:
    """Kernels of `new` positions of each prompt, (points,) each."""
    run = extent(np.maximum(new, 1.0), mixer.chunk)
    counts = np.ones_like(prompts), prompts
    return [_columns(piece, counts, form) for piece in mixer.pieces(run, training=False)]


def _columns(piece: MixerKernel, counts: tuple[FloatArray, FloatArray], form: Format) -> Columns:
    """A kernel for several requests together, its parameters read once.

    counts : one, and the requests; numbers at points, (points,), or their terms, (2, 1).
    """
    once, requests = counts
    read = {role: requests * count for role, count in piece.read.items()}
    written = {role: requests * count for role, count in piece.write.items()}
    read[Role.WEIGHT] = once * (piece.weights * form.small_bytes)
    view = piece.product or MixerProduct(0, 0.0, 0.0, 0.0)
    sides = (requests * view.m, once * view.n, once * view.k)
    groups = np.full(once.shape[-1], float(view.groups))
    columns = kernel_columns(piece.op_class, requests * piece.all_flops, read, written, sides, groups)
    return columns if piece.product else replace(columns, engine=np.full_like(columns.engine, Engine.VECTOR))
