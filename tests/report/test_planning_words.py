"""What planning answers in words, of answers made up by hand: every number stands where it belongs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simulator.device.device import load_device
from simulator.errors import InputError
from simulator.parallel.bound import PlanBound
from simulator.pipeline import Options
from simulator.planning.compare import Difference, Moved, Side, SideLayer
from simulator.planning.explain import CauseShare, Explanation, Help
from simulator.planning.plans import Found
from simulator.planning.scaling import ScalingPoint
from simulator.report import compare, curve, explain, layer_listing, plans, rewrite
from simulator.report.scaling import print_scaling
from simulator.report.sweep import print_sweep
from simulator.serving.copies import Instances
from simulator.serving.curve import Curve, CurvePoint
from simulator.serving.fastest import Choice
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.rewrites import Encoding, Rewritten
from simulator.workload.workload import Workload

LENET = load_workload("lenet5")
V100 = load_device("v100")


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """All that was printed, with one blank between words."""
    return " ".join(capsys.readouterr().out.split())


# ---- inference over batches

POINTS = (
    CurvePoint(1, 0.002, 500.0, 2.0**30, fits=True, bound="overhead"),
    CurvePoint(8, 0.004, 2000.0, 2.0**31, fits=True, bound="memory"),
    CurvePoint(64, 0.02, 3200.0, 2.0**35, fits=False, bound="compute"),
)


def curve_of(**more: Any) -> Curve:
    return Curve(LENET, V100, Options(task="infer"), POINTS, POINTS[1], 1024, **more)


def test_a_curve_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    curve.print_curve(curve_of(limit_s=0.005, within=POINTS[1]))
    text = words(capsys)
    assert text.startswith(
        "lenet5 on v100-pcie-16gb, inference in fp32: 2.00 ms at batch 1 knee at batch 8: 4.00 ms, 2,000"
    )
    assert (
        "the memory holds a batch of 1,024 largest batch within 5.00 ms: 8, in 4.00 ms, at most 2,000 samples/s" in text
    )
    assert "1 2.00 ms 500.0 1.00 GiB yes overhead" in text
    assert "64 20.0 ms 3,200.0 32.0 GiB no compute" in text
    assert text.endswith("fidelity: calibrated")
    curve.print_curve(curve_of(limit_s=0.001, copies=Instances(2)))
    text = words(capsys)
    assert "inference in fp32, 2 streams: " in text
    assert "a batch of 1,024 of each no batch keeps 1.00 ms" in text
    curve.print_curve(curve_of(copies=Instances(2, shared=False)))
    text = words(capsys)
    assert "inference in fp32, 2 replicas: " in text
    assert "keeps" not in text


def test_the_largest_rate_is_said_with_its_batch_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    best = Choice(15, Instances(7), 0.0045, 3300.0)
    curve.print_curve(curve_of(limit_s=0.005, within=POINTS[1], fastest=best))
    assert "largest rate within 5.00 ms: 3,300 samples/s, at batch 15 in each of 7 streams, in 4.50 ms" in words(capsys)
    curve.print_curve(curve_of(limit_s=0.005, within=POINTS[1], fastest=replace(best, copies=Instances(1))))
    assert "3,300 samples/s, at batch 15, in 4.50 ms" in words(capsys)
    found = curve.curve_summary(curve_of(limit_s=0.005, within=POINTS[1], fastest=best))
    assert found["fastest_within_slo"] == {
        "batch": 15, "streams": 7, "replicas": 1, "latency_s": 0.0045, "samples_per_s": 3300.0,
    }  # fmt: skip
    assert curve.curve_summary(curve_of())["fastest_within_slo"] is None


def test_a_curve_as_json() -> None:
    found = curve.curve_summary(curve_of(limit_s=0.005, within=POINTS[1], copies=Instances(3)))
    assert (found["workload"], found["device"], found["precision"]) == ("lenet5", "v100-pcie-16gb", "fp32")
    assert (found["streams"], found["replicas"], found["largest_batch"], found["knee_batch"]) == (3, 1, 1024, 8)
    assert (found["slo_s"], found["within_slo"]["batch"]) == (0.005, 8)
    assert [point["batch"] for point in found["batches"]] == [1, 8, 64]
    other = curve.curve_summary(curve_of(copies=Instances(3, shared=False)))
    assert (other["streams"], other["replicas"], other["slo_s"], other["within_slo"]) == (1, 3, None, None)


def test_a_curve_in_a_folder(tmp_path: Path) -> None:
    for _ in range(2):
        curve.write_curve(curve_of(), str(tmp_path / "deep"))
    names = sorted(path.name for path in (tmp_path / "deep" / "lenet5-v100-pcie-16gb").iterdir())
    assert names == ["latency.json", "latency.png", "latency.svg"]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write the figure to"):
        curve.write_curve(curve_of(), str(tmp_path / "file"))


# ---- explanations

SHARES = (
    CauseShare("tiles", "rows that no tile fills", 0.3),
    CauseShare("winograd", "fewer products", -0.05),
    CauseShare("trifle", "next to nothing", 0.0004),
)


def explained(layer: str | None = None, helps: tuple[Help, ...] = (), **more: Any) -> Explanation:
    simulation: Any = SimpleNamespace(workload=LENET, device=V100)
    given = {"shares": SHARES, "worst": (("fc1", 0.2, "tiles"),), "roofline_s": 0.5, **more}
    return Explanation(simulation, layer, 1.0, bound="memory", helps=helps, **given)


HELPS = (Help("the batch doubled", "--batch 128", 0.8, fits=True), Help("half the width", "", 0.9, fits=False))


def test_an_explanation_in_words() -> None:
    assert explain.lines(explained(helps=HELPS)) == [
        "the step takes 1.00 s and is bound by memory; its roofline is 500 ms, 2.00 times faster",
        "most of what lies between, 30% of its time, is tiles: rows that no tile fills",
        "what would help most: the batch doubled, 1.25 times faster",
    ]
    assert explain.lines(explained("fc1"))[0].startswith("the layer takes ")
    assert len(explain.lines(explained(shares=SHARES[1:2]))) == 1


def test_rows_of_an_explanation() -> None:
    first, second, roof = explain.share_rows(explained())  # the trifle is below a two-thousandth
    assert first == {"cause": "tiles", "time": "300 ms", "share": "30.0%", "what it is": "rows that no tile fills"}
    assert (second["time"], second["share"]) == ("-50.0 ms", "-5.0%")
    assert (roof["cause"], roof["time"], roof["share"]) == ("the roofline", "500 ms", "50.0%")
    assert explain.help_rows(explained(helps=HELPS)) == [
        {"change": "the batch doubled", "time": "800 ms", "faster": "1.25 x", "saves": "20%", "option": "--batch 128"},
        {
            **{"change": "half the width", "time": "900 ms", "faster": "1.11 x", "saves": "10%"},
            "option": " (does not fit the memory)",
        },
    ]
    assert explain.worst_rows(explained()) == [
        {"layer": "fc1", "above its roof": "200 ms", "share": "20.0%", "mostly": "tiles"}
    ]


def test_an_explanation_on_the_terminal_and_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "headline", lambda simulation: f"a step of {simulation.workload.name}")
    explain.print_explanation(explained(helps=HELPS))
    text = words(capsys)
    assert text.startswith("a step of lenet5 the step takes 1.00 s")
    assert "what would help, each run by itself" in text
    assert "layers with most time above their roof" in text
    explain.print_explanation(explained("fc1"))
    text = words(capsys)
    assert text.startswith("fc1 of a step of lenet5 the layer takes")
    assert "what would help" not in text
    assert "layers with most time" not in text
    found = explain.explanation_summary(explained(helps=HELPS))
    assert (found["workload"], found["device"], found["layer"], found["bound"]) == (
        *("lenet5", "v100-pcie-16gb", None, "memory"),
    )
    assert (found["time_s"], found["roofline_s"]) == (1.0, 0.5)
    assert found["shares"][0] == {"cause": "tiles", "seconds": 0.3}
    assert found["helps"][1] == {"what": "half the width", "option": "", "time_s": 0.9, "fits": False}
    assert found["worst"] == [{"layer": "fc1", "above_s": 0.2, "cause": "tiles"}]


# ---- sides


def side(label: str, batch: int, step_s: float, *layers: tuple[str, float, str], devices: int = 1) -> Side:
    known = {name: SideLayer(name, time_s, bound, 1e9, 1e8) for name, time_s, bound in layers}
    by_bound = dict.fromkeys(("compute", "memory", "overhead"), 0.0)
    for _, time_s, bound in layers:
        by_bound[bound] += time_s
    return Side(label, "net", batch, devices, step_s, by_bound, 2.0**30, known)


# A sample takes 1 s (10 s of two times five) on the first side, 0.25 s (2 s of two times four) on the other.
FIRST = side("first", 5, 10.0, ("a", 6.0, "memory"), ("b", 4.0, "compute"), devices=2)
OTHER = side("other", 4, 2.0, ("a", 1.2, "compute"), ("b", 0.8, "compute"), devices=2)


def difference(first: Side, other: Side) -> Difference:
    scale = first.batch * first.devices, other.batch * other.devices
    moved = tuple(
        Moved(name, mine, other.layers[name], mine.time_s / scale[0] - other.layers[name].time_s / scale[1])
        for name, mine in first.layers.items()
    )
    speedup = first.per_sample_s / other.per_sample_s
    return Difference(first, other, speedup, moved, {("memory", "compute"): (1, 0.6)}, (("x", "y"), ("z",)))


def test_one_side_against_another_in_words() -> None:
    assert compare.why(difference(FIRST, OTHER)) == [
        "a sample is 4.00 times faster: 1.00 s to 250 ms",
        # 0.4 of compute to 0.25, 0.6 of memory to none.
        "time of a sample by what it waits for: compute -150 ms, memory -600 ms",
        "1 layers went from memory to compute, which were 60% of the time",
        "2 layers are in the first alone, 1 in the other alone",
    ]
    both = {("memory", "overhead"): (2, 0.1), ("memory", "compute"): (1, 0.6), ("compute", "memory"): (3, 0.3)}
    moved = [line for line in compare.why(replace(difference(FIRST, OTHER), bounds=both)) if "went from" in line]
    assert [line.split(", ")[1] for line in moved] == [f"which were {share}% of the time" for share in (60, 30, 10)]
    slower = compare.why(difference(OTHER, FIRST))
    assert slower[0] == "a sample is 4.00 times slower: 250 ms to 1.00 s"
    assert slower[1] == "time of a sample by what it waits for: compute +150 ms, memory +600 ms"
    same = replace(difference(FIRST, FIRST), bounds={}, only=((), ()))
    assert compare.why(same) == ["a sample is 1.00 times faster: 1.00 s to 1.00 s"]


def test_rows_of_sides_and_of_layers() -> None:
    assert compare.side_row(OTHER, FIRST) == {
        **{"side": "other", "step": "2.00 s", "a sample": "250 ms", "faster": "4.00 x"},
        **{"bound": "compute", "memory": "1.00 GiB"},
    }
    found = difference(FIRST, OTHER)
    assert compare.layer_row(found.moved[0], found) == {
        # 0.6 s to 0.15 s of a sample, 0.45 of the 0.75 that are gained.
        **{"layer": "a", "before": "600 ms", "after": "150 ms", "faster": "4.00 x", "of the gain": "60.0%"},
        "bound": "memory to compute",
    }
    assert compare.layer_row(found.moved[1], found)["bound"] == "compute"
    gone = replace(found.moved[0], after=replace(found.moved[0].after, time_s=0.0))
    assert compare.layer_row(gone, found)["faster"] == "gone"


def test_sides_as_json_and_on_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = difference(FIRST, OTHER)
    summary = compare.comparison_summary([found])
    assert [each["label"] for each in summary["sides"]] == ["first", "other"]
    assert summary["sides"][1] == {
        **{"label": "other", "workload": "net", "batch": 4, "devices": 2, "step_s": 2.0, "sample_s": 0.25},
        **{"by_bound_s": {"compute": 2.0, "memory": 0.0, "overhead": 0.0}, "memory_bytes": 2.0**30},
    }
    (one,) = summary["differences"]
    assert (one["other"], one["speedup"], one["only_first"], one["only_other"]) == ("other", 4.0, ["x", "y"], ["z"])
    assert one["bounds_moved"] == [{"before": "memory", "after": "compute", "layers": 1, "sample_s": 0.6}]
    assert one["layers"][0] == {"name": "a", "gained_s": pytest.approx(0.45), "before": "memory", "after": "compute"}
    compare.print_comparison([found], None)
    text = words(capsys)
    assert "other against first: a sample is 4.00 times faster" in text
    assert "report:" not in text
    compare.print_comparison([found], tmp_path)
    assert words(capsys).endswith(f"report: {tmp_path}")


def test_sides_in_a_folder(tmp_path: Path) -> None:
    found = difference(FIRST, OTHER)
    for _ in range(2):
        assert compare.write_comparison([found, found], tmp_path / "deep" / "out") == tmp_path / "deep" / "out"
    names = sorted(path.name for path in (tmp_path / "deep" / "out").iterdir())
    assert names == ["comparison.json", *(f"roofline-{n}.{kind}" for n in (1, 2) for kind in ("png", "svg"))]
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write the comparison to"):
        compare.write_comparison([found], tmp_path / "file")


# ---- plans


def planned(label: str, step_s: float, **more: Any) -> Any:
    plain = {"label": label, "pipeline": 1, "schedule_label": "1f1b", "zero": 0, "recompute": "none", "sequence": False}
    return SimpleNamespace(
        plan=SimpleNamespace(**{**plain, **more}),
        step=SimpleNamespace(time_s=step_s, seconds={PlanBound.EXCHANGE: 0.2, PlanBound.BUBBLE: 0.1}),
        global_batch=64,
        microbatch=2,
        mfu=0.4,
        memory=SimpleNamespace(total_bytes=2.0**34, headroom_bytes=-(2.0**31)),
    )


def test_a_plan_to_be_typed_again() -> None:
    assert plans.arguments(planned("dp=8", 1.0)) == "--parallel dp=8 --global-batch 64 --microbatch 2"
    every = planned("tp=2,pp=4", 1.0, pipeline=4, zero=1, recompute="full", sequence=True)
    assert plans.arguments(every) == (
        "--parallel tp=2,pp=4 --global-batch 64 --microbatch 2 --schedule 1f1b --zero 1 --recompute full "
        "--sequence-parallel"
    )


def test_rows_of_plans() -> None:
    first, second, third = plans.rows(
        [planned("dp=8", 0.5), planned("pp=8", 0.6, pipeline=8, zero=2), planned("pp=2", 0.7, pipeline=2)]
    )
    assert third["schedule"] == "1f1b"
    assert first == {
        **{"plan": "dp=8", "micro-batch": 2, "schedule": "", "ZeRO": 0, "recompute": "none", "step": "500 ms"},
        **{"slower": "0.0%", "MFU": "40.0%", "exchange": "40.0%", "bubble": "20.0%", "memory": "16.0 GiB"},
    }
    assert (second["schedule"], second["ZeRO"], second["slower"]) == ("1f1b", 2, "20.0%")


def test_shares_of_an_explanation_are_of_its_time() -> None:
    # A quarter and five quarters of two seconds.
    found = replace(explained(), time_s=2.0)
    assert (explain._percent(0.5, found), explain._percent(2.5, found)) == ("25.0%", "125.0%")


def test_a_search_on_the_terminal_and_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "why_slower", lambda _, second: f"{second.plan.label} exchanges more")
    monkeypatch.setattr(plans, "headline", lambda answer: f"headline of {answer.plan.label}")
    monkeypatch.setattr(plans, "plan_summary", lambda answer: answer.plan.label)
    best = (planned("dp=8", 1.0), planned("pp=8", 1.1), planned("tp=8", 1.2))
    found = Found(best[:2], best[2], 5, 4, 2, None)
    plans.print_search(found)
    text = words(capsys)
    assert text.startswith(
        "headline of dp=8 simulate --parallel dp=8 --global-batch 64 --microbatch 2 runner-up tp=8: "
    )
    assert "9 plans evaluated: 5 fit, 4 are too large" in text
    assert text.count("16.0 GiB") == 2
    assert plans.search_summary(found) == {
        **{"evaluated": 9, "fit": 5, "too_large": 4, "refused": 2, "plans": ["dp=8", "pp=8"], "nearest": None},
        **{"best": "--parallel dp=8 --global-batch 64 --microbatch 2", "runner_up": "tp=8 exchanges more"},
    }
    assert plans.why_lines(Found(best[:2], None, 2, 0, 0, None)) == [f"simulate {plans.arguments(best[0])}"]
    none = Found((), None, 0, 9, 0, planned("pp=8", 1.0, recompute="full"))
    plans.print_search(none)
    assert words(capsys).startswith(
        "none of 9 plans fits; pp=8 with recomputation full comes nearest and lacks 2.00 GiB a device"
    )
    summary = plans.search_summary(none)
    assert (summary["best"], summary["runner_up"], summary["plans"], summary["nearest"]) == (None, None, [], "pp=8")


# ---- networks

HALVED = Rewritten(LENET, {"ip1": Encoding(kept=0.5)})
"""LeNet-5's 500 x 800 + 500 = 400,500 values of `ip1`, every second of them kept; 431,080 in all, of 4 bytes."""


def test_totals_of_a_rewrite() -> None:
    rows = {row[""]: row for row in rewrite.totals(LENET, HALVED)}
    assert list(rows) == ["parameters", "MACs of a sample", "activations of a sample", "on disk"]
    assert rows["parameters"]["times less"] == "1.00"
    disk = rows["on disk"]
    assert (disk["before"], disk["after"], disk["times less"]) == ("1.64 MiB", "902 KiB", "1.87")


def test_layers_that_a_rewrite_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert rewrite.changed_rows(LENET, Rewritten(LENET, {})) == []
    (row,) = rewrite.changed_rows(LENET, HALVED)
    assert row == {
        **{"layer": "ip1", "parameters": "400,500 to 400,500", "MACs": "400 k to 400 k"},
        "on disk": "1.53 MiB to 782 KiB",
    }
    fewer = Rewritten(replace(LENET, layers=tuple(layer for layer in LENET.layers if layer.name != "conv2")), {})
    gone = {row["layer"]: row["parameters"] for row in rewrite.changed_rows(LENET, fewer)}
    assert gone == {"conv2": "25,050 to 0"}
    found = rewrite.rewrite_summary(LENET, HALVED)
    assert found["before"]["disk_bytes"] == 4 * LENET.parameters
    assert found["after"]["disk_bytes"] == 4 * (LENET.parameters - 400_500 / 2)
    assert (found["before"]["macs"], found["before"]["parameters"]) == (LENET.macs, 431_080)
    assert (found["workload"], found["apply"], len(found["layers"])) == ("lenet5", None, 1)
    rewrite.print_rewrite(LENET, HALVED)
    text = words(capsys)
    assert "lenet5: unchanged" in text
    assert "more layers" not in text


def test_a_part_of_a_layer_counts_as_the_layer() -> None:
    halves = [replace(layer, name="ip1.first" if layer.name == "ip1" else layer.name) for layer in LENET.layers]
    assert rewrite.changed_rows(LENET, Rewritten(replace(LENET, layers=tuple(halves)), {})) == []


def chain(name: str, *widths: int) -> Workload:
    """Linear layers of these widths behind four values, without biases."""
    steps = [{"linear": {"name": f"fc{width}", "out": width, "bias": False}} for width in widths]
    return read_workload({"name": name, "input": [4], "layers": [*steps, "loss"]}, name)


def test_two_sources_of_a_network_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    # 4 x 8 + 8 x 2 = 48 values, and with four more outputs between them 4 x 8 + 8 x 16 + 16 x 2 = 192.
    short, long = chain("short", 8, 2), chain("long", 8, 16, 2)
    layer_listing.print_comparison(short, replace(short, name="copy"))
    text = words(capsys)
    assert "parameters 48 48 +0.000%" in text
    assert "every layer with MACs has the same MACs and parameters, in the same order" in text
    layer_listing.print_comparison(short, long)
    text = words(capsys)
    assert "parameters 48 192 +300.000% MACs forward 48 192 +300.000%" in text
    assert "1 places where they part" in text
    assert "short fc2 16 16 against long fc16 128 128 against long fc2 32 32" in text
    found = layer_listing.comparison_summary(short, long)
    assert (found["first"], found["against"]) == ("short", "long")
    assert found["totals"][0] == {"what": "parameters", "first": 48, "against": 192}
    (place,) = found["differences"]
    assert place["first"] == [{"name": "fc2", "macs": 16, "parameters": 16}]
    assert [one["name"] for one in place["against"]] == ["fc16", "fc2"]


# ---- tables of many


def test_scaling_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    ran = ScalingPoint(4, 32, 0.5, 256.0, 3.2, 0.8, (0.0, 0.15, 0.05))
    print_scaling("speed-up", [ran, ScalingPoint(8, 32, reason="no such machine")])
    text = words(capsys)
    assert text.startswith("speed-up")
    assert "4 32 500 ms 256 3.20 80.0%" in text
    assert text.endswith("8: no such machine")
    assert "4: " not in text


def test_a_sweep_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {"batch": range(42), "device": "v100", "step.time_s": [0.001] * 41 + [0.002], "empty": [None] * 42}
    )
    frame["reason"] = None
    print_sweep(frame, 50)
    text = words(capsys)
    assert text.startswith("device: v100 step.time_s: 1.00 ms")
    assert "empty" not in text
    assert text.endswith("38 39 42 of 50 configurations; 2 more rows")
    print_sweep(frame.head(40), 40)
    assert words(capsys).endswith("40 of 40 configurations")
    print_sweep(frame.head(1), 1)
    assert "v100 1.00 ms" in words(capsys)
