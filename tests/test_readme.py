"""What the README and the guides show runs as shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator import Options, load_device, load_workload, simulate
from simulator.catalog import convert, parse_yaml
from simulator.cli import main
from simulator.device.framework import FrameworkProfile, load_framework
from simulator.device.machine import disks_of
from simulator.device.system import cluster_of_system
from simulator.serving.engine import load_engine
from simulator.workload.reading import read_workload

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXTENDING = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")

COMMANDS = re.findall(r"^    simulate (.+?)(?: +#.*)?$", README, re.MULTILINE)
NEEDS_A_VALUE = ("--device", "--fidelity", "--version")
"""Named in the tables without a value, or answered only where the package is installed."""
FLAGS = [flag for row in re.findall(r"^\|.*\|$", README, re.MULTILINE) for flag in re.findall(r"`(--[^`]+)`", row)]
FLAGS = [flag for flag in FLAGS if flag not in NEEDS_A_VALUE]
ELSEWHERE = ("onnx:", "torch:", "hf:")
"""Formats whose files the importers' own tests write."""

QUICKLY = ("--quick", "--no-torch")
"""What calibrating does in full is its own tests'."""

OF_TEXT = ("--attention", "--sequence")


def run(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if any(prefix in command for prefix in ELSEWHERE):
        pytest.skip("its file is another's")
    monkeypatch.chdir(tmp_path)
    prototxt = ROOT / "tests" / "workload" / "caffe" / "lenet.prototxt"
    table = "workload,device,task,precision,batch,devices,step_s\nresnet50,v100,train,fp32,64,1,0.2\n"
    (tmp_path / "net.prototxt").write_text(prototxt.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "measured.csv").write_text(table, encoding="utf-8")
    words = shlex.split(command)
    run([*words, *QUICKLY] if words == ["calibrate"] else words)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_of_the_readme_works(flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = shlex.split(flag.replace(" DIR", f" {tmp_path}"))
    workload = "bert_base" if flag.startswith(OF_TEXT) else "alexnet"
    workload_and_batch = ["--workload", workload, *(["--batch", "8"] if workload == "bert_base" else [])]
    device = [] if "--device" in flags else ["--device", "v100"]
    options = [word for word in flags if word != "--no-report"]
    run([*workload_and_batch, *device, "--no-report", *options])


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert block is not None
    exec(block[1], {})
    assert "COMPUTE" in capsys.readouterr().out
    assert simulate(load_workload("lenet5"), load_device("v100"), Options()).step.time_s > 0


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", EXTENDING, re.DOTALL))
def test_an_example_file_of_the_guide_is_read(block: str, tmp_path: Path) -> None:
    content = parse_yaml(block, "example")
    if content.get("kind") == "framework":
        profile = convert(content, FrameworkProfile, "example")
        shipped = load_framework(profile.name)
        assert profile.release is not None
        assert (shipped.release_of, shipped.mixed.odd_groups) == (profile.release.of, profile.mixed.odd_groups)
    elif content.get("kind") == "system":
        path = tmp_path / "my-box.yaml"
        path.write_text(block, encoding="utf-8")
        box = cluster_of_system(str(path)).machine
        assert box is not None
        assert (box.cores, disks_of("local", box), box.peak_w) == (64, "nvme-pcie4*2", 3200)
    elif content.get("kind") == "engine":
        path = tmp_path / "our-fork.yaml"
        path.write_text(block, encoding="utf-8")
        fork = load_engine(str(path))
        assert fork.host_s == pytest.approx(400e-6)
        assert (fork.scheduler.requests, fork.memory.fraction) == (512, 0.95)
        assert fork.dispatch_s == load_engine("vllm").dispatch_s
    elif "kind" in content:
        path = tmp_path / "my-gpu.yaml"
        path.write_text(block, encoding="utf-8")
        assert load_device(str(path)).peak["fp32"] == 35.6e12
    else:
        assert read_workload(content, "example").parameters > 0
