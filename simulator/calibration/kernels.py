"""Measured kernels: tables of GEMM and convolution times, as columns that the roofline evaluates at once."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.op.base import Op, Site
from simulator.op.convolution import Convolution
from simulator.op.kernel import Kernel, Phase
from simulator.op.kernels import Columns, FloatArray, pack
from simulator.op.linear import Linear


@dataclass(frozen=True)
class MeasuredKernels:
    """Kernels measured on one device at one precision and batch; `seconds` has shape (kernels,). [s]"""

    device: str
    precision: str
    op: str
    phase: str
    batch: int
    columns: Columns
    seconds: FloatArray


def read_kernels(path: Path) -> list[MeasuredKernels]:
    """Measured kernels of a CSV table, grouped by device, precision, operation, phase and batch."""
    groups: dict[tuple[str, str, str, str, int], list[tuple[Kernel, float]]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            key = (row["device"], row["precision"], row["op"], row["phase"], int(row["batch"] or 1))
            groups.setdefault(key, []).append((_kernel(row), float(row["seconds"])))
    return [
        MeasuredKernels(*key, pack([kernel for kernel, _ in rows]), np.array([seconds for _, seconds in rows]))
        for key, rows in groups.items()
    ]


def _kernel(row: Mapping[str, str]) -> Kernel:
    op: Op
    if row["op"] == "gemm":
        op, shape = Linear(out=int(row["n"]), bias=False), (int(row["m"]), int(row["k"]))
    else:
        sizes = {
            key: int(row[key]) for key in row if key not in ("device", "precision", "op", "phase", "seconds", *"mnk")
        }
        op = Convolution(
            out=sizes["out"],
            kernel=(sizes["kernel_h"], sizes["kernel_w"]),
            stride=(sizes["stride_h"], sizes["stride_w"]),
            padding=(sizes["pad_h"], sizes["pad_w"]),
            bias=False,
        )
        shape = (sizes["channels"], sizes["height"], sizes["width"])  # type: ignore[assignment]
    site = Site((shape,), op.output_shape((shape,)))
    phase = Phase[row["phase"].upper()]
    chosen = op.forward(site) if phase is Phase.FORWARD else op.backward(site)
    return next(kernel for kernel in chosen if kernel.phase is phase)
