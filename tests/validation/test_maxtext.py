"""MaxText's own performance on slices of TPU v4 and v5p, which nothing was fitted to.

Its pages give FLOP/s a chip, its scripts the sizes, batches and sharding (AI-Hypercomputer/maxtext, `configs/tpu/v4`
and `v5p`, README.md and *.sh); networks of v4 are those of 2023, of which 22 and 52 billion parameters come out. It
counts 6 FLOP a parameter and position, and attention without its mask. "minimal" keeps the results of products. Rows of
several slices, which a data-centre network of unsaid rate joins, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from simulator.device.device import load_device
from simulator.device.link import load_link
from simulator.device.system import cluster
from simulator.parallel.plan import Plan
from simulator.pipeline import Options
from simulator.planned import evaluate
from simulator.workload.reading import read_workload
from simulator.workload.workload import Workload

POSITIONS = 2048
OLD = {"norm": "rms", "gated": False, "activation": "relu", "size": 256}
NEW = {"norm": "rms", "gated": True, "activation": "silu", "size": 128}


@dataclass(frozen=True)
class Row:
    """Sizes (layers, hidden, heads, width), chips, tensor ranks, samples a chip, and what was measured. [FLOP/s]"""

    device: str
    billions: float
    sizes: tuple[int, int, int, int]
    chips: int
    tensor: int
    samples: int
    measured: float


ROWS = (
    Row("tpu-v4", 22, (48, 6144, 24, 24576), 64, 1, 13, 156e12),
    Row("tpu-v4", 52, (32, 12288, 32, 49152), 192, 1, 7, 154e12),
    Row("tpu-v5p", 32, (32, 8192, 64, 28672), 64, 4, 6, 328e12),
    Row("tpu-v5p", 64, (64, 8192, 64, 28672), 64, 4, 3, 323e12),
    Row("tpu-v5p", 128, (64, 8192, 128, 57344), 128, 8, 1, 315e12),
    Row("tpu-v5p", 128, (64, 8192, 128, 57344), 256, 8, 1, 316e12),
    Row("tpu-v5p", 256, (64, 16384, 128, 57344), 512, 8, 1, 308e12),
)


def network(row: Row) -> Workload:
    style: dict[str, Any] = OLD if row.device == "tpu-v4" else NEW
    layers, hidden, heads, width = row.sizes
    content = {
        "name": f"maxtext_{row.billions}b",
        "family": "decoder",
        "depth": layers,
        "hidden": hidden,
        "vocabulary": 32000,
        "heads": {"count": heads, "size": style["size"], "rotary": 1.0},
        "mlp": {"width": width, "activation": style["activation"], "gated": style["gated"]},
        "norm": style["norm"],
        "attention": "fused",
        "input": [POSITIONS],
    }
    return read_workload(content, "maxtext.yaml")


def predicted(row: Row) -> float:
    """What each chip does by MaxText's count. [FLOP/s]"""
    workload, device = network(row), load_device(row.device)
    plan = Plan(
        data=row.chips // row.tensor,
        tensor=row.tensor,
        zero=3,
        recompute="full" if row.device == "tpu-v4" else "selective",
        sequence=row.tensor > 1,
    )
    options = Options(precision="amp", optimizer="adam", framework="jax", ignore_memory=True)
    joined = cluster(row.chips, load_link(row.device.replace("tpu", "ici")))
    batch = row.samples * row.chips
    step = evaluate(workload, device, options, joined, plan, batch).step
    layers, _, heads, _ = row.sizes
    attention = 12 * layers * heads * (256 if row.device == "tpu-v4" else 128) * POSITIONS
    flops = batch * POSITIONS * (6 * workload.parameters + attention)
    return flops / step.time_s / row.chips


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.device}, {row.billions}B, {row.chips}")
def test_networks_have_the_parameters_that_their_names_say(row: Row) -> None:
    assert network(row).parameters == pytest.approx(1e9 * row.billions, rel=0.04)


def test_chips_do_what_their_page_says() -> None:
    errors = {row: predicted(row) / row.measured - 1 for row in ROWS}
    for row, error in errors.items():
        print(f"{row.device} {row.billions}B on {row.chips}: {error:+.1%}")
    assert sum(map(abs, errors.values())) / len(errors) <= 0.035
    assert max(map(abs, errors.values())) <= 0.075
