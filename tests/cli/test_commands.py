"""Every command: its help, its lists, what it imports, where it is documented."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator import catalog
from simulator.cli import COMMANDS, EXAMPLES, main
from simulator.cli.options import _RUN_OPTIONS, run_options
from simulator.device.device import FOLDER as DEVICES
from simulator.device.memory import MEMORIES
from simulator.workload.dataset import FOLDER as DATASETS

ROOT = Path(__file__).parents[2]

Simulate = Callable[..., Any]


def test_help_comes_without_arguments(simulate: Simulate) -> None:
    alone, asked = simulate(), simulate("--help")
    assert alone.code == asked.code == 0
    assert alone.stdout.strip() == asked.stdout.strip()
    for name in COMMANDS:
        assert name in asked.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(simulate: Simulate, name: str) -> None:
    answer = simulate(name, "--help")
    assert answer.code == 0
    assert "Usage: simulate" in answer.stdout


def test_every_option_has_help() -> None:
    assert run_options is not None
    assert len(_RUN_OPTIONS) > 10
    assert [option.name for option in main.params if not getattr(option, "help", None)] == []


def test_version(simulate: Simulate) -> None:
    from simulator import __version__

    try:
        answer = simulate("--version")
    except RuntimeError:
        pytest.skip("not installed")
    if answer.code == 0:
        assert answer.stdout.strip() == __version__


def test_workloads_lists_all(simulate: Simulate) -> None:
    text, document = simulate("workloads").stdout, simulate("workloads", "--json").json()
    assert [row["name"] for row in document["workloads"]] == catalog.names("workloads")
    assert [row["name"] for row in document["datasets"]] == catalog.names(DATASETS)
    for name in [*catalog.names("workloads"), *catalog.names(DATASETS)]:
        assert name in text


def test_devices_lists_all(simulate: Simulate) -> None:
    text, document = simulate("devices").stdout, simulate("devices", "--json").json()
    listed = {row["name"] for rows in document.values() for row in rows}
    assert listed == {*catalog.names(DEVICES), *catalog.names(MEMORIES)}
    for name in listed:
        assert name in text


def test_one_device_with_its_sources(simulate: Simulate) -> None:
    (rows,) = simulate("devices", "v100", "--json").json().values()
    by_value = {row["value"]: row for row in rows}
    assert by_value["peak.fp32"]["is"] == "14 TFLOP/s"
    assert by_value["peak.fp32"]["grade"] == "datasheet"
    assert all(row["grade"] and row["source"] for row in rows)
    assert "14 TFLOP/s" in simulate("devices", "v100").stdout


@pytest.mark.parametrize("kind", ["device", "workload", "system", "link", "storage", "loader"])
def test_schema(simulate: Simulate, kind: str) -> None:
    document = simulate("schema", kind).json()
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "properties" in document or "oneOf" in document or "$ref" in document


PROBE = """
import sys
from simulator.cli import main
try:
    main()
except SystemExit:
    pass
print("numpy" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["devices"], ["devices", "v100"], ["workloads"], ["layers", "--help"]], ids=" ".join
)
def test_a_cold_start_imports_no_numpy(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout
    assert done.stderr.strip() == "False"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = [page.read_text(encoding="utf-8") for page in pages if page.is_file()]
    assert any(f"simulate {command}" in text for text in texts)


@pytest.mark.parametrize("option", sorted(option for param in main.params for option in param.opts if option != "-h"))
def test_every_option_is_documented(option: str) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert any(option in page.read_text(encoding="utf-8") for page in pages if page.is_file())


def test_the_help_page_shows_its_examples_a_line_each(simulate: Simulate) -> None:
    lines = simulate("--help").stdout.splitlines()
    assert not [line for line in lines if "\\b" in line]
    for example in EXAMPLES:
        assert f"  {example}" in lines


def test_a_runs_bill_is_asked_for(simulate: Simulate) -> None:
    words = ("--workload", "resnet50", "--device", "a100-sxm4-80gb", "--epochs", "90", "--no-report")
    assert simulate(*words, "--json").json()["bill"] is None
    text = " ".join(simulate(*words, "--mtbf", "50000h", "--pue", "1.2", "--carbon", "350").stdout.split())
    assert "failures expected" in text
    assert "price of 2026-11-09, an eighth of AWS p4de.24xlarge); energy 24" in text
    assert "kWh (with 80% probability" in text
    assert "W a device, without what its computer draws beside; at most" in text
    assert "an epoch costs" in text
    assert "kg of carbon dioxide" in text
    bill = simulate(*words, "--price", "2", "--json").json()["bill"]
    assert bill["cost_usd"] == pytest.approx(2 * bill["time_s"] / 3600)
    assert bill["interrupted"] is None
    assert "give --mtbf" in simulate(*words, "--checkpoint", "30s").stderr
    assert "--pue" in simulate(*words, "--pue", "0.5").stderr


def test_a_pattern_compares_all_devices_that_match(simulate: Simulate) -> None:
    answer = simulate("--workload", "lenet5", "--device", "v100*", "--device", "t4", "--json", "--no-report").json()
    names = [answer["device"]["name"], *(one["device"]["name"] for one in answer["others"])]
    expected = [name for name in catalog.names("hardware_profiles/devices") if name.startswith("v100")]
    assert names == [*expected, "t4"]
    assert "unknown device" in simulate("--workload", "lenet5", "--device", "zz*").stderr


def test_the_largest_batch_fills_the_memory(simulate: Simulate) -> None:
    words = ("--workload", "resnet50", "--device", "t4", "--no-report")
    answer = simulate(*words, "--batch", "max", "--json").json()
    largest = answer["options"]["batch"]
    assert largest == answer["memory"]["largest_batch"] > 16
    assert simulate(*words, "--batch", str(largest + 1)).code == 2
    plan = ("--devices", "2", "--link", "pcie3", "--parallel", "dp=2")
    shared = simulate(*words, "--batch", "max", *plan, "--json").json()
    assert shared["options"]["global_batch"] == pytest.approx(2 * largest, rel=0.1)
    assert simulate(*words, "--batch", str(shared["options"]["microbatch"] + 1), *plan).code == 2
    assert "of inference" in simulate(*words, "--batch", "1:64:x2", *plan).stderr
    both = simulate(*words, "--device", "a100-pcie-40gb", "--batch", "max", "--json").json()
    assert both["others"][0]["step"]["batch"] > both["step"]["batch"] == largest
    assert "'max'" in simulate(*words, "--batch", "most").stderr


def test_the_largest_micro_batch_fills_the_fullest_stage(simulate: Simulate) -> None:
    words = ("--workload", "llama2_7b", "--attention", "fused", "--device", "a100-sxm4-80gb", "--devices", "4")
    words += ("--link", "nvlink3", "--parallel", "tp=2,pp=2", "--precision", "bf16", "--optimizer", "adam")
    words += ("--no-report", "--batch", "96")
    largest = simulate(*words, "--microbatch", "max", "--json").json()["options"]["microbatch"]
    assert 1 < largest < 96
    assert 96 % largest == 0
    following = min(size for size in range(largest + 1, 97) if 96 % size == 0)
    assert simulate(*words, "--microbatch", str(following)).code == 2
    assert "give one of them" in simulate(*words[:-2], "--batch", "max", "--microbatch", "max").stderr
    assert "--microbatch max" in simulate(*words[:-2], "--batch", "max").stderr
    both = simulate(*words, "--microbatch", "max", "--accumulate", "2")
    assert "say the same" in both.stderr


def test_more_operations_than_the_peak_does_are_called_what_they_are(simulate: Simulate) -> None:
    text = " ".join(simulate("--workload", "vgg16", "--device", "v100", "--batch", "64", "--no-report").stdout.split())
    assert "fewer are done, by Winograd's algorithm" in text
    assert "peak used (MFU)" not in text


def test_the_input_of_a_step_is_asked_for(simulate: Simulate) -> None:
    words = ("--workload", "resnet50", "--device", "v100", "--precision", "amp", "--batch", "128", "--no-report")
    assert simulate(*words, "--json").json()["input"] is None
    text = " ".join(simulate(*words, "--loader", "pillow", "--workers", "2").stdout.split())
    assert "bound by input" in text
    assert "preparing binds" in text
    assert "workers would keep up" in text
    answer = simulate(*words, "--loader", "pillow", "--workers", "2", "--json").json()
    assert answer["step"]["bound"] == "input"
    # 128 x 3.44 ms on two workers.
    assert answer["step"]["time_s"] == pytest.approx(0.22016)
    assert answer["interval"] is None
    cached = simulate(*words, "--loader", "none", "--storage", "hdd", "--page-cache", "2TiB", "--json").json()
    assert cached["input"]["cached"] == 1
    assert "give --loader" in simulate(*words, "--workers", "2").stderr
    shared = simulate(*words, "--loader", "pillow", "--workers", "2", "--parallel", "dp=1", "--json").json()
    assert shared["step"]["time_s"] == pytest.approx(0.22016)
    assert shared["step"]["parts_s"]["input"] == pytest.approx(0.22016 - shared["input"]["device_s"])


def run_code(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)


MAIN_JOB = ("--workload", "senet", "--device", "v100", "--epochs", "100", "--json", "--no-report")

NOT_NEEDED = """
import sys
import numpy
before = set(sys.modules)  # NumPy 1 loads its masked arrays itself
from simulator.cli import main
try:
    main()
except SystemExit:
    pass
unused = "numpy.ma", "logging", "simulator.report.style", "simulator.execution.bill", "simulator.parallel.data"
print(*[name for name in unused if name in sys.modules.keys() - before], file=sys.stderr)
"""


def test_the_main_job_loads_nothing_that_it_does_not_use() -> None:
    done = run_code(NOT_NEEDED, *MAIN_JOB)
    assert done.stdout.startswith("{")
    assert done.stderr.strip() == ""


AT_EXIT = "import atexit; atexit.register(print, 'handled'); from simulator.cli import start; start()"


def test_the_console_ends_with_its_code_and_all_that_was_written() -> None:
    done = run_code(AT_EXIT, *MAIN_JOB)
    assert done.returncode == 0
    assert done.stdout.startswith("{")
    assert done.stdout.endswith("}\nhandled\n")
    refused = run_code(AT_EXIT, "--workload", "senet", "--device", "v1000")
    assert refused.returncode == 2
    assert refused.stderr.startswith("simulate: unknown device")
