"""`simulate calibrate` without PyTorch: timing, the machine's own description, fitting, the profile, the command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from simulator import Options, load_device, load_workload, simulate
from simulator.calibration.fit import Parameter
from simulator.calibration.machine import bandwidth, gemm, profile
from simulator.calibration.machine.bandwidth import MeasuredBandwidth, held, working_sets
from simulator.calibration.machine.calls import CallCosts
from simulator.calibration.machine.conditions import Conditions, cache_sizes, conditions
from simulator.calibration.machine.fitting import STARTS, LayerProblem, fitted
from simulator.calibration.machine.gemm import Product
from simulator.calibration.machine.layers import LAYERS, Timed, product_call
from simulator.calibration.machine.measure import MeasuredMachine
from simulator.calibration.machine.timing import LEAST, Stopwatch
from simulator.catalog import read_yaml
from simulator.cli import main
from simulator.device.provenance import leaves
from simulator.errors import InputError
from simulator.op.convolution import Convolution
from simulator.op.normalization import BatchNorm

# ---- timing


def watch(durations: list[float], waits: list[float], **changes: Any) -> tuple[Stopwatch, Callable[[], None]]:
    """A stopwatch whose calls take these durations, while they wait for a core so long; the last repeat for ever."""
    state = {"now": 0.0, "waited": 0.0, "call": 0}

    def call() -> None:
        number = min(int(state["call"]), len(durations) - 1)
        state["now"] += durations[number]
        state["waited"] += waits[number]
        state["call"] += 1

    watched = Stopwatch(clock=lambda: state["now"], waited=lambda: state["waited"], **changes)
    return watched, call


def test_the_shortest_call_counts_and_the_first_does_not() -> None:
    stopwatch, call = watch([0.1, 4, 3, 2, 5, 6], [0] * 6)
    assert stopwatch.best(call, 1.0) == pytest.approx(2)
    assert stopwatch.disturbed == [False]


def test_a_call_that_waited_for_a_core_does_not_count() -> None:
    stopwatch, call = watch([9, 1, 3, 3, 3, 3], [0, 0.5, 0, 0, 0, 0])
    assert stopwatch.best(call, 1.0) == pytest.approx(3)


def test_where_all_waited_the_shortest_counts_and_is_marked() -> None:
    stopwatch, call = watch([9, 4, 2, 3], [1] * 4)
    assert stopwatch.best(call, 1.0) == pytest.approx(2)
    assert stopwatch.disturbed_share == 1


def test_repeats_fill_the_budget_and_are_few_after_the_deadline() -> None:
    for changes, expected in (({}, 1 + 99), ({"pace": 0.5}, 1 + 50), ({"deadline": -1.0}, 2)):
        stopwatch, call = watch([0.0099], [0], **changes)
        calls: list[int] = []
        stopwatch.best(lambda call=call, calls=calls: (call(), calls.append(1)), 0.98)  # type: ignore[misc]
        assert len(calls) == expected
    stopwatch, call = watch([5.0], [0])
    slow: list[int] = []
    stopwatch.best(lambda: (call(), slow.append(1)), 0.1)
    assert len(slow) == 1 + LEAST


# ---- the machine's own description


def test_caches_of_threads(tmp_path: Path) -> None:
    levels = (("1", "Data", "48K", "0"), ("1", "Instruction", "32K", "0"), ("2", "Unified", "2048K", "0-1"))
    for number, (level, kind, size, shared) in enumerate((*levels, ("3", "Unified", "32768K", "0-3,8-11"))):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
            (folder / name).write_text(text + "\n", encoding="utf-8")
    # Four threads: four first levels, two second levels shared by pairs, one last level shared by eight.
    assert cache_sizes(4, tmp_path) == {1: 4 * 48 * 2**10, 2: 2 * 2**21, 3: 2**25}
    assert cache_sizes(4, tmp_path / "nowhere") == {}


def test_conditions_of_this_machine() -> None:
    found = conditions(1)
    assert found.threads == 1 <= found.cores
    assert found.memory_bytes > 2**28
    for part in (found.processor, found.system, "numpy", "Python", "load average", found.date[:4]):
        assert part in found.text
    with pytest.raises(InputError, match="--threads must be between 1 and"):
        conditions(10**6)


def test_what_a_shared_last_level_holds() -> None:
    # 80, 40, 36, 18, 16 GB/s: the cache gives 36 at 16 MiB, memory 16; above sqrt(16 x 36) = 24 it still serves.
    rates = [
        MeasuredBandwidth(2**size, speed * 1e9, 0.0)
        for size, speed in ((20, 80), (22, 40), (24, 36), (25, 18), (28, 16))
    ]
    assert held(rates).working_set == 2**24
    assert held([*rates[:3], MeasuredBandwidth(2**25, 30e9, 0), rates[-1]]).working_set == 2**25


def test_the_largest_working_set_is_beyond_the_cache_and_within_memory() -> None:
    here = conditions(1)
    sizes = working_sets(replace(here, caches={3: 100 * 2**20}, memory_bytes=2**40))
    assert sizes == sorted(sizes)
    assert sizes[-1] == 400 * 2**20
    assert working_sets(replace(here, caches={3: 2**30}, memory_bytes=2**31))[-1] == 2**28


# ---- fitting


def conditions_of_round_figures() -> Conditions:
    caches = {1: 2**16, 2: 2**21, 3: 2**25}
    return Conditions("A Processor", 4, 2, caches, True, 2**34, "Linux 6", "numpy 2, torch 2", "2026-01-01", 0.1)


def measured_of_round_figures(*, with_torch: bool = True) -> MeasuredMachine:
    """A machine of 200 GFLOP/s, 20 GB/s, 40 GB/s from its cache."""
    library = "PyTorch" if with_torch else "NumPy"
    products = [
        Product(library, precision, 2, (512, 512, 512), 2 * 512**3 / rate)
        for precision, rate in (("fp32", 200e9), ("fp64", 100e9), ("bf16", 400e9))
        if with_torch or precision != "bf16"
    ]
    rates = (
        MeasuredBandwidth(2**22, 60e9, 50e9),
        MeasuredBandwidth(2**24, 30e9, 40e9),
        MeasuredBandwidth(2**28, 18e9, 20e9),
    )
    costs = CallCosts(1e-6, 7e-6, 15e-6, 25e-6, 100e-6) if with_torch else CallCosts(0.5e-6)
    return MeasuredMachine(
        conditions_of_round_figures(), tuple(products), rates, 2.5e9, costs, (), with_torch, seconds=30.0, disturbed=0.0
    )


TRUTH = {
    "vector_tile": 7.0,
    "convolution": 0.7,
    "weight_gradient": 0.6,
    "depthwise": 0.2,
    "relayout": 1.6,
    "normalization": 0.5,
    "statistics": 0.02,
    "sliding": 0.002,
}


def synthetic(truth: dict[str, float]) -> tuple[Any, list[Timed]]:
    """Calls of all layers whose times are the model's own at these coefficients."""
    measured = measured_of_round_figures()
    device = profile._device(profile._base(measured, "round"))
    device = replace(device, kernel=dict(device.kernel) | {"winograd": 0.0, "cache": 0.5})
    calls = [product_call(sides, 1.0) for sides in gemm.SHAPES]
    for layer in LAYERS:
        phases = ["forward"]
        if isinstance(layer.op, Convolution):
            phases += ["input_gradient", "weight_gradient"]
        elif isinstance(layer.op, BatchNorm):
            phases += ["inference", "gradient"]
        calls += [Timed(layer.name, phase, tuple(layer.kernels(phase)), 1.0) for phase in phases]
    start = {key: value for key, (value, _) in STARTS.items()}
    values = {("machine", key): value for key, value in (start | truth).items()}
    seconds = LayerProblem(device, calls, []).predict(values)
    return device, [replace(call, seconds=float(s)) for call, s in zip(calls, seconds, strict=True)]


def test_the_fit_finds_the_coefficients_that_made_the_times() -> None:
    device, calls = synthetic(TRUTH)
    found, error = fitted(device, calls)
    assert error < 0.03
    assert {key: found[key] for key in TRUTH} == pytest.approx(TRUTH, rel=0.2)


def test_a_few_wild_times_do_not_move_the_fit() -> None:
    device, calls = synthetic(TRUTH)
    wild = [replace(call, seconds=call.seconds * (20 if number % 10 == 0 else 1)) for number, call in enumerate(calls)]
    found, error = fitted(device, wild)
    assert error > 0.05
    assert found["convolution"] == pytest.approx(TRUTH["convolution"], rel=0.25)


def test_the_error_is_that_of_the_fit() -> None:
    device, calls = synthetic(TRUTH)
    problem = LayerProblem(device, calls, [Parameter("machine", "convolution", 0.35, 0.1)])
    truth = {("machine", key): value for key, value in ({k: v for k, (v, _) in STARTS.items()} | TRUTH).items()}
    assert np.abs(problem.errors(truth)).max() < 1e-9
    assert np.abs(problem.errors(truth | {("machine", "convolution"): 0.35})).max() > 0.3


# ---- the profile


@pytest.mark.parametrize("with_torch", [True, False], ids=["torch", "numpy alone"])
def test_the_profile_reads_back_as_measured(tmp_path: Path, with_torch: bool) -> None:
    path = tmp_path / "My Laptop.yaml"
    measured = measured_of_round_figures(with_torch=with_torch)
    if with_torch:
        measured = replace(measured, timed=tuple(synthetic(TRUTH)[1]))
    profile.write_profile(measured, path)
    device = load_device(str(path))
    assert (device.name, device.kind) == ("my-laptop", "cpu")
    assert device.peak["fp32"] == pytest.approx(200e9)
    assert device.memory.bandwidth_byte_per_s == pytest.approx(20e9)
    assert device.cache_speedup == pytest.approx(2)
    assert device.kernel["cache"] == pytest.approx(0.5), "16 of 32 MiB"
    assert device.launch_s == pytest.approx(1e-6 if with_torch else 0.5e-6)
    assert device.calls_s == pytest.approx((7e-6, 15e-6, 15e-6, 25e-6) if with_torch else (0, 0, 0, 0))
    assert ("first_touch" in device.kernel) == with_torch
    assert device.grade(["kernel.convolution"]) == "calibrated"
    assert device.grade(["peak.fp32", "memory.bandwidth", "launch"]) == "measured"
    task = Options(batch=4, task="infer", precision="fp64")
    assert simulate(load_workload("resnet18"), device, task).step.time_s > 0


def test_every_number_of_the_profile_has_one_source_and_the_conditions_stand_in_it(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    profile.write_profile(measured_of_round_figures(), path)
    content = read_yaml(path)
    cited = [of for entry in content["sources"] for of in entry["of"]]
    for leaf in leaves(content):
        assert len([of for of in cited if leaf == of or leaf.startswith(f"{of}.")]) == 1, leaf
    for part in ("A Processor", "2 of 4 cores", "Linux 6", "torch 2", "2026-01-01", "load average 0.10", "0% of the"):
        assert part in content["notes"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("theirs.yaml", "was not made by this command"), ("m.txt", "ends in .yaml"), ("no/m.yaml", "no such folder")],
)
def test_what_is_not_ours_is_not_overwritten(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "theirs.yaml").write_text("name: theirs\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        profile.check_replaceable(tmp_path / name)
    profile.write_profile(measured_of_round_figures(), tmp_path / "ours.yaml")
    profile.check_replaceable(tmp_path / "ours.yaml")


# ---- the command


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small products and working sets, so that measuring takes a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gemm, "SHAPES", ((64, 64, 64), (128, 128, 128)))
    monkeypatch.setattr(gemm, "SQUARE", ((64, 64, 64),))
    monkeypatch.setattr(bandwidth, "LEAST_MEMORY", 2**24)
    monkeypatch.setattr(bandwidth, "MOST_MEMORY", 2**24)
    monkeypatch.setattr(bandwidth, "FRESH_BYTES", 2**20)


@pytest.mark.usefixtures("tiny")
def test_the_command_measures_writes_and_says_what_next() -> None:
    words = ["calibrate", "--quick", "--no-torch", "--threads", "1"]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, answer.output
    for part in ("fp32 product, NumPy", "GFLOP/s", "memory", "GB/s", "my-machine.yaml", "simulate --workload"):
        assert part in answer.stdout
    following = answer.stdout.splitlines()[-1].split("simulate ", 1)[1].split()
    assert CliRunner().invoke(main, [*following, "--batch", "2", "--no-report"]).exit_code == 0
    again = CliRunner().invoke(main, [*words, "--json"])
    assert again.exit_code == 0, "its own file may be replaced"
    assert '"quantity": "memory"' in again.stdout


@pytest.mark.usefixtures("tiny")
def test_errors_come_before_measuring_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "my-machine.yaml").write_text("name: mine\n", encoding="utf-8")
    for words in (["calibrate"], ["calibrate", "--out", "x.yaml", "--threads", "0"]):
        answer = CliRunner().invoke(main, words)
        assert answer.exit_code == 2
        assert len(answer.stderr.splitlines()) == 1
