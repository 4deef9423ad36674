"""Lists of what ships, tables of layers, a measured machine, and plots on axes of one's own."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simulator import catalog
from simulator.calibration.machine.calls import CallCosts
from simulator.device.device import load_device
from simulator.pipeline import Options, simulate
from simulator.report import listing, machine
from simulator.report.layer_listing import print_layers, shape_text
from simulator.report.plotting import Plots, attach, html
from simulator.report.summary import layers_summary
from simulator.workload.reading import load_workload
from simulator.workload.table import layer_table


def named(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


# ---- a measured machine


def product(library: str, precision: str, threads: int, rate: float) -> Any:
    return named(library=library, precision=precision, threads=threads, flop_per_s=rate, sides=(2, 3, 4))


def measured(**more: Any) -> Any:
    """Two threads at 200 GFLOP/s, one at 110; caches of 300 and 100 GB/s before a memory of 20."""
    products = [
        product("NumPy", "fp32", 2, 2e11),
        product("NumPy", "fp32", 1, 1.1e11),
        product("PyTorch", "bf16", 2, 4e11),
    ]

    def best(precision: str, *, library: str, threads: int = 2) -> Any:
        found = [p for p in products if (p.library, p.precision, p.threads) == (library, precision, threads)]
        return found[0] if found else None

    rates = [named(working_set=2**size, best=rate) for size, rate in ((15, 3e11), (24, 1e11), (30, 2e10))]
    plain = {
        **{"best": best, "rates": rates, "first_touch": 5e9, "timed": (1, 2, 3), "with_torch": True, "disturbed": 0.0},
        **{"costs": CallCosts(1e-6, 2e-6, 3e-6, 4e-6), "conditions": named(threads=2, load=0.5, cores=2)},
    }
    return named(**{**plain, **more})


def test_what_a_machine_was_measured_to_do() -> None:
    rows = {row["quantity"]: (row["value"], row["how"]) for row in machine.machine_rows(measured())}
    assert list(rows.items())[:3] == [
        ("fp32 product, NumPy", ("200 GFLOP/s", "best, 2 x 3 x 4")),
        ("bf16 product, PyTorch", ("400 GFLOP/s", "best, 2 x 3 x 4")),
        ("fp32 product, 1 thread", ("110 GFLOP/s", rows["fp32 product, 1 thread"][1])),
    ]
    assert rows["fastest cache"] == ("300 GB/s", "working set 32.0 KiB")
    assert rows["last-level cache"] == ("100 GB/s", "working set 16.0 MiB")
    assert rows["memory"] == ("20.0 GB/s", "working set 1.00 GiB")
    assert rows["new pages"][0] == "5.00 GB/s"
    assert rows["call"] == ("1.00 us", "PyTorch's smallest")
    assert rows["call, forward"] == ("2.00 us", "a module, with its tape, beyond it")
    assert (rows["call, backward"][0], rows["call, update"][0]) == ("3.00 us", "4.00 us")
    assert rows["layers"][0] == "3"
    bare = {row["quantity"]: row["how"] for row in machine.machine_rows(measured(with_torch=False))}
    assert bare["call"] == "NumPy's smallest"
    assert not {"layers", "call, forward"} & set(bare)
    one = measured(conditions=named(threads=1, load=0.0, cores=1))
    assert "fp32 product, 1 thread" not in {row["quantity"] for row in machine.machine_rows(one)}


@pytest.mark.parametrize(
    ("load", "disturbed", "warns"), [(1.0, 0.05, False), (1.01, 0.0, True), (0.0, 0.051, True), (0.0, 0.0, False)]
)
def test_a_machine_that_was_not_idle_is_said_to_be_so(load: float, disturbed: float, warns: bool) -> None:
    # Half a load a core is the most: one on two.
    found = machine.warning(measured(conditions=named(load=load, cores=2, threads=2), disturbed=disturbed))
    assert (found is not None) is warns
    if found:
        assert f"(load average {load:.1f} before; {disturbed:.0%} of the measurements disturbed)" in found


# ---- lists


def test_lists_show_what_the_files_say() -> None:
    device = next(row for row in listing.device_rows() if row["name"] == "v100-pcie-16gb")
    assert (device["kind"], device["family"], device["year"], device["fp32"]) == ("gpu", "volta", "2017", "14 TFLOP/s")
    assert (device["fp16"], device["bandwidth"], device["capacity"]) == ("112 TFLOP/s", "900 GB/s", "16 GiB")
    assert (device["tf32"], device["bf16"], "v100" in device["aliases"].split(", ")) == ("", "", True)
    assert [row["name"] for row in listing.device_rows()] == catalog.names("hardware_profiles/devices")
    summed = next(row for row in listing.device_rows() if row["name"] == "xeon-e5-2698-v3")
    assert "x ddr4" in summed["bandwidth"] or summed["bandwidth"].endswith("GB/s")
    memory = next(row for row in listing.memory_rows() if row["name"] == "hbm2")
    assert (memory["unit"], memory["bandwidth"], memory["capacity"]) == ("stack", "256 GB/s", "8 GiB")
    network = next(row for row in listing.workload_rows() if row["name"] == "lenet5")
    assert network["dataset"] == "mnist"
    data = next(row for row in listing.dataset_rows() if row["name"] == "mnist")
    assert (data["samples"], data["classes"]) == (60_000, 10)
    frameworks = {row["name"]: row for row in listing.framework_rows()}
    assert frameworks["pytorch"]["aliases"] == "torch"
    assert (frameworks["pytorch"]["releases"], frameworks["pytorch-2022"]["releases"]) == ("in use", "pytorch")
    assert frameworks["pytorch"]["grade"] == "assumption"
    formats = {row["name"]: row for row in listing.precision_rows()}
    assert (formats["fp32"]["weights"], formats["fp32"]["states"]) == (4, 4)
    assert (formats["amp"]["weights"], formats["amp"]["activations"], formats["amp"]["states"]) == (2, 2, 4)
    assert (formats["int8"]["gradients"], formats["int8"]["states"]) == ("", "")
    assert "tensor" in formats["amp"]["products"]


def test_a_workload_that_says_little_has_what_its_family_assumes(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, dict[str, Any]] = {"bare": {}, "own": {"batch": 7, "dataset": "mnist", "aliases": ["a", "b"]}}
    monkeypatch.setattr(listing.catalog, "names", lambda _: list(files))
    monkeypatch.setattr(listing.catalog, "find", lambda _, name: name)
    monkeypatch.setattr(listing.catalog, "read_yaml", files.__getitem__)
    bare, own = listing.workload_rows()
    assert bare == {"name": "bare", "aliases": "", "description": "", "dataset": "imagenet", "batch": 32}
    assert own == {"name": "own", "aliases": "a, b", "description": "", "dataset": "mnist", "batch": 7}


def test_a_table_word_for_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Columns of numbers alone stand to the right; what is longer than 36 characters folds, also where 60 are too few.
    monkeypatch.setenv("COLUMNS", "60")
    rows = [
        {"name": "a", "count": 1234, "share": "5.0%", "mixed": "5", "text": "word " * 10},
        {"name": "bcd", "count": 7, "share": "12.5%", "mixed": "none", "text": "x" * 38},
    ]
    listing.print_table("title", rows)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "title",
        "name  count  share  mixed  text",
        "a     1,234   5.0%  5      word word word word word word word",
        "                           word word word",
        "bcd       7  12.5%  none   " + "x" * 36,
        "                           xx",
        "",
    ]
    listing.print_table("title", [])
    assert capsys.readouterr().out == ""


def test_rows_that_hold_every_word() -> None:
    rows = [{"name": "V100", "memory": "hbm2"}, {"name": "T4", "memory": "gddr6"}]
    assert listing.matching(rows, ["v100"]) == listing.matching(rows, ["HBM2", "v1"]) == rows[:1]
    assert listing.matching(rows, ["v100", "gddr6"]) == []
    assert listing.matching(rows, []) == rows


def test_every_value_of_a_device_has_its_source() -> None:
    rows = {row["value"]: row for row in listing.value_rows("v100")}
    device = load_device("v100")
    assert (rows["peak.fp32"]["is"], rows["peak.fp32"]["grade"]) == ("14 TFLOP/s", "datasheet")
    assert rows["sustained.vector"]["is"] == device.sustained["vector"]
    assert rows["kernel.winograd"]["is"] == device.kernel["winograd"]
    assert rows["launch"]["is"].endswith(" us")
    assert rows["utilisation"]["is"] == device.utilisation
    assert all(row["source"] for row in rows.values())
    unit, bandwidth, capacity = listing.value_rows("hbm2")
    assert (unit["is"], bandwidth["is"], capacity["is"]) == ("stack", "256 GB/s", "8 GiB")
    assert (bandwidth["grade"], bandwidth["source"][:5]) == ("datasheet", "JEDEC")


def test_lists_as_json_or_as_tables(capsys: pytest.CaptureFixture[str]) -> None:
    tables: dict[str, list[dict[str, Any]]] = {"one": [{"first": 1}], "two": []}
    listing.print_tables(tables, as_json=True)
    assert json.loads(capsys.readouterr().out) == tables
    listing.print_tables(tables, as_json=False)
    assert words(capsys) == "one first 1"


def test_columns_give_way_where_there_is_no_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"name": "x" * 20, "first": "y" * 20, "second": "z" * 20}
    # Twenty, twenty and twenty with two blanks between are 64 wide.
    monkeypatch.setenv("COLUMNS", "64")
    listing.print_table("t", [row], ("second", "first"))
    assert "without" not in words(capsys)
    monkeypatch.setenv("COLUMNS", "63")
    listing.print_table("t", [row], ("second", "first"))
    text = words(capsys)
    assert "(for want of room without second)" in text
    assert "z" * 20 not in text
    monkeypatch.setenv("COLUMNS", "30")
    listing.print_table("t", [row], ("second", "first"))
    assert "(for want of room without first, second)" in words(capsys)


def test_layers_on_the_terminal_and_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    workload = load_workload("lenet5")
    rows = layer_table(workload)
    print_layers(workload, rows)
    text = words(capsys)
    assert text.startswith("lenet5: one sample, forward unless said otherwise; a MAC is 2 FLOP")
    # conv2: 50 x 20 x 25 + 50 values, 8 x 8 places of 50 x 20 x 25 MACs.
    assert "conv2 conv 50x8x8 25,050 1,600,000 3,2" in text
    total = text[text.index("total") :].split()
    assert total[1:3] == ["431,080", f"{workload.macs:,}"]
    assert "coverage 100.0%: the share of layers whose operation has a cost rule" in text
    assert "without one" not in text
    found = layers_summary(workload, rows, 64, 123.6)
    assert (found["workload"]["flops_step"], found["workload"]["batch"]) == (124, 64)
    assert (found["coverage"], found["unknown"]) == (1.0, [])
    conv2 = next(layer for layer in found["layers"] if layer["name"] == "conv2")
    assert (conv2["parameters"], conv2["macs"], conv2["weights"]) == (25_050, 1_600_000, 25_000)
    assert (conv2["input_shapes"], conv2["output_shape"]) == ([[20, 12, 12]], [50, 8, 8])
    assert shape_text((64, 112, 112)) == "64x112x112"
    assert shape_text(()) == ""


# ---- plots of one's own


def test_plots_on_ones_own_axes() -> None:
    from matplotlib.figure import Figure

    found = simulate(load_workload("alexnet"), load_device("v100"), Options(epochs=2))
    axes = Figure().add_subplot()
    assert Plots(found).phases(axes) is axes
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == pytest.approx([found.step.forward_s, found.step.backward_s, found.step.update_s])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["forward", "backward", "update"]
    layers = Plots(found).layers()
    slowest = sorted(found.layers.time_s.tolist())[-15:]
    assert [bar.get_width() for bar in layers.patches] == pytest.approx(slowest)  # type: ignore[attr-defined]
    assert layers.get_xlabel() == "time [s]"
    roofline = Plots(found).roofline()
    marks = np.vstack([np.asarray(each.get_offsets()) for each in roofline.collections])
    known = found.layers.flops > 0
    assert sorted(marks[:, 0]) == pytest.approx(sorted(found.layers.intensity_flop_per_byte[known]))
    assert sorted(marks[:, 1]) == pytest.approx(sorted(found.layers.flop_per_s[known]))
    left, right = roofline.get_xlim()
    ridge = 140 / 9  # 14 TFLOP/s over 900 GB/s
    assert left == pytest.approx(min(*marks[:, 0], ridge) / 3)
    assert right == pytest.approx(max(*marks[:, 0], ridge) * 3)
    assert roofline.get_ylim() == pytest.approx((min(marks[:, 1]) / 3, 28e12))
    assert (roofline.get_xscale(), roofline.get_yscale()) == ("log", "log")


def test_an_answer_in_a_notebook() -> None:
    found = simulate(load_workload("lenet5"), load_device("v100"), Options())
    text = html(found)
    assert text.startswith("<strong>lenet5 on v100-pcie-16gb: ")
    assert text.count("<br>") == 2
    assert "<th>conv2</th>" in text
    attach()
    assert found._repr_html_() == text  # type: ignore[attr-defined]
    assert isinstance(found.plot, Plots)
