"""Measured operations of language models: products and attention one by one, predicted from the same kernels.

A measured call is one or several launches: a product in 8 or 4 bits rounds its input first; attention over a prompt
writes keys and values to the cache before it, and over a cache splits its keys over the units and joins the parts.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from simulator.calibration.served import read_table
from simulator.device.device import Device, load_device
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.op.base import Site, elementwise
from simulator.op.fused_attention import FusedAttention
from simulator.op.kernel import Kernel, OpClass, Phase, Role
from simulator.op.kernels import pack
from simulator.op.linear import Linear
from simulator.precision import get_precision
from simulator.roofline.times import busy_seconds

COLUMNS = ("device", "op", "dtype", "dims", "time_s")
DEVICES = {
    "a100-sxm": "a100-sxm4-80gb", "h100-sxm": "h100-sxm5-80gb", "h200-sxm": "h200", "b200-sxm": "b200",
    "gb200": "gb200", "rtx-pro-6000-server": "rtx-pro-6000-server",
}  # fmt: skip
"""Names of the table -> profiles; others are looked up as they are."""

PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "fp8": "fp8", "fp8_block": "fp8", "nvfp4": "nvfp4", "sq": "int8"}
WEIGHT_ONLY = {"int8_wo": 1.0, "int4_wo": 0.5}
"""Narrow weights under products in bf16 -> bytes of a weight."""


@dataclass(frozen=True, slots=True)
class OpCase:
    """One measured operation and its prediction, or the reason why there is none. [s]"""

    id: str
    device: str
    op: str
    dtype: str
    measured_s: float
    predicted_s: float = math.nan
    reason: str = ""

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1


def is_ops(path: Path) -> bool:
    """Whether a table's heading is that of single operations."""
    heading = read_table(path).partition("\n")[0].split(",")
    return all(column in heading for column in COLUMNS)


def predict_ops(path: Path) -> list[OpCase]:
    """Each row of a table.

    Raises
    ------
    InputError
        Naming the line whose time or sides are malformed.
    """
    reader = csv.DictReader(io.StringIO(read_table(path)))
    return [_case(row, f"{path}: line {reader.line_num}") for row in reader]


def _case(row: Mapping[str, str], where: str) -> OpCase:
    try:
        time_s = float(row["time_s"])
        sides = dict(part.split("=", 1) for part in row["dims"].split(";") if part)
        numbers = {key: int(value) for key, value in sides.items() if value.lstrip("-").isdigit()}
    except (ValueError, TypeError):
        raise InputError(f"{where}: time_s or dims are malformed") from None
    if not 0 < time_s < math.inf:
        raise InputError(f"{where}: time_s must be positive")
    name = row.get("id") or where.rpartition(" ")[2]
    made = OpCase(name, row["device"], row["op"], row["dtype"], time_s)
    try:
        device = _device(row["device"])
        kernels, batch, precision = launches(row["op"], row["dtype"], numbers)
        predicted = seconds(device, kernels, batch, precision)
    except (SimulatorError, KeyError) as error:
        reason = f"its sides lack {error}" if isinstance(error, KeyError) else str(error)
        return OpCase(name, row["device"], row["op"], row["dtype"], time_s, reason=reason)
    return OpCase(made.id, made.device, made.op, made.dtype, time_s, predicted)


@lru_cache(maxsize=64)
def _device(name: str) -> Device:
    return load_device(DEVICES.get(name, name))


def seconds(device: Device, kernels: Sequence[Kernel], batch: int, precision: str) -> float:
    """Launches one after the other, each with its gap. [s]"""
    busy = busy_seconds(pack(list(kernels)), device, float(batch), get_precision(precision))
    return float(busy.sum()) + device.launch_s * len(kernels)


def launches(op: str, dtype: str, sides: Mapping[str, int]) -> tuple[list[Kernel], int, str]:
    """The kernels of one call, its batch, and its precision.

    Raises
    ------
    UnsupportedError
        For an operation or a number format that has no rule.
    """
    if op == "gemm":
        return _product(dtype, sides)
    if op not in ("context_attention", "generation_attention"):
        raise UnsupportedError(f"no rule for the operation {op!r}")
    if dtype not in ("bfloat16", "float16", "fp8"):
        raise UnsupportedError(f"attention in {dtype!r} has no rule")
    return _attention(op, dtype, sides)


def _product(dtype: str, sides: Mapping[str, int]) -> tuple[list[Kernel], int, str]:
    rows, columns, depth = sides["m"], sides["n"], sides["k"]
    (product,) = Linear(out=columns, bias=False).forward(Site(((rows, depth),), (rows, columns)))
    if dtype in WEIGHT_ONLY:
        share = WEIGHT_ONLY[dtype] / 2
        read = tuple(
            (role, n._replace(fixed=n.fixed * share) if role is Role.WEIGHT else n) for role, n in product.read
        )
        return [Kernel(product.op_class, product.phase, product.flops, read, product.write, product.gemm)], 1, "bf16"
    if dtype not in PRECISIONS:
        raise UnsupportedError(f"a product in {dtype!r} has no rule")
    precision = PRECISIONS[dtype]
    if precision in ("bf16", "fp16"):
        return [product], 1, precision
    narrow = get_precision(precision).operand_bytes / get_precision(precision).widths[Role.ACTIVATION]
    size = rows * depth
    rounding = elementwise(Phase.FORWARD, 0, {Role.ACTIVATION: size}, {Role.ACTIVATION: size * narrow})
    largest = elementwise(Phase.FORWARD, size, {Role.ACTIVATION: size}, {Role.ACTIVATION: 1}, OpClass.REDUCTION)
    # One scale for the whole tensor needs its largest value first; blocks find theirs as they are rounded.
    return [largest, rounding, product] if dtype == "fp8" else [rounding, product], 1, precision


def _attention(op: str, dtype: str, sides: Mapping[str, int]) -> tuple[list[Kernel], int, str]:
    """One sequence's kernels, whose batch is that of the call."""
    prompt = op == "context_attention"
    heads, size = sides["num_heads"], sides["head_dim"]
    shared = sides.get("num_key_value_heads") or heads
    queries = sides["isl"] if prompt else 1
    keys = queries + sides.get("step", 0)
    span = sides.get("window_size") or None
    rule = FusedAttention(heads=heads, kv_heads=shared, causal=True, span=span)
    inputs = ((queries, heads * size), (keys, shared * size), (keys, shared * size))
    (attention,) = rule.forward(Site(inputs, (queries, heads * size), training=False))
    new = 2 * queries * shared * size
    cached = elementwise(
        Phase.FORWARD, 0, {Role.ACTIVATION: new + queries * heads * size}, {Role.ACTIVATION: new}, OpClass.COPY
    )
    joined = elementwise(Phase.FORWARD, 0, {Role.ACTIVATION: queries * heads * size}, {Role.ACTIVATION: 1})
    kernels = [cached, attention] if prompt else [cached, attention, joined]
    return kernels, sides["batch_size"], "fp8" if dtype == "fp8" else "bf16"
