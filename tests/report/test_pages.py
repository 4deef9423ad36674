"""The pages of reports, of plans and of served models: what they say, and all in one file of HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from simulator.billing import billed
from simulator.courses import coursed
from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.execution.bill import Circumstances
from simulator.execution.course import Habits
from simulator.execution.failures import Failures
from simulator.execution.input import Feeding
from simulator.parallel.plan import Plan
from simulator.pipeline import Options, Simulation, fed, simulate
from simulator.planned import simulate_plan
from simulator.report.html import html_page
from simulator.report.page import report_page
from simulator.report.plan_files import write_plan
from simulator.report.serving_files import write_serving
from simulator.report.write import write_report
from simulator.serving.answer import Service, serve
from simulator.units import duration
from simulator.workload.reading import load_workload


class Elements(HTMLParser):
    """Names of all elements, the words between them, and what they load or refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.targets: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in ("meta", "br", "hr", "img"):
            self.open.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Elements:
    found = Elements()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


@lru_cache
def asked() -> Simulation:
    options = Options(epochs=2, batch=32, precision="amp")
    plain = simulate(load_workload("resnet18"), load_device("v100"), options)
    run = coursed(fed(plain, Feeding("dali", workers=2)), Habits(evaluate_every=1))
    return billed(run, Circumstances(price_usd_per_hour=2.0, failures=Failures(5e6, checkpoint_s=10.0)))


@pytest.fixture(scope="module", params=["report", "plan", "serving"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pages")
    if request.param == "report":
        return write_report(asked(), [], out)
    if request.param == "plan":
        plan, joined = Plan(data=4, pipeline=2, microbatch=4), cluster_of_system("dgx-a100-80gb")
        options = Options(precision="bf16", batch=16)
        return write_plan(
            simulate_plan(load_workload("gpt2"), load_device("a100-sxm4-80gb"), options, joined, plan), out
        )
    return write_serving(serve(load_workload("llama3_8b"), load_device("h100"), Service(precision="fp8")), None, out)


def test_a_page_refers_to_what_is_there(folder: Path) -> None:
    page = (folder / "report.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", page)
    assert len(targets) > 4
    assert [target for target in targets if not (folder / target).is_file()] == []
    figures = {path.stem for path in folder.glob("*.svg")}
    assert {Path(target).stem for target in targets if target.endswith(".png")} == figures


def test_one_file_holds_the_page_and_its_drawings(folder: Path) -> None:
    found = read((folder / "report.html").read_text(encoding="utf-8"))
    assert found.names.count("svg") == len(list(folder.glob("*.svg")))
    assert "img" not in found.names
    assert "script" not in found.names
    assert [target for target in found.targets if ":" in target] == []  # nothing is loaded from elsewhere
    headings = re.findall(r"^## (.+)$", (folder / "report.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [word for word in headings if word not in found.words] == []
    title = (folder / "report.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    assert found.words.count(title) >= 2  # of the window, on the page, and perhaps in a drawing


def test_the_run_is_on_the_page_where_it_is_asked_for() -> None:
    found = asked()
    page = report_page(found, [])
    assert found.bill is not None
    assert "## The run" in page
    assert f"the run costs {found.bill.cost_usd:,.2f} USD" in page
    assert "input by dali, 2 workers a device" in page
    assert "failures expected" in page
    assert "on the calendar" in page
    assert "the input pipeline" not in page
    assert "checkpoints and failures" not in page


def test_what_is_not_asked_for_is_named_as_left_out() -> None:
    page = report_page(simulate(load_workload("lenet5"), load_device("v100")), [])
    assert "## The run" not in page
    left_out = page[page.index("## What it leaves out") :]
    assert "input pipeline" in left_out
    assert "checkpoints and failures" in left_out


def test_names_are_no_markup(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("# a &lt;b&gt; net\n\nan <script>alert(1)</script>\n", encoding="utf-8")
    found = read(html_page(tmp_path))
    assert "script" not in found.names
    assert "b" not in found.names
    assert found.words.count("a <b> net") == 2


def test_only_images_become_drawings(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<?xml?>\n<svg><path/></svg>", encoding="utf-8")
    page = "# a\n\n`code` *stress* **strong**\n![a figure](a.png) and `more` [there](b.csv)\n"
    (tmp_path / "report.md").write_text(page, encoding="utf-8")
    text = html_page(tmp_path)
    assert '<svg role="img" aria-label="a figure"><path/></svg>' in text
    assert "<code>code</code> <em>stress</em> <strong>strong</strong>" in text
    assert '<code>more</code> <a href="b.csv">there</a>' in text


def test_a_number_of_samples_is_said_once() -> None:
    workload = load_workload("lenet5", samples=5000)
    page = report_page(simulate(workload, load_device("v100"), Options(epochs=3)), [])
    assert "for 3 epochs of 5,000 samples on" in page
    page = report_page(simulate(workload, load_device("v100"), Options(epochs=1)), [])
    assert "for one epoch of 5,000 samples on" in page


@pytest.mark.parametrize(("price", "words"), [(2.0, "0.000"), (2e9, "USD")])
def test_small_amounts_are_written_out(price: float, words: str) -> None:
    plain = simulate(load_workload("lenet5"), load_device("v100"), Options(epochs=3))
    page = report_page(billed(plain, Circumstances(price_usd_per_hour=price)), [])
    assert words in page
    assert not re.search(r"\de[-+]\d", page[page.index("## The run") : page.index("## The whole")])


def test_the_time_of_a_plan_is_its_headline(tmp_path: Path) -> None:
    joined, plan = cluster_of_system("dgx-a100-80gb"), Plan(data=8, microbatch=2)
    answer: Any = simulate_plan(
        load_workload("gpt2"), load_device("a100-sxm4-80gb"), Options(batch=2, precision="bf16"), joined, plan
    )
    page = (write_plan(replace(answer, command="simulate --parallel dp=8"), tmp_path) / "report.md").read_text()
    assert f"{duration(answer.step.time_s)} a step.**" in page
    assert "\n    simulate --parallel dp=8\n" in page
    assert "On each device:" in page
    assert "timeline.png" not in page
