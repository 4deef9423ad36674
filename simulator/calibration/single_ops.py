"""Operations of a framework or a library that were timed one by one: products, GELU, softmax and layer norm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.calibration.tables import read_rows
from simulator.device.device import Device
from simulator.op.base import Site, elementwise
from simulator.op.kernel import Kernel, OpClass, Phase, Role
from simulator.op.kernels import FloatArray, pack
from simulator.op.linear import Linear
from simulator.precision import get_precision
from simulator.roofline.setting import Setting
from simulator.roofline.times import busy_seconds

COLUMNS = ("device", "op", "precision", "m", "n", "k", "time_s", "source")

PASSES = {"gelu": OpClass.ELEMENTWISE, "softmax": OpClass.SOFTMAX, "layer_norm": OpClass.NORMALIZATION}
"""Operations that read and write each value once -> class of their kernel; "product" is the other."""

PASS_FLOPS = 8
"""FLOP a value: a pass waits for memory whatever it computes."""


@dataclass(frozen=True)
class SingleOp:
    """One timed operation, m x n values or a product of m x k with k x n. [s]"""

    device: str
    op: str
    precision: str
    sides: tuple[int, int, int]
    time_s: float
    source: str

    @property
    def kernel(self) -> Kernel:
        """What the device does for it."""
        m, n, k = self.sides
        if self.op == "product":
            linear = Linear(out=n, bias=False)
            return linear.forward(Site(((m, k),), linear.output_shape(((m, k),))))[0]
        through = {Role.ACTIVATION: float(m * n)}
        return elementwise(Phase.FORWARD, PASS_FLOPS * m * n, through, through, PASSES[self.op])


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
        )
        for _, row in read_rows(path, COLUMNS)
    ]


@dataclass(frozen=True)
class TimedOps:
    """Rows of one device and number format, whose kernels are worked out together."""

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
    """Rows by device and number format."""
    found: dict[tuple[str, str], list[SingleOp]] = {}
    for row in rows:
        found.setdefault((row.device, row.precision), []).append(row)
    return [TimedOps(group) for group in found.values()]
