"""Whatever a YAML file says, the answer is a result of finite numbers or a `SimulatorError` of one line."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from simulator import catalog
from simulator.device.device import load_device
from simulator.errors import SimulatorError
from simulator.op import operations
from simulator.pipeline import Options
from simulator.pipeline import simulate as run
from simulator.report.summary import layers_summary, summary
from simulator.workload.families import families, get_family, parameters
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.table import layer_table

SECONDS = 20

# ---- values: mostly right, sometimes wrong in type, sign or size

sizes = st.one_of(st.integers(1, 8), st.integers(-2, 64), st.sampled_from([10**6, 10**12, 10**40, 2**63]))
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.text(max_size=4),
    st.lists(st.integers(-1, 4), max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.dates(),
    st.sampled_from(["same", "start", "input", "[/]", "../x", "1 GB/s"]),
)
value = st.one_of(sizes, sizes, sizes, junk)


@lru_cache
def keys() -> dict[str, tuple[str, ...]]:
    """Kind -> its keys in workload files."""
    return {kind: op.__struct_fields__ for kind, op in operations().items()}


@st.composite
def layer(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from([*sorted(keys()), "repeat", "conv", "linear", "max_pool", "nonsense"]))
    if kind == "repeat":
        inner = draw(st.lists(layer(), min_size=1, max_size=2))
        return {"repeat": {"times": draw(st.integers(1, 5)), "layers": inner}}
    known = keys().get(kind, ())
    fields = {key: draw(value) for key in known if draw(st.booleans())}
    if draw(st.integers(0, 9)) == 0:
        fields[draw(st.text(max_size=4))] = draw(junk)
    if kind in ("add", "concat", "scale") or draw(st.integers(0, 9)) == 0:
        fields["from"] = draw(st.one_of(st.lists(st.sampled_from(["input", "start", "relu1"]), max_size=3), junk))
    return {kind: fields} if fields or draw(st.booleans()) else kind


shape = st.one_of(
    st.lists(st.integers(1, 32), min_size=1, max_size=4),
    st.just([3, 16, 16]),
    st.just([3, 16, 16]),
    st.lists(sizes, max_size=4),
    st.lists(st.lists(st.integers(1, 8), max_size=3), max_size=2),
)


@st.composite
def header(draw: st.DrawFn) -> dict[str, Any]:
    content: dict[str, Any] = {"name": draw(st.one_of(st.just("net"), st.just("[/red]"), junk)), "input": draw(shape)}
    for key in ("batch", "dataset", "description", "quoted_macs"):
        if draw(st.integers(0, 7)) == 0:
            content[key] = draw(value)
    return content


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, Any]:
    content = draw(header())
    if draw(st.booleans()):
        content["layers"] = draw(st.lists(layer(), max_size=6))
        return content
    name = draw(st.sampled_from(sorted(families())))
    content["family"] = name
    for key in parameters(get_family(name)).__struct_fields__:
        if draw(st.booleans()):
            small = st.one_of(st.integers(-1, 16), st.lists(st.integers(-1, 3), max_size=5), junk)
            content[key] = draw(small)
    return content


options = st.builds(
    dict,
    task=st.sampled_from(["train", "infer"]),
    precision=st.sampled_from(["fp32", "amp", "fp64"]),
    fidelity=st.sampled_from(["napkin", "roofline", "calibrated"]),
    traffic=st.sampled_from(["ideal", "cached", "naive"]),
    count=st.sampled_from(["exact", "articles"]),
    batch=st.sampled_from([None, 1, 10**12]),
    ignore_memory=st.booleans(),
)


def check(result: Callable[[], Any]) -> None:
    """A document without NaN or infinity, or an error of one line; in bounded time."""
    begun = time.monotonic()
    try:
        document = result()
    except SimulatorError as error:
        message = str(error)
    else:
        message = "fine"
        assert [number for number in numbers(document) if not math.isfinite(number)] == []
        json.dumps(document, allow_nan=False)
    assert message
    assert "\n" not in message
    assert time.monotonic() - begun < SECONDS


def numbers(document: Any) -> Iterator[float]:
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for inner in document:
            yield from numbers(inner)
    elif isinstance(document, float):
        yield document


def read_back(content: dict[str, Any]) -> dict[str, Any]:
    return catalog.parse_yaml(yaml.safe_dump(content), "fuzz.yaml")


V100 = load_device("v100")


@given(workloads(), options)
@example({"name": "n", "input": [4], "layers": ["flatten"]}, {"task": "infer"})
@example({"name": "n", "input": [4], "layers": ["dropout"]}, {"task": "infer"})
@example({"name": "n", "input": [4], "layers": ["relu"]}, {"fidelity": "napkin"})
@example({"name": "n", "input": [4], "layers": ["loss"]}, {"task": "infer"})
@example({"name": "n", "input": [4], "layers": ["relu"], "batch": 10**400}, {"ignore_memory": True})
@example({"name": "n", "input": [4], "layers": [{"lrn": {"size": 10**400}}]}, {})
@example({"name": "n", "input": [1, 4, 4], "layers": [{"conv": {"out": 1, "kernel": 10**200, "padding": 10**200}}]}, {})
@example({"name": "n", "input": [1, 4, 4], "layers": [{"conv": {"out": 1, "kernel": 1, "stride": 10**400}}]}, {})
def test_any_workload(content: dict[str, Any], chosen: dict[str, Any]) -> None:
    def result() -> Any:
        workload = read_workload(read_back(content), "fuzz.yaml")
        return summary(run(workload, V100, Options(**chosen)))

    check(result)


@given(workloads())
def test_any_table_of_layers(content: dict[str, Any]) -> None:
    def result() -> Any:
        workload = read_workload(read_back(content), "fuzz.yaml")
        return layers_summary(workload, layer_table(workload), workload.batch, 0.0)

    check(result)


# ---- devices: a real one with some of its values replaced

quantity = st.one_of(
    st.builds(
        lambda number, unit: f"{number} {unit}",
        st.one_of(st.integers(-1, 1000), st.floats(1e-3, 1e6), st.sampled_from(["1e300", "1e-300", "0", "nan", "inf"])),
        st.sampled_from(["TFLOP/s", "GB/s", "GiB", "us", "MHz", "W", "Gbit/s", "kB", "", "%"]),
    ),
    value,
    st.floats(1e-3, 10),
)


@lru_cache
def base() -> dict[str, Any]:
    return catalog.read_yaml(catalog.find("hardware_profiles/devices", "v100"))


def paths(content: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in content.items():
        yield (*prefix, key)
        if isinstance(inner, dict):
            yield from paths(inner, (*prefix, key))


def changed(content: dict[str, Any], path: tuple[str, ...], new: Any) -> dict[str, Any]:
    """A copy with one value replaced, or the key taken out for `new` None."""
    copy = dict(content)
    if len(path) > 1:
        inner = copy.get(path[0])
        copy[path[0]] = changed(inner if isinstance(inner, dict) else {}, path[1:], new)
    elif new is None:
        copy.pop(path[0], None)
    else:
        copy[path[0]] = new
    return copy


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "device.yaml"


EXTRA = [("launch",), ("kernel", "winograd"), ("kernel", "cache"), ("sustained", "vector"), ("memory", "channels")]


@given(st.data(), options)
def test_any_device(file: Path, data: st.DataObject, chosen: dict[str, Any]) -> None:
    content = base()
    for path in data.draw(st.lists(st.sampled_from([*paths(base()), *EXTRA]), min_size=1, max_size=3)):
        content = changed(content, path, data.draw(quantity))
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    check(lambda: summary(run(load_workload("lenet5"), load_device(str(file)), Options(**chosen))))


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    check(lambda: read_workload(catalog.parse_yaml(text, "fuzz.yaml"), "fuzz.yaml") and {})


@given(st.lists(st.text(max_size=20), max_size=2), st.one_of(st.none(), st.text(max_size=12)))
def test_any_override(overrides: list[str], memory: str | None) -> None:
    check(lambda: load_device("v100", overrides=overrides, memory=memory) and {})


# ---- what the terminal must survive


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("[/red]", "[conv: {name: '[/bold]', out: 2, kernel: 1}]"),  # looks like markup, is a name
        ("plain", "[relu]"),  # no multiply-accumulates to divide by
        ("plain", "[conv: {name: a, out: 2, kernel: 1}, add: {from: [a, a]}]"),
    ],
)
@pytest.mark.parametrize(
    "command", [["layers"], ["--device", "v100", "--no-report", "--workload"]], ids=["layers", "main"]
)
def test_any_name_and_any_work_is_printed(
    simulate: Callable[..., Any], command: list[str], name: str, layers: str
) -> None:
    Path("n.yaml").write_text(f"name: '{name}'\ninput: [2, 4, 4]\nlayers: {layers}\n", encoding="utf-8")
    answer = simulate(*command, "n.yaml")
    assert answer.exception is None, repr(answer.exception)
    assert answer.code == 0, answer.stderr
    assert name in answer.stdout
