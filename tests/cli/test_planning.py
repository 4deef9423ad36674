"""`simulate sweep` and `simulate plan`, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Simulate = Callable[..., Any]
SWEEP = ("sweep", "--workload", "resnet50", "--device", "v100,t4", "--batch", "16:64:x2")


def test_a_sweep_on_the_terminal(simulate: Simulate) -> None:
    text = simulate(*SWEEP, "--sort", "-step.samples_per_s", "--top", "2").stdout
    assert "workload: resnet50" in text
    assert "2 of 6 configurations" in text


def test_files_and_json_agree(simulate: Simulate, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    rows = simulate(*SWEEP, "--out", str(out), "--json").json()
    frame = pd.read_csv(out)
    assert len(rows) == len(frame) == 6
    assert frame["step.time_s"].tolist() == pytest.approx([row["step.time_s"] for row in rows])
    simulate(*SWEEP, "--out", str(tmp_path / "rows.json"))
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == rows


def test_an_interrupted_sweep_goes_on(simulate: Simulate, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    simulate(*SWEEP, "--out", str(out))
    whole = pd.read_csv(out)
    whole.head(4).to_csv(out, index=False)
    assert "6 of 6" in simulate(*SWEEP, "--out", str(out), "--resume").stdout
    assert pd.read_csv(out)["step.time_s"].tolist() == pytest.approx(whole["step.time_s"].tolist())


@pytest.mark.filterwarnings("ignore")  # of Dask's own, about ports and processes that end
def test_a_sweep_on_a_cluster(simulate: Simulate, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    pytest.importorskip("pyarrow")
    words, out = (*SWEEP, "--scheduler", "local", "--out", str(tmp_path / "rows")), tmp_path / "whole.csv"
    assert simulate(*words).stdout.startswith("6 configurations")
    simulate(*SWEEP, "--out", str(out))
    found = pd.read_parquet(tmp_path / "rows")
    assert found["step.time_s"].tolist() == pytest.approx(pd.read_csv(out)["step.time_s"].tolist(), rel=1e-12)
    assert "--resume" in simulate(*words).stderr
    assert "--out FOLDER" in simulate(*words[:-2]).stderr


def test_a_sweep_that_no_memory_holds(simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("simulator.cli.sweep.LARGEST", 5)
    assert ".parquet" in simulate(*SWEEP).stderr
    assert (
        "6 configurations"
        in simulate(*SWEEP, "--epochs", "90", "--price", "1.5", "--out", str(tmp_path / "a.parquet")).stdout
    )
    found = pd.read_parquet(tmp_path / "a.parquet")
    monkeypatch.undo()
    rows = simulate(*SWEEP, "--epochs", "90", "--price", "1.5", "--json").json()
    assert found["price.total_usd"].tolist() == pytest.approx([row["price.total_usd"] for row in rows])


def test_filters_fronts_and_plots(simulate: Simulate, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    words = ("--where", "memory.fits and batch >= 32", "--pareto", "step.time_s,device.power_w")
    simulate(*SWEEP, *words, "--plot", "batch,step.time_s", "--out", str(out))
    frame = pd.read_csv(out)
    assert set(frame["batch"]) == {32}
    assert (tmp_path / "rows.png").stat().st_size > 10_000
    simulate(*SWEEP, "--plot", "device,batch,step.time_s", "--out", str(tmp_path / "map.csv"))
    assert (tmp_path / "map.svg").stat().st_size > 5_000
    simulate(*SWEEP, "--plot", "density:step.time_s,device.power_w", "--out", str(tmp_path / "cells.csv"))
    assert (tmp_path / "cells.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--device", "zz*"), "unknown device"),
        (("--batch", "8:1:x2"), "--batch '8:1:x2'"),
        (("--set", "memory.speed=1x:2x:3"), "memory.speed"),
        (("--where", "time < 1"), "unknown column"),
        (("--sort", "speed"), "unknown column"),
        (("--plot", "batch"), "two columns"),
        (("--plot", "density:batch"), "two columns"),
        (("--plot", "heat:batch,device"), "two columns"),
        (("--plot", "density:device,batch"), "numbers"),
        (("--out", "rows.txt"), "ends in"),
        (("--precision", "fp23"), "fp23"),
        (("--resume",), "--resume needs --out"),
        (("--price", "free"), "--price 'free'"),
        (("--epochs", "0"), "--epochs '0'"),
    ],
)
def test_mistakes_are_one_line(simulate: Simulate, words: tuple[str, ...], message: str) -> None:
    answer = simulate("sweep", "--workload", "lenet5", "--device", "v100", *words)
    assert answer.code == 2
    assert message in answer.stderr
    assert answer.stderr.count("\n") == 1


PLAN = (
    "plan",
    "--workload",
    "resnet50",
    "--epochs",
    "90",
    "--device",
    "v100-sxm2-16gb,a100-sxm4-80gb",
    "--devices",
    "1:4",
)


def test_a_plan_on_the_terminal(simulate: Simulate) -> None:
    text = simulate(*PLAN, "--deadline", "2d", "--budget", "500usd", "--power", "2kW").stdout
    assert "resnet50, 90 epochs of imagenet: within 2.00 days, for 500 USD, with 2.00 kW" in text
    assert "cheapest" in text
    assert "prices of 2026-11-09" in text


def test_a_plan_that_nothing_meets(simulate: Simulate) -> None:
    text = simulate(*PLAN, "--deadline", "1min").stdout
    assert "nothing meets it" in text
    assert "times the deadline" in text


def test_a_plan_as_json(simulate: Simulate) -> None:
    answer = simulate(*PLAN, "--deadline", "2d", "--price", "v100-sxm2-16gb=2", "--json").json()
    assert answer["needs"] == {"deadline_s": 172800.0, "budget_usd": None, "power_w": None}
    assert answer["meeting"] <= answer["considered"] == 12
    assert 0 <= answer["fastest"]["probability_in_time"] <= 1
    assert answer["cheapest"]["cost_usd"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "lots"), "--budget 'lots'"),
        (("--deadline", "soon"), "--deadline"),
        (("--price", "v100"), "NAME=USD"),
    ],
)
def test_mistakes_of_a_plan(simulate: Simulate, words: tuple[str, ...], message: str) -> None:
    answer = simulate(*PLAN, *words)
    assert answer.code == 2
    assert message in answer.stderr


def test_an_explanation(simulate: Simulate) -> None:
    text = simulate("explain", "--workload", "senet", "--device", "v100").stdout
    assert "what would help most: precision amp" in text
    assert "narrow groups" in text
    answer = simulate(
        "explain", "--workload", "senet", "--device", "v100", "--layer", "layer1.0.conv2", "--json"
    ).json()
    assert answer["layer"] == "layer1.0.conv2"
    assert sum(share["seconds"] for share in answer["shares"]) == pytest.approx(answer["time_s"] - answer["roofline_s"])
    assert simulate("explain", "--workload", "senet", "--device", "v100", "--layer", "conv").code == 2


def test_a_comparison(simulate: Simulate, tmp_path: Path) -> None:
    words = ("compare", "--workload", "alexnet", "--device", "v100", "--device", "t4", "--precision", "fp32,amp")
    text = simulate(*words, "--out", str(tmp_path)).stdout
    assert "t4, amp against v100-pcie-16gb, fp32:" in text
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"roofline-{number}.{ending}" for number in (1, 2, 3) for ending in ("png", "svg")), "comparison.json",
    }  # fmt: skip
    answer = simulate(*words, "--json").json()
    assert len(answer["sides"]) == 4
    assert len(answer["differences"]) == 3


def test_a_comparison_of_files(simulate: Simulate, tmp_path: Path) -> None:
    for device in ("v100", "t4"):
        path = tmp_path / f"{device}.json"
        path.write_text(
            simulate("--workload", "lenet5", "--device", device, "--json", "--no-report").stdout, encoding="utf-8"
        )
    text = simulate("compare", str(tmp_path / "v100.json"), str(tmp_path / "t4.json")).stdout
    assert "times slower" in text
    answer = simulate("compare", str(tmp_path / "v100.json"))
    assert answer.code == 2
    assert "two sides" in answer.stderr
    many = simulate("compare", "--workload", "lenet5", "--device", "v100", "--batch", "1:200:1")
    assert (many.code, many.stdout) == (2, "")
    assert "200 sides are more than the 64" in many.stderr
    assert "both --workload and --device" in simulate("compare", "--workload", "lenet5").stderr


def test_a_rewritten_network(simulate: Simulate) -> None:
    text = simulate("rewrite", "alexnet", "--apply", "lowrank:fc6=256", "--apply", "quantize:int8").stdout
    assert "37,752,832 to 3,411,968" in text
    answer = simulate("rewrite", "alexnet", "--apply", "prune:fc6=0.9", "--json").json()
    assert answer["after"]["disk_bytes"] < answer["before"]["disk_bytes"]
    assert "give --apply" in simulate("rewrite", "alexnet").stderr
    step = ("--workload", "alexnet", "--device", "v100", "--no-report", "--json")
    thin = simulate(*step, "--apply", "lowrank:fc*=256").json()
    assert thin["workload"]["parameters"] < simulate(*step).json()["workload"]["parameters"] / 2
