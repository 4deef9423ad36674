"""Operations of a framework or a library that were timed one by one: products, GELU, softmax and layer norm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.calibration.tables import read_rows
from simulator.device.device import Device
from simulator.op.attention import product
from simulator.op.base import Site, elementwise
from simulator.op.kernel import Kernel, OpClass, Phase, Role
from simulator.op.kernels import FloatArray, pack
from simulator.op.linear import Linear
from simulator.precision import get_precision
from simulator.roofline.setting import Setting
from simulator.roofline.times import busy_seconds

KERNELS = {"softmax_gradient": 2}
"""Kernels of an operation that is not one: the gradient's product with the result, and the one that sums its rows."""

COLUMNS = ("device", "op", "precision", "m", "n", "k", "groups", "time_s", "source")

PASSES = {"gelu": OpClass.ELEMENTWISE, "softmax": OpClass.SOFTMAX, "layer_norm": OpClass.NORMALIZATION}
"""Operations that read and write each value once -> class of their kernel."""

MOVED: Mapping[str, tuple[Phase, OpClass, tuple[Role, ...], tuple[Role, ...]]] = {
    "softmax_gradient": (Phase.INPUT_GRADIENT, OpClass.SOFTMAX, (Role.ACTIVATION, Role.GRADIENT), (Role.GRADIENT,)),
    "dropout": (Phase.FORWARD, OpClass.ELEMENTWISE, (Role.ACTIVATION,), (Role.ACTIVATION, Role.MASK)),
    "dropout_gradient": (Phase.INPUT_GRADIENT, OpClass.ELEMENTWISE, (Role.GRADIENT, Role.MASK), (Role.GRADIENT,)),
}
"""Others -> phase and class of their kernel, and what it reads and writes; "product" is the last."""

PASS_FLOPS = 8
"""FLOP a value: a pass waits for memory whatever it computes."""


@dataclass(frozen=True)
class SingleOp:
    """One timed operation, m x n values or `groups` products of m x k with k x n. [s]"""

    device: str
    op: str
    precision: str
    sides: tuple[int, int, int]
    time_s: float
    source: str
    groups: int = 1

    @property
    def kernel(self) -> Kernel:
        """What the device does for it."""
        m, n, k = self.sides
        if self.op == "product":
            return self._products() if self.groups > 1 else _linear(m, n, k)
        once = (Phase.FORWARD, PASSES.get(self.op, OpClass.ELEMENTWISE), (Role.ACTIVATION,), (Role.ACTIVATION,))
        phase, op_class, read, write = MOVED.get(self.op, once)
        values = float(m * n) * KERNELS.get(self.op, 1)
        reads, writes = (dict.fromkeys(roles, values) for roles in (read, write))
        return elementwise(phase, PASS_FLOPS * m * n, reads, writes, op_class, n)

    def _products(self) -> Kernel:
        """Products of pairs of activations, issued at once."""
        m, n, k = self.sides
        inputs, outputs = self.groups * (m * k + k * n), self.groups * m * n
        return product(Phase.FORWARD, self.groups, self.sides, {Role.ACTIVATION: inputs}, {Role.ACTIVATION: outputs})


def _linear(rows: int, out: int, depth: int) -> Kernel:
    """The product of activations with weights."""
    layer = Linear(out=out, bias=False)
    return layer.forward(Site(((rows, depth),), layer.output_shape(((rows, depth),))))[0]


def read_single_ops(path: Path) -> list[SingleOp]:
    """The rows of a table; an `InputError` where a column is missing."""
    return [
        SingleOp(
            str(row["device"]),
            str(row["op"]),
            str(row["precision"]),
            (int(str(row["m"])), int(str(row["n"])), int(str(row["k"]))),
            float(str(row["time_s"])),
            str(row["source"]),
            int(str(row["groups"])),
        )
        for _, row in read_rows(path, COLUMNS)
    ]


@dataclass(frozen=True)
class TimedOps:
    """Rows of one device, number format and source, whose kernels are worked out together."""

    rows: Sequence[SingleOp]

    @property
    def measured_s(self) -> FloatArray:
        """Their times, (rows,). [s]"""
        return np.array([row.time_s for row in self.rows])

    def kernel_seconds(self, device: Device) -> FloatArray:
        """Predicted times of their kernels alone, (rows,). [s]"""
        setting = Setting(device, get_precision(self.rows[0].precision))
        return busy_seconds(pack([row.kernel for row in self.rows]), setting, 1.0)


def together(rows: Iterable[SingleOp]) -> list[TimedOps]:
    """Rows by device, number format and source."""
    found: dict[tuple[str, str, str], list[SingleOp]] = {}
    for row in rows:
        found.setdefault((row.device, row.precision, row.source), []).append(row)
    return [TimedOps(group) for group in found.values()]
