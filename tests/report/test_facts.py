"""What the page says against the numbers that it says it of: a swapped word or a ratio upside down is found."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.errors import UnsupportedError
from simulator.execution.certainty import Interval
from simulator.pipeline import Options, Simulation, simulate
from simulator.report.comparison import comparison_rows, failure_lines, total_s, waiting_lines
from simulator.report.facts import SLOWEST, slowest
from simulator.report.page import report_page
from simulator.report.style import percent
from simulator.units import binary_bytes, duration, duration_range, si
from simulator.workload.reading import load_workload


@lru_cache
def run(workload: str = "alexnet", device: str = "v100", options: Options | None = None) -> Simulation:
    return simulate(load_workload(workload), load_device(device), options or Options(epochs=2))


def rows_of(page: str, first: str) -> list[dict[str, str]]:
    """The table of a page whose first column is called so."""
    lines = page.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    header, _, *rows = table
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_another_devices_ratio_is_its_time_over_the_first_ones() -> None:
    slow, fast = run(device="t4"), run(device="a100")
    first, other = comparison_rows(slow, [fast])
    assert first["ratio"] == "1x"
    assert other["ratio"] == f"{fast.run.total_s / slow.run.total_s:.3g}x"
    assert float(other["ratio"].rstrip("x")) < 1 < float(comparison_rows(fast, [slow])[1]["ratio"].rstrip("x"))
    assert [row["device"] for row in rows_of(report_page(slow, [fast]), "device")] == [
        slow.device.label,
        fast.device.label,
    ]
    assert rows_of(report_page(slow, [fast]), "device")[1]["ratio"] == other["ratio"]


def test_what_is_compared_is_all_epochs_or_one_step() -> None:
    epochs, step = run(), run(options=Options(task="infer"))
    assert total_s(epochs) == epochs.run.total_s > epochs.step.time_s
    assert not step.counts_epochs
    assert total_s(step) == step.step.time_s
    row = comparison_rows(epochs, [])[0]
    assert row["total"] == duration(epochs.run.total_s)
    assert row["step"] == duration(epochs.step.time_s)
    assert row["memory"] == percent(epochs.memory.total_bytes / epochs.memory.capacity_bytes)
    assert (row["bound"], row["grade"]) == (epochs.step.bound.name.lower(), epochs.grade)


def test_where_the_true_time_likely_lies() -> None:
    # From 0.5 to 2 times all epochs, or a step; with a question mark where nothing like it was measured.
    for simulation in (run(), run(options=Options(task="infer"))):
        time_s = total_s(simulation)
        sure = replace(simulation, interval=Interval(0.5, 2.0, 0.8))
        unsure = replace(simulation, interval=Interval(0.5, 2.0, 0.8, validated=False))
        likely = [row["likely"] for row in comparison_rows(replace(sure, interval=None), [sure, unsure])]
        assert likely == ["?", duration_range(time_s / 2, 2 * time_s), duration_range(time_s / 2, 2 * time_s) + "?"]


def test_what_was_never_measured_is_in_doubt() -> None:
    known = run()
    assert known.interval is not None
    doubtful = replace(known, interval=replace(known.interval, validated=False))
    certain = replace(known, interval=replace(known.interval, validated=True))
    assert not comparison_rows(certain, [])[0]["likely"].endswith("?")
    assert comparison_rows(doubtful, [])[0]["likely"] == comparison_rows(certain, [])[0]["likely"] + "?"
    assert comparison_rows(replace(known, interval=None), [])[0]["likely"] == "?"
    assert "Nothing like it was measured" in report_page(doubtful, [])
    assert "Nothing like it was measured" not in report_page(certain, [])


def test_devices_that_cannot_run_it_are_named() -> None:
    assert failure_lines([run(), ("tiny", UnsupportedError("no peak"))]) == ["tiny cannot run it: no peak"]


@pytest.mark.parametrize(("batch", "side"), [(512, "above"), (1, "below")])
def test_the_step_lies_on_the_side_of_the_ridge_where_its_intensity_is(batch: int, side: str) -> None:
    # A V100's fp32 ridge: 14 TFLOP/s over 900 GB/s, 15.6 FLOP/byte; weights that serve one image are far below it.
    found = run(options=Options(batch=batch, task="infer", fidelity="roofline"))
    intensity = found.step.flops / found.step.traffic_bytes
    assert (intensity > 15.56) is (side == "above")
    page = report_page(found, [])
    assert f"{intensity:.3g} FLOP/byte, {side} the ridge of 15.6 FLOP/byte" in page
    assert f"where {si(9e11, 'B/s')} feed {si(14e12, 'FLOP/s')}" in page


def test_the_slowest_layers_are_the_slowest() -> None:
    found = run()
    rows = rows_of(report_page(found, []), "layer")
    order = np.argsort(-found.layers.time_s, kind="stable")[:SLOWEST]
    assert [row["layer"] for row in rows] == [found.workload.layers[place].name for place in order]
    assert [row["time"] for row in rows] == [duration(float(found.layers.time_s[place])) for place in order]
    first = int(order[0])
    assert rows[0]["FLOP/byte"] == f"{found.layers.flops[first] / found.layers.traffic_bytes[first]:.3g}"
    assert rows[0]["share"] == percent(float(found.layers.time_s[first]) / found.step.time_s)


def test_phases_and_memory_are_those_of_the_step() -> None:
    found = run()
    page = report_page(found, [])
    phases = {row["phase"]: row for row in rows_of(page, "phase")}
    for name, seconds in (
        ("forward", found.step.forward_s),
        ("backward", found.step.backward_s),
        ("update", found.step.update_s),
    ):
        assert phases[name]["time"] == duration(seconds)
        assert phases[name]["share"] == percent(seconds / found.step.time_s)
    assert phases["step"]["time"] == duration(found.step.time_s)
    assert "communication that hides behind nothing" not in phases
    assert binary_bytes(found.memory.parameters_bytes) in page
    assert binary_bytes(found.memory.activations_bytes) in page


def test_a_device_that_waits_for_its_host_is_told_a_batch_that_keeps_it_busy() -> None:
    waits, busy = run("lenet5", options=Options(batch=1)), run(options=Options(batch=256))
    assert list(waiting_lines(busy, [])) == []
    (line,) = waiting_lines(busy, [waits, ("tiny", UnsupportedError("no peak"))])
    assert line.startswith(f"{waits.device.label} mostly waits for its host at batch 1; from --batch ")


def test_the_slowest_layers_are_those_of_the_frame_in_order() -> None:
    answer = run()
    frame = answer.to_frame().sort_values("time_s", ascending=False, kind="stable")
    found = slowest(answer, 5)
    assert [fact.layer.name for fact in found] == list(frame.index[:5])
    for fact in found:
        row = frame.loc[fact.layer.name]
        assert (fact.flops, fact.traffic_bytes, fact.time_s) == (row.flops, row.traffic_bytes, row.time_s)
        assert fact.share == pytest.approx(row.time_s / frame.time_s.sum())
        assert fact.bound.name.lower() == row.bound
        assert float(fact.intensity) == pytest.approx(row.flops / row.traffic_bytes, rel=5e-3)
    assert all(fact.time_s > 0 for fact in slowest(answer, 1000))


def test_a_pass_back_is_both_gradients_and_all_passes_are_the_step() -> None:
    layers, step = run().layers, run().step
    forward, backward, update = layers.by_pass
    assert backward == pytest.approx(layers.time_s - forward - update)
    assert (backward > 0).any()
    assert [part.sum() for part in layers.by_pass] == pytest.approx([step.forward_s, step.backward_s, step.update_s])
