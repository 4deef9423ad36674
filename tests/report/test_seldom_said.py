"""What reports say seldom: of devices together, of networks without a dataset, of what is not known or left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pandas as pd
import pytest

from simulator.calibration.changes import Change, Comparison
from simulator.calibration.measurements import Measurement
from simulator.calibration.validation import Case
from simulator.device.device import load_device
from simulator.device.system import cluster_of_system
from simulator.errors import InputError
from simulator.op.unknown import Unknown
from simulator.pipeline import Options, Simulation, simulate
from simulator.report import plan, rewrite, serving, serving_page, sweep
from simulator.report.epochs import epochs_figure
from simulator.report.layer_listing import print_layers
from simulator.report.page import report_page
from simulator.report.planning_documents import DOCUMENTS, document_schema
from simulator.report.summary import summary
from simulator.report.validation import Validation, tables_of
from simulator.serving.answer import Service, serve
from simulator.workload.dataset import NO_DATASET
from simulator.workload.reading import load_workload
from simulator.workload.table import layer_table
from tests.report.test_queue_words import queue

BOUNDS_ALONE = Options(fidelity="roofline")


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def answer(device: str = "v100", **options: Any) -> Simulation:
    return simulate(load_workload("lenet5"), load_device(device), replace(BOUNDS_ALONE, **options))


# ---- served models


def test_a_served_model_on_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    found = serve(load_workload("llama3_8b"), load_device("h100"), Service(precision="fp8"))
    serving.print_serving(found)
    alone = words(capsys)
    serving.print_serving(found, queue())
    both = words(capsys)
    # The headline first, then its lines, a row a concurrency, the queue where there is one, and the basis last.
    parts = [serving.headline(found), *serving.answer_lines(found), "requests at a time", serving.basis_line(found)]
    said = [" ".join(part.split()) for part in parts]
    for text in (alone, both):
        assert text.startswith(said[0])
        assert text.endswith(said[-1])
        end = 0
        for part in said:
            end = text.index(part, end) + len(part)
    (line,) = serving.queue_lines(queue())
    assert " ".join(line.split()) in both
    assert "latency p50" in both
    assert "preempted" not in alone
    assert "latency p50" not in alone


def test_a_headline_is_of_one_request_or_of_so_many() -> None:
    one, eight = (
        serving.headline(serve(load_workload("llama3_8b"), load_device("h100"), Service(concurrency=(number,))))
        for number in (1, 8)
    )
    assert one.endswith(" a token (one request)")
    assert eight.endswith(" a token (8 requests)")


def test_a_stage_of_several_pieces_names_the_first_and_counts_the_others() -> None:
    times = {"forward_s": 1.0, "sent_s": 0.5, "again_s": 0.25, "backward_s": 2.0, "weights_s": 0.5, "returned_s": 0.25}
    pieces = [SimpleNamespace(layers=range(2 * place, 2 * place + 2), update_s=0.1, **times) for place in range(4)]
    parts = ("parameters_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes", "reserved_bytes")
    made = SimpleNamespace(
        share=SimpleNamespace(
            workload=SimpleNamespace(layers=[SimpleNamespace(name=f"l{place}") for place in range(8)])
        ),
        stages=[SimpleNamespace(**dict.fromkeys(parts, 2.0**30), headroom_bytes=2.0**30, total_bytes=2.0**32)] * 2,
        step=SimpleNamespace(of_stage=lambda stage: pieces[stage::2] if stage else pieces[:1]),
    )
    first, second = plan.stage_rows(cast(Any, made))
    assert (first["stage"], first["from"], first["to"]) == (1, "l0", "l1")
    assert (first["forward"], first["backward"], first["update"]) == ("1.50 s", "3.00 s", "100 ms")
    assert (second["stage"], second["from"], second["to"]) == (2, "l2", "l3 (+1)")
    assert (second["forward"], second["backward"], second["update"]) == ("3.00 s", "6.00 s", "200 ms")
    assert (second["weights"], second["optimizer"]) == ("1.00 GiB", "1.00 GiB")


def test_the_page_of_a_queue() -> None:
    assert list(serving_page._queue(None)) == []
    title, lines, table, *figures, files = serving_page._queue(queue())
    assert title == "## Requests over time"
    assert lines == "- " + serving.queue_lines(queue())[0]
    assert table.startswith("| latency | p50 |")
    assert figures == ["![Latencies](latency.png)", "![The queue over time](queue.png)"]
    assert files == (
        "Each request: [requests.csv](requests.csv); the first as a trace for Perfetto: [trace.json](trace.json)."
    )


# ---- simulations


def test_what_devices_exchange_as_json() -> None:
    assert summary(answer())["exchange"] is None
    joined = cluster_of_system("dgx-a100-80gb", 2)
    found = simulate(load_workload("lenet5"), load_device("a100-sxm4-80gb"), Options(), joined)
    said, exchange = summary(found)["exchange"], found.exchange
    assert exchange is not None
    assert (said["devices"], said["nodes"]) == (16, 2)
    assert (said["link"], said["network"]) == ("nvlink3", "infiniband-hdr")
    assert said["message_bytes"] == exchange.message_bytes.tolist()
    # The gradients of all weights, in full width.
    assert sum(said["message_bytes"]) == 4 * found.workload.trained
    assert said["busy_s"] == pytest.approx(float((exchange.end_s - exchange.start_s).sum()))
    assert said["exposed_s"] == exchange.exposed_s
    one = summary(simulate(found.workload, found.device, Options(), cluster_of_system("dgx-a100-80gb", 1, 1)))
    assert one["exchange"] == {
        **{"devices": 1, "nodes": 1, "link": "nvlink3", "network": "infiniband-hdr"},
        **{"message_bytes": [], "busy_s": 0.0, "exposed_s": 0.0},
    }


def test_devices_are_compared_by_a_sample_where_there_are_no_epochs() -> None:
    workload = replace(load_workload("lenet5"), dataset=NO_DATASET)
    slow, fast = (simulate(workload, load_device(name), BOUNDS_ALONE) for name in ("cpu-16core", "v100"))
    halved = simulate(workload, load_device("v100"), replace(BOUNDS_ALONE, batch=32))
    left, right = epochs_figure(fast, [slow, halved]).axes
    assert left.get_title(loc="left") == "one sample, logarithmic axis"
    assert right.get_title(loc="left") == "one step of 64 samples, logarithmic axis"
    ends = [bar.get_x() + bar.get_width() for bar in left.patches]  # type: ignore[attr-defined]
    by_step = sorted((slow, fast, halved), key=lambda one: one.step.time_s)
    assert ends == pytest.approx([1 / one.step.samples_per_s for one in by_step])


def test_a_page_of_the_founding_articles() -> None:
    page = report_page(answer(fidelity="napkin", count="articles"), [])
    assert "- MACs are counted as the founding articles count them" in page
    assert "The napkin estimate divides work by a fraction of the peak; it cannot say what binds." in page
    found = answer(fidelity="napkin")
    assert f"The step does {found.left_out:.2f} times the operations it counts" in report_page(found, [])
    assert "counted as the founding articles" not in report_page(found, [])


UNKNOWN = "pool1"  # the layer's name


def with_an_unknown_layer() -> Any:
    workload = load_workload("lenet5")
    odd = replace(workload.layers[1], op=Unknown(name="Fancy"))
    return replace(workload, layers=(workload.layers[0], odd, *workload.layers[2:]), description="net; imported")


def test_a_page_names_what_has_no_rule() -> None:
    workload = with_an_unknown_layer()
    lines = report_page(simulate(workload, load_device("v100"), BOUNDS_ALONE), []).splitlines()
    (coverage,) = (line for line in lines if line.startswith("- coverage"))
    assert coverage.endswith("of the layers have a cost rule; without one, and counted as nothing: " + UNKNOWN)
    assert next(line for line in lines if line.startswith("- grade")).endswith("the time rests on")


# ---- layers, rewrites, sweeps


def test_rewrites_of_many_layers_show_the_first_forty(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrite, "totals", lambda *_: [{"": "parameters", "before": "2", "after": "1"}])
    after = cast(Any, SimpleNamespace(workload=SimpleNamespace(changes={"apply": "half"})))
    for count, more in ((40, ""), (41, "and 1 more layers"), (75, "and 35 more layers")):
        rows = [{"layer": f"layer{place}", "MACs": "1 to 2"} for place in range(count)]
        monkeypatch.setattr(rewrite, "changed_rows", lambda *_, rows=rows: rows)
        rewrite.print_rewrite(load_workload("lenet5"), after)
        text = words(capsys)
        assert text.startswith("lenet5: half before after parameters 2 1 layers layer MACs layer0 1 to 2")
        assert "layer39 " in text
        assert "layer40 " not in text
        assert text.endswith(more or "layer39 1 to 2")


def test_a_sweep_that_needs_another_library_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", absent)
    with pytest.raises(InputError, match=r"sweep.parquet: Parquet needs pyarrow: pip install '\.\[parquet\]'"):
        sweep.write(pd.DataFrame({"a": [1]}), tmp_path / "sweep.parquet")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_has_a_schema(name: str) -> None:
    schema = document_schema(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(msgspec.json.encode(schema)) == schema
    assert {"$ref", "type", "anyOf"} & set(schema)
    references = [part.split('"')[0] for part in json.dumps(schema).split('"#/$defs/')[1:]]
    assert set(references) <= set(schema.get("$defs", {}))


def test_a_validation_against_an_earlier_run_shows_what_moved() -> None:
    row = Measurement("1", "lenet5", "v100", "train", "fp32", 16, 1, 1.0, True, "pytorch", "")
    cases = [Case(row, 1.2)]
    titles = [title for title, _ in tables_of(Validation(cases, by=("device",)))]
    moved = [
        title
        for title, _ in tables_of(
            Validation(cases, by=("device",), against=Comparison((Change(cases[0], 1.0),), new=2, gone=0))
        )
    ]
    assert titles == ["1 measured steps", "by device", "worst cases", "rows without a prediction"]
    assert moved == [titles[0], "1 rows of both runs (2 new, 0 gone)", "moved most, 1 of 1", *titles[1:]]


def test_layers_without_a_rule_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    workload = with_an_unknown_layer()
    print_layers(workload, layer_table(workload))
    text = words(capsys)
    share = 1 - 1 / len(workload.layers)
    assert f"coverage {share:.1%}: the share" in text
    assert f"without one: {UNKNOWN}" in text
    assert text.endswith("net; imported")
