"""Where a run's money goes: parts that sum to the bill, and figures that show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from simulator.billing import billed, billed_plan
from simulator.courses import coursed
from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.execution.bill import Bill, Circumstances
from simulator.execution.course import Habits
from simulator.execution.failures import Failures
from simulator.parallel.plan import Plan
from simulator.pipeline import Options, Simulation, simulate
from simulator.planned import simulate_plan
from simulator.report import plan_figures
from simulator.report.bill import bill_lines
from simulator.report.money import Slice, bill_figure, energy_parts, step_parts, time_parts
from simulator.workload.reading import load_workload

A100 = load_device("a100-sxm4-80gb")
V100 = load_device("v100-sxm2-16gb")
FAILING = Circumstances(failures=Failures(5e4, checkpoint_s=10.0))


def answer(device: object = A100, given: Circumstances = FAILING) -> tuple[Simulation, Bill]:
    plain = simulate(load_workload("resnet50"), device, Options(epochs=2))  # type: ignore[arg-type]
    found = billed(coursed(plain, Habits(warm_up_steps=10, evaluate_every=1)), given)
    assert found.bill is not None
    return found, found.bill


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in (*axes.texts, *axes.get_yticklabels())) + (
        " ".join(axes.get_title(loc="left") for axes in figure.axes)
    )


def test_the_parts_of_the_time_sum_to_the_bill() -> None:
    found, bill = answer()
    parts = time_parts(step_parts(found), found.run.total_s, found.course, bill)
    assert sum(part.size for part in parts) == pytest.approx(bill.time_s)
    names = [part.name for part in parts]
    assert {"steps: compute", "steps: memory", "warm-up", "evaluation", "checkpoints", "lost to failures"} <= {*names}
    assert "devices that stay slower" not in names


def test_steps_alone_where_nothing_is_added() -> None:
    found, bill = answer(given=Circumstances())
    parts = time_parts([Slice("a", "red", 1.0), Slice("b", "blue", 3.0)], 100.0, None, bill)
    assert [part.size for part in parts] == [25.0, 75.0]
    assert found.bill is bill


def test_the_parts_of_the_energy_sum_to_it() -> None:
    _, bill = answer()
    parts = energy_parts(bill, 8.0)
    assert sum(part.size for part in parts) == pytest.approx(8.0)
    boards = ["boards: at rest", "boards: running", "boards: computing", "boards: memory"]
    assert [part.name for part in parts] == boards
    joined = simulate(load_workload("resnet50"), A100, Options(), cluster_of_system("dgx-a100-80gb"))
    whole = billed(joined, Circumstances()).bill
    assert whole is not None
    assert whole.wall is not None
    assert whole.drawn is not None
    parts = energy_parts(whole, whole.wall.power_w)
    assert [part.name for part in parts] == [*boards, "rest of the machines"]
    assert sum(part.size for part in parts[:4]) == pytest.approx(whole.drawn.power_w)
    assert sum(part.size for part in parts) == pytest.approx(whole.wall.power_w)


def test_the_figure_shows_cost_and_energy() -> None:
    found, bill = answer()
    shown = texts(bill_figure(found))
    assert f"{bill.cost_usd:,.2f} USD by cause" in shown
    assert "kWh by what draws it" in shown
    assert "lost to failures" in shown


def test_without_a_price_the_figure_shows_time() -> None:
    found, bill = answer(V100)
    assert bill.cost_usd is None
    assert "by cause [s]" in texts(bill_figure(found))
    assert "unknown, for want of a price" in " ".join(bill_lines(bill))


def test_the_figure_of_a_plan() -> None:
    workload, joined = load_workload("gpt2", samples=512), cluster_of_system("dgx-a100-80gb", 1)
    plain = simulate_plan(workload, A100, Options(precision="bf16", batch=8), joined, Plan(data=4, pipeline=2))
    found = billed_plan(plain, FAILING)
    assert found.bill is not None
    shown = texts(plan_figures.bill_figure(found))
    assert "steps: waiting for other stages" in shown or "steps:" in shown
    assert "USD by cause" in shown


def test_a_price_list_in_words_and_in_the_report(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from simulator.cli import main

    words = ["--workload", "lenet5", "--device", "h100", "--out", str(tmp_path)]
    found = CliRunner().invoke(main, [*words, "--prices", "nebius"])
    assert found.exit_code == 0, found.output
    text = " ".join(found.stdout.split())
    assert "with 80% probability; price of unknown date, nebius, an eighth of" in text
    assert len(list(tmp_path.glob("*/money.png"))) == 1
    both = CliRunner().invoke(main, [*words, "--prices", "nebius", "--price", "2"])
    assert both.exit_code == 2
    assert "give one of the two" in both.stderr
