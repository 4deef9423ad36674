"""How far predictions are off published tables of timm's networks, each traced: needs torch and timm.

    python tests/survey/timm_tables.py TABLE.csv ... [--device NAME] [--narrow-norms]

TABLE is a file of `results/` of huggingface/pytorch-image-models, whose name tells precision, layout, release, compiler
and board (`benchmark-infer-amp-nhwc-pt240-cu124-rtx4090.csv`). One line a network, and the errors at the end. Networks
that the installed timm does not build are passed over.

--narrow-norms : timm's own normalisations in half width, as its `--fast-norm` runs them. Its tables in channels first
on an RTX 3090, 4090 and PRO 6000 are like that: there a ResNet-50 with group normalisation takes 28 to 55 us an image
more than with batch normalisation, on a 5090 190, and in channels last 260 to 300.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import timm
import torch

from simulator.device.device import load_device
from simulator.device.framework import release
from simulator.pipeline import Options, simulate
from simulator.workload.importers.torch import Tracing, from_torch, layers
from simulator.workload.workload import Workload

YEARS = {"110": 2022, "111": 2022, "112": 2022, "113": 2022, "210": 2023}
"""Release -> year of the framework that stands for it; later ones are today's."""
BOARDS = {"pro6000maxq": "rtx-pro-6000-max-q", "4090": "rtx-4090", "5090": "rtx-5090", "rtx3090": "rtx-3090",
          "rtx4090": "rtx-4090", "i9_10940x": "core-i9-10940x", "i7_12700h": "core-i7-12700h"}  # fmt: skip
NORMS = ("native_layer_norm", "native_group_norm")


def main() -> None:
    """Print each network's measured and predicted time, and the errors of each table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--device", default="")
    parser.add_argument("--narrow-norms", action="store_true")
    asked = parser.parse_args()
    for table in asked.tables:
        ratios = list(_ratios(table, asked.device, narrow=asked.narrow_norms))
        error, inside = np.array([ratio for ratio, _ in ratios]) - 1, np.mean([held for _, held in ratios])
        print(f"{table.name}: {len(error)} rows, mean error {np.abs(error).mean():.1%}, median "
              f"{np.median(np.abs(error)):.1%}, bias {error.mean():+.1%}, in the interval {inside:.0%}")  # fmt: skip


def _ratios(table: Path, device: str, *, narrow: bool) -> Iterator[tuple[float, bool]]:
    """Predicted over measured of each row, and whether the interval holds it."""
    precision, layout, number, board = re.findall(r"-(amp|fp32|bf16)-(n\w+)-pt(\d+)-\w+-(.+)", table.stem)[0]
    framework = "pytorch" + ("-compiled" if board.endswith("-dynamo") else "-channels-last" if layout == "nhwc" else "")
    framework = release(framework, YEARS.get(number, 2025))
    on = load_device(device or BOARDS[board.removesuffix("-dynamo").removeprefix("cpu-")])
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            workload = traced(row["model"], int(float(row["infer_img_size"])), narrow=narrow)
            if workload is None:
                continue
            batch, measured_s = int(float(row["infer_batch_size"])), float(row["infer_step_time"]) / 1e3
            options = Options(batch, precision, "infer", framework=framework, ignore_memory=True)
            simulation = simulate(workload, on, options)
            ratio, span = simulation.step.time_s / measured_s, simulation.interval
            print(f"{row['model']:40} {batch:5} {1e3 * measured_s:9.2f} ms, predicted {ratio:.2f} times as long")
            yield ratio, span is not None and span.low <= 1 / ratio <= span.high


def traced(name: str, size: int, *, narrow: bool) -> Workload | None:
    """A network at an image size; None where timm has none of this name."""
    try:
        with torch.device("meta"):
            module = _built(name, size).eval()
    except RuntimeError:
        return None
    image, tracing = torch.zeros(1, 3, size, size, device="meta"), Tracing(name, training=False)
    if not narrow:
        return from_torch(module, image, tracing)
    wide, first = layers.gives_full_width, layers.casts_first

    def fast(call: Any) -> bool:
        own = module.get_submodule(call.module) if call.name in NORMS else None
        return own is not None and hasattr(own, "_fast_norm")

    with (
        patch.object(layers, "gives_full_width", lambda call, computed: not fast(call) and wide(call, computed)),
        patch.object(layers, "casts_first", lambda call: not fast(call) and first(call)),
    ):
        return from_torch(module, image, tracing)


def _built(name: str, size: int) -> Any:
    try:
        return timm.create_model(name, img_size=size)
    except TypeError:
        return timm.create_model(name)


if __name__ == "__main__":
    main()
