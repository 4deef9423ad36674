"""What times of a language model's kernels are made of: computing, streaming, rounding, and what follows neither."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.calibration.llm_rows import MeasuredOp
from simulator.device.device import Device
from simulator.errors import UnsupportedError
from simulator.op.kernel import OpClass, Role
from simulator.op.kernels import Columns, FloatArray
from simulator.roofline.setting import Setting
from simulator.roofline.times import parts_seconds
from simulator.serving.called import CallWork, decoding_blocks, product_work
from simulator.serving.calls import BLOCK, WIDE_BYTES
from simulator.serving.formats import get_format
from simulator.serving.network import Attending
from simulator.serving.points import decode_columns, kernel_columns, prefill_columns
from simulator.units import FLOPS_PER_MAC

FORMATS = {"bfloat16": "bf16", "float16": "fp16", "fp8_block": "fp8", "nvfp4": "fp4", "sq": "int8", "int8_wo": "w8a16",
           "int4_wo": "int4"}  # fmt: skip
"""Formats as a table names them -> formats of weights; `sq` is SmoothQuant, 8 bits on both sides."""


def work_of(rows: Sequence[MeasuredOp], device: Device) -> CallWork:
    """What the rows of one group are made of.

    Raises
    ------
    UnsupportedError
        If the group's operation or format has no rule.
    """
    first = rows[0]
    rules = {"gemm": _product, "context_attention": _reading, "generation_attention": _decoding}
    if first.op not in rules:
        raise UnsupportedError(f"no rule for the operation {first.op}")
    return rules[first.op](rows, device)


def _sizes(rows: Sequence[MeasuredOp], *names: str) -> list[FloatArray]:
    try:
        return [np.array([float(row.dims[name]) for row in rows]) for name in names]
    except (KeyError, ValueError) as error:
        raise UnsupportedError(f"{rows[0].op} needs sizes {', '.join(names)}; {error} is none") from None


def _product(rows: Sequence[MeasuredOp], device: Device) -> CallWork:
    """Products of m tokens with n x k weights, with the rounding of activations that the format asks for."""
    form = get_format(FORMATS.get(rows[0].dtype, rows[0].dtype))
    m, n, k = _sizes(rows, "m", "n", "k")
    read = {Role.WEIGHT: form.weight_bytes * n * k, Role.ACTIVATION: m * k}
    flops = FLOPS_PER_MAC * m * n * k
    columns = kernel_columns(OpClass.GEMM, flops, read, {Role.ACTIVATION: m * n}, (m, n, k), np.ones_like(m))
    setting = Setting(device, form.precision)
    return product_work(columns, parts_seconds(columns, setting, 1.0)[0], setting)


def _reading(rows: Sequence[MeasuredOp], device: Device) -> CallWork:
    """Attention of prompts among their own tokens, each row by itself since windows differ."""
    width = 1.0 if rows[0].dtype == "fp8" else WIDE_BYTES
    setting = Setting(device, get_format(FORMATS.get(rows[0].dtype, rows[0].dtype)).cache_precision(width))
    batch, new, past = _sizes(rows, "batch_size", "isl", "step")
    parts = []
    for at, row in enumerate(rows):
        attending, each = attending_of(row), slice(at, at + 1)
        columns = prefill_columns(attending, batch[each], new[each], past[each])
        blocks = batch[each] * attending.heads * np.ceil(new[each] / BLOCK)
        parts.append(_attention(columns, setting, new[each], blocks))
    return _joined(parts)


def _decoding(rows: Sequence[MeasuredOp], device: Device) -> CallWork:
    """Attention of one new token of each request over its cache."""
    width = 1.0 if rows[0].dims.get("kv_cache_dtype") == "fp8" else WIDE_BYTES
    setting = Setting(device, get_format(FORMATS.get(rows[0].dtype, rows[0].dtype)).cache_precision(width))
    batch, past = _sizes(rows, "batch_size", "step")
    parts = []
    for at, row in enumerate(rows):
        attending, seen = attending_of(row), past[at : at + 1] + 1
        seen = seen if attending.span is None else np.minimum(seen, attending.span)
        columns = decode_columns(attending, batch[at : at + 1], seen)
        blocks, lone = decoding_blocks(attending, batch[at : at + 1]), attending.heads == attending.kv_heads
        parts.append(_attention(columns, setting, seen, blocks, lone=lone))
    return _joined(parts)


def _joined(parts: Sequence[CallWork]) -> CallWork:
    names = CallWork.__dataclass_fields__
    return CallWork(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _attention(
    columns: Columns, setting: Setting, depth: FloatArray, blocks: FloatArray, *, lone: bool = False
) -> CallWork:
    (compute_s, moved_bytes), waves = _work(columns, setting), blocks / setting.device.unit_count
    return CallWork(compute_s, moved_bytes, np.zeros_like(depth), depth, waves, np.full(depth.shape, lone))


def _work(columns: Columns, setting: Setting) -> tuple[FloatArray, FloatArray]:
    """Seconds of computing, and bytes that pass the memory."""
    moved = columns.read[Role.WEIGHT, 0] + setting.width * (columns.read + columns.write)[Role.ACTIVATION, 0]
    return parts_seconds(columns, setting, 1.0)[0], moved


def attending_of(row: MeasuredOp) -> Attending:
    """The attention that a row measured; a window of 0 is none, and so many key heads mean as many as heads."""
    names = ("num_heads", "num_key_value_heads", "head_dim", "window_size")
    heads, shared, head, window = (int(size[0]) for size in _sizes([row], *names))
    shared, span = shared or heads, window or None
    return Attending(heads, shared, head, head, shared, head, head, span, span, 2 * shared * head)
