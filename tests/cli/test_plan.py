"""`simulate --parallel` and `simulate parallel`, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Simulate = Callable[..., Any]
STEP = (
    "--workload", "llama3_8b", "--system", "dgx-h100", "--attention", "fused", "--precision", "bf16",
    "--optimizer", "adam", "--parallel", "tp=2,pp=2", "--global-batch", "16", "--microbatch", "1",
)  # fmt: skip


def test_a_plan_on_the_terminal(simulate: Simulate) -> None:
    text = " ".join(simulate(*STEP, "--schedule", "interleaved:2", "--sequence-parallel", "--no-report").stdout.split())
    assert "llama3_8b on 8 x h100-sxm5-80gb over nvlink4: dp=2,tp=2,pp=2" in text
    assert "8 micro-batches of 1, schedule interleaved:2, sequence parallel, ZeRO stage 0" in text
    assert "where the time goes" in text


def test_files_trace_and_json_of_a_plan(simulate: Simulate, tmp_path: Path) -> None:
    trace = tmp_path / "step.json"
    answer = simulate(*STEP, "--zero", "1", "--out", str(tmp_path), "--timeline", str(trace), "--json").json()
    folder = tmp_path / "llama3_8b-h100-sxm5-80gb-dp2-tp2-pp2"
    names = {path.name for path in folder.iterdir()}
    assert {
        "step.png",
        "memory.svg",
        "memory_over_time.png",
        "timeline.png",
        "stages.csv",
        "trace.json",
        "summary.json",
    } <= names
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8")) == answer
    assert sum(answer["step"]["parts_s"].values()) == pytest.approx(answer["step"]["time_s"])
    assert answer["plan"]["label"] == "dp=2,tp=2,pp=2"
    assert len(answer["stages"]) == 2
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["pid"] for event in spans} == {0, 1}
    assert {"forward 1", "backward 8", "layers.0", "gradients 1"} <= {event["name"] for event in spans}
    assert all(event["dur"] >= 0 for event in spans)


def test_other_words_for_the_same(simulate: Simulate) -> None:
    plain = simulate(*STEP, "--no-report", "--json").json()
    accumulated = [word for word in STEP if word not in ("--microbatch", "1")] + ["--accumulate", "8"]
    assert simulate(*accumulated, "--no-report", "--json").json() == plain
    words = ("--workload", "gpt2", "--system", "dgx-h100", "--batch", "2", "--no-report", "--json")
    assert simulate(*words, "--fsdp").json() == simulate(*words, "--zero", "3").json()


def test_the_run_of_a_plan_has_its_bill(simulate: Simulate) -> None:
    words = (*STEP, "--samples", "1000", "--epochs", "3", "--no-report")
    bill = ("--price", "2.5", "--pue", "1.2", "--carbon", "350", "--mtbf", "50000h", "--checkpoint", "30s")
    plain, answer = simulate(*words, "--json").json(), simulate(*words, *bill, "--json").json()
    assert plain["bill"] is None
    run = answer["run"]
    assert (run["steps_per_epoch"], run["total_s"]) == (63, pytest.approx(3 * 63 * answer["step"]["time_s"]))
    found = answer["bill"]
    assert found["interrupted"]["time_s"] == found["time_s"] > run["total_s"]
    assert found["cost_usd"] == pytest.approx(2.5 * 8 * found["time_s"] / 3600)
    assert found["energy_j"] == pytest.approx(1.2 * 10200 * found["time_s"])
    assert (found["power_of"], found["wall"]["system"]) == ("machines", "dgx-h100")
    text = " ".join(simulate(*words, *bill).stdout.split())
    assert "of 1,000 samples: 189 steps" in text
    assert "the run costs" in text
    assert "epochs" not in simulate(*STEP, "--no-report").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--parallel", "tp=3"), "does not divide 8 devices"),
        (("--parallel", "tp=16"), "does not divide 8 devices"),
        (("--parallel", "ep=2"), "no experts"),
        (("--parallel", "tp=2", "--accumulate", "3"), "--accumulate 3 does not divide"),
        (("--fsdp", "--zero", "1"), "--fsdp is --zero 3"),
        (("--zero", "7"), "0 to 3"),
        (("--schedule", "interleaved"), "needs a pipeline"),
        (("--recompute", "al"), "full"),
        (("--parallel", "tp=2", "--global-batch", "15"), "does not divide over dp=4"),
    ],
)
def test_a_mistake_is_one_line(simulate: Simulate, words: tuple[str, ...], message: str) -> None:
    answer = simulate("--workload", "llama3_8b", "--system", "dgx-h100", "--batch", "16", *words, "--no-report")
    assert answer.code == 2
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_the_fastest_plans(simulate: Simulate) -> None:
    words = ("parallel", "gpt2_xl", "--system", "dgx-a100-80gb", "--batch", "64", "--attention", "fused")
    text = simulate(*words).stdout
    assert "simulate --parallel" in text
    assert "runner-up" in text
    document = simulate(*words, "--json", "--top", "3").json()
    assert len(document["plans"]) == 3
    assert document["evaluated"] == document["fit"] + document["too_large"]


def test_a_search_needs_several_devices(simulate: Simulate) -> None:
    assert "give a --system" in simulate("parallel", "gpt2", "--batch", "8").stderr
    assert "nothing to share" in simulate("parallel", "gpt2", "--device", "v100", "--batch", "8").stderr
