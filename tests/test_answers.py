"""Step times of 2,000 questions: moving code moves no answer; `pytest --update-golden` accepts new ones."""

from __future__ import annotations

import csv
from functools import lru_cache
from itertools import product
from pathlib import Path

import pytest

from simulator.device.device import load_device
from simulator.errors import SimulatorError
from simulator.pipeline import Options, simulate
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

FILE = Path(__file__).parent / "golden" / "answers.csv"
WORKLOADS = (
    "lenet5", "alexnet", "vgg16", "resnet50", "mobilenet_v2", "bert_base", "gpt2", "vit_b_16",
)  # fmt: skip
DEVICES = (
    "v100-pcie-16gb", "t4", "a100-sxm4-80gb", "h100-sxm5-80gb", "k80", "p100-sxm2-16gb", "gtx-1080-ti", "rtx-2080-ti",
    "rtx-3090", "rtx-4090", "l4", "b200", "mi100", "mi300x", "max-1550", "tpu-v3", "tpu-v5e", "gaudi2", "m1",
    "jetson-agx-orin-64gb", "cpu-16core", "epyc-7742", "xeon-platinum-8280", "graviton3", "core-i7-12700h",
)  # fmt: skip
ASKED = (
    *product(("fp32", "amp"), ("train", "infer"), ("pytorch", "tensorflow")),
    ("fp16", "infer", "pytorch"),
    ("bf16", "infer", "pytorch"),
)
COLUMNS = [f"{precision} {task} {framework}" for precision, task, framework in ASKED]
TOLERANCE = 1e-9

loaded = lru_cache(load_workload)


def answer(workload: Workload, device: str, asked: tuple[str, str, str]) -> str:
    """The step's time to twelve digits, or the kind of error. [s]"""
    precision, task, framework = asked
    options = Options(precision=precision, task=task, framework=framework, ignore_memory=True)
    try:
        return f"{simulate(workload, load_device(device), options).step.time_s:.12g}"
    except SimulatorError as error:
        return type(error).__name__


def same(found: str, expected: str) -> bool:
    """Equal text, or times within the rounding of another processor's arithmetic."""
    try:
        return float(found) == pytest.approx(float(expected), rel=TOLERANCE)
    except ValueError:
        return found == expected


@lru_cache
def table() -> dict[tuple[str, str], dict[str, str]]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return {(row["workload"], row["device"]): row for row in csv.DictReader(file)}


def test_answers_stand(request: pytest.FixtureRequest) -> None:
    found = {
        (workload, device): [answer(loaded(workload), device, asked) for asked in ASKED]
        for workload, device in product(WORKLOADS, DEVICES)
    }
    if request.config.getoption("--update-golden"):
        with FILE.open("w", encoding="utf-8", newline="") as file:
            rows = [[*key, *values] for key, values in found.items()]
            csv.writer(file, lineterminator="\n").writerows([["workload", "device", *COLUMNS], *rows])
    moved = [
        f"{' '.join(key)} {column}: {before} -> {now}"
        for key, values in found.items()
        for column, now in zip(COLUMNS, values, strict=True)
        if not same(now, before := table()[key][column])
    ]
    assert not moved, f"{len(moved)} of {len(found) * len(ASKED)} moved, such as {moved[:5]}; pytest --update-golden"
