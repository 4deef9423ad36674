"""Speed as ratios, which a slow machine does not change: printed, attached to the benchmark, held with generous room.

Each ratio is of medians of interleaved runs. `pytest --benchmark-disable` runs each once; `make bench` measures. The
targets are stated in `TARGETS`; a test fails at `ROOM` times the target, since machines are noisy.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.op.optimizer import OPTIMIZERS
from simulator.pipeline import Options, kernels_of, step_seconds
from simulator.planned import Shares
from simulator.planning.plans import candidates, search
from simulator.serving.engine import load_engine
from simulator.serving.formats import get_format
from simulator.serving.step import Deployment, decoding, step_times
from simulator.workload import lowering
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload

ROOT = Path(__file__).parents[2]
ROOM = 2.0

TARGETS = {
    "json": 1.5,  # whole process against importing what it needs
    "report": 4.0,  # with every picture, against importing matplotlib's figure and numpy
    "senet154": 0.030,  # built and lowered [s]
    "resnet50": 0.010,
    "steps": 1000.0,  # evaluations a second of SENet-154's step, lowered before
    "plans": 523.0,  # a second, on one core: what Calculon's search does at its fastest
    "play": 2.0,  # times faster: a search that plays what may win against one that plays all that fits
    "points": 1e5,  # steps of serving a second, each of so many requests with so many cached tokens
    "broadcast": 2.0,  # times faster: a hundred batch sizes at once against one by one
}

CLUSTER = "dgx-a100-80gb", 128
RUN = "from simulator.cli import start; start()"
IMPORTS = "import numpy, yaml, msgspec, click"
FIGURE = "import matplotlib.figure, numpy"

STEPS = [f"{0.5 + 0.1 * place:g}x" for place in range(32)]
"""Of a device's number, half to more than three times."""

Benchmark = Any


def rounds(benchmark: Benchmark) -> int:
    """Several when measuring, one when only looking whether it runs."""
    return 9 if benchmark.enabled else 1


def processor_s() -> float:
    """Processor time of this process and of the finished ones that it started, which other load hardly changes. [s]"""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def seconds(function: Callable[[], object]) -> float:
    begun = processor_s()
    function()
    return processor_s() - begun


def medians(count: int, *functions: Callable[[], object]) -> list[float]:
    """Median time of each, run in turns so that a slow moment hits all alike. [s]"""
    turns = [[seconds(function) for function in functions] for _ in range(count)]
    return [statistics.median(column) for column in zip(*turns, strict=True)]


def process(folder: Path, code: str, *arguments: str) -> Callable[[], object]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}

    def run() -> object:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=120)

    return run


def record(benchmark: Benchmark, name: str, found: float, *, higher_is_better: bool = False) -> None:
    """Print and attach a figure with its target; fail far from it."""
    target = TARGETS[name]
    benchmark.extra_info.update({name: found, "target": target})
    print(f"{name}: {found:.4g} (target {target:g})")
    if benchmark.enabled:
        assert found >= target / ROOM if higher_is_better else found <= target * ROOM


def against(benchmark: Benchmark, name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    if benchmark.enabled:
        ours()  # bytecode is compiled once
        theirs()
    found, reference = medians(rounds(benchmark), ours, theirs)
    benchmark.pedantic(ours if benchmark.enabled else theirs, rounds=1, iterations=1)
    record(benchmark, name, found / max(reference, 1e-3))


def test_main_job_against_its_imports(benchmark: Benchmark, tmp_path: Path) -> None:
    arguments = ["--workload", "senet", "--device", "v100", "--epochs", "100", "--json", "--no-report"]
    against(benchmark, "json", process(tmp_path, RUN, *arguments), process(tmp_path, IMPORTS))


def test_main_job_with_its_report(benchmark: Benchmark, tmp_path: Path) -> None:
    if not (ROOT / "simulator" / "report" / "write.py").is_file():
        pytest.skip("no report is written yet")
    arguments = ["--workload", "senet", "--device", "v100", "--epochs", "100"]
    against(benchmark, "report", process(tmp_path, RUN, *arguments), process(tmp_path, FIGURE))


def forget() -> None:
    """Empty every cache of the lowering, as in a fresh process."""
    for name in dir(lowering):
        cached = getattr(lowering, name)
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.mark.parametrize("name", ["senet154", "resnet50"])
def test_build_and_lower(benchmark: Benchmark, name: str) -> None:
    def build() -> None:
        forget()
        lower(load_workload(name), optimizer=OPTIMIZERS["sgd"])

    build()
    (found,) = medians(rounds(benchmark), build)
    benchmark.pedantic(build, rounds=1, iterations=1)
    record(benchmark, name, found)


def test_steps_a_second(benchmark: Benchmark) -> None:
    workload, device, options = load_workload("senet154"), load_device("v100"), Options()
    kernels_of(workload, options)
    batch = np.array([32.0])
    count = 200 if benchmark.enabled else 1

    def evaluate() -> None:
        for _ in range(count):
            step_seconds(workload, device, batch, options)

    evaluate()
    (found,) = medians(rounds(benchmark), evaluate)
    benchmark.pedantic(evaluate, rounds=1, iterations=1)
    record(benchmark, "steps", count / max(found, 1e-6), higher_is_better=True)


def test_plans_a_second(benchmark: Benchmark) -> None:
    """Calculon's search evaluates 71 to 523 plans a second (its commit caa4b11, one core)."""
    workload, device, cluster = load_workload("gpt3_175b"), load_device("a100-sxm4-80gb"), cluster_of_system(*CLUSTER)
    options = Options(precision="amp", optimizer="adam", framework="megatron")
    counts = []

    def searched() -> None:
        counts.append(search(workload, device, options, cluster, 2048).tried)

    def played() -> None:
        shares = Shares(workload, device, options, cluster)
        for plan in filter(lambda plan: shares.fits(plan, 2048), candidates(workload, cluster, 2048)):
            shares.evaluate(plan, 2048)

    searched()
    fast, slow = medians(rounds(benchmark), searched, played)
    benchmark.pedantic(searched, rounds=1, iterations=1)
    record(benchmark, "plans", counts[0] / max(fast, 1e-6), higher_is_better=True)
    record(benchmark, "play", slow / max(fast, 1e-6), higher_is_better=True)


def test_points_of_serving_a_second(benchmark: Benchmark) -> None:
    device = load_device("h100")
    engine = load_engine("vllm", device.profile.family)
    deployment = Deployment(load_workload("llama3_70b"), device, engine, get_format("fp8"), 4)
    requests, cached = np.meshgrid(np.arange(1.0, 129.0), 100.0 * np.arange(1, 392))
    load = decoding(requests.ravel(), cached.ravel())
    step_times(deployment, decoding(1, 1))
    found = load.requests.size / medians(rounds(benchmark), lambda: step_times(deployment, load))[0]
    record(benchmark, "points", found, higher_is_better=True)
    benchmark.pedantic(lambda: step_times(deployment, load), rounds=rounds(benchmark))


def test_a_hundred_batch_sizes_at_once(benchmark: Benchmark) -> None:
    workload, device, options = load_workload("resnet50"), load_device("v100"), Options(fidelity="roofline")
    sizes = np.arange(1.0, 101.0)

    def together() -> None:
        step_seconds(workload, device, sizes, options)

    def one_by_one() -> None:
        for size in sizes:
            step_seconds(workload, device, np.array([size]), options)

    together()
    fast, slow = medians(rounds(benchmark), together, one_by_one)
    benchmark.pedantic(together, rounds=1, iterations=1)
    record(benchmark, "broadcast", slow / max(fast, 1e-6), higher_is_better=True)


def test_the_closed_form_beats_the_best_plain_kernel(benchmark: Benchmark) -> None:
    """Bandwidth times peak of ResNet-50: prefix sums against max(FLOPs / peak, bytes / bandwidth), in cache."""
    from simulator.planning.grid import ClosedForm, closed_form, grid

    form = closed_form(load_workload("resnet50"), load_device("v100"), Options(fidelity="roofline", batch=32))
    side = 600 if benchmark.enabled else 60
    bandwidth, peak = np.linspace(2e11, 4e12, side), np.linspace(5e12, 1e14, side)

    def plain() -> float:
        parts = [form.matrix, form.vector]
        flops = np.concatenate([-np.diff(part.flops_above) for part in parts])
        moved = np.concatenate([np.diff(part.bytes_below) for part in parts])
        return sum(float(np.maximum(flops / peak[:, None], moved / one).sum()) for one in bandwidth.tolist())

    def closed(made: ClosedForm = form) -> float:
        return sum(float(row.sum()) for row in grid(made, bandwidth, (peak, peak)))

    assert closed() == pytest.approx(plain(), rel=1e-9)
    ours, theirs = medians(3 if benchmark.enabled else 1, closed, plain)
    benchmark.extra_info |= {"configurations_per_s": side * side / ours, "times_plain": theirs / ours}
    print(f"{side * side / ours / 1e6:.1f} million configurations a second, {theirs / ours:.1f} times the plain kernel")
    benchmark(closed)
    if benchmark.enabled:
        assert theirs / ours > 5


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("batches", {"batch": range(1, 3001)}),
        ("units", {"batch": range(17, 37), "set": {"units.count": [str(count) for count in range(40, 140)]}}),
        (
            "runs",
            {
                "batch": 32,
                "set": {"memory.bandwidth": STEPS, "launch": STEPS},
                "devices": [1, 2, 4, 8],
                "epochs": range(10, 100, 10),
                "price": [0.5 * n for n in range(1, 21)],
            },
        ),
    ],
)
def test_calibrated_sweeps_against_one_step_after_another(
    benchmark: Benchmark, name: str, axes: dict[str, Any]
) -> None:
    """Rows a second of a whole table, labels and interval too, on one core, beside single steps in the same run."""
    from simulator.planning.sweep import sweep

    if not benchmark.enabled:
        axes = {key: [*each][:2] if isinstance(each, range) else each for key, each in axes.items()}
        axes = axes | ({"set": {key: values[:2] for key, values in axes["set"].items()}} if "set" in axes else {})
    workload, device, options = load_workload("resnet50"), load_device("v100-sxm2-16gb"), Options()
    rows = len(sweep("resnet50", "v100-sxm2-16gb", **axes))

    def one_by_one() -> None:
        for size in range(10):
            step_seconds(workload, device, np.array([32.0 + size]), options)

    ours, theirs = medians(
        3 if benchmark.enabled else 1, lambda: sweep("resnet50", "v100-sxm2-16gb", **axes), one_by_one
    )
    found, alone = rows / max(ours, 1e-6), 10 / max(theirs, 1e-6)
    benchmark.extra_info |= {"rows_per_s": found, "times_single_steps": found / alone}
    print(f"{name}: {found:,.0f} rows a second on one core, {found / alone:.1f} times single steps")
    benchmark.pedantic(lambda: None, rounds=1, iterations=1)
    if benchmark.enabled:
        assert found > 4 * alone
