"""Each command's `--json` is what its schema says: types hold, and no key is undeclared or missing."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
import pytest

from simulator.cli import COMMANDS
from simulator.report.planning_documents import DOCUMENTS

Simulate = Callable[..., Any]
STEP = ("--workload", "lenet5", "--device", "v100", "--no-report")
GPT = ("--workload", "gpt2", "--system", "dgx-h100", "--parallel", "dp=4,tp=2", "--batch", "2", "--no-report")
V100 = ("--workload", "resnet50", "--device", "v100-sxm2-16gb")
FLEET = (
    "plan",
    "--serve",
    "--workload",
    "llama3_8b",
    "--device",
    "h100,l4",
    "--rate",
    "5/s",
    "--tp",
    "1",
    "--requests",
    "50",
)
ASKED: list[tuple[str, tuple[str, ...]]] = [
    ("simulate", (*STEP, "--device", "t4", "--device", "v100[memory.capacity=1 MB]")),
    ("simulate", (*STEP, "--task", "infer", "--precision", "int8", "--fidelity", "roofline", "--memory", "hbm2:4")),
    ("simulate", (*V100, "--devices", "8", "--link", "nvlink2", "--mtbf", "50000h", "--price", "2", "--no-report")),
    (
        "simulate",
        (*V100, "--samples", "100", "--classes", "10", "--image-size", "64", "--carbon", "300", "--no-report"),
    ),
    ("simulate", (*V100, "--loader", "pillow", "--workers", "4", "--no-report")),
    ("simulate-batches", (*STEP, "--task", "infer", "--batch", "1:8:x2", "--slo", "5ms")),
    ("simulate-batches", (*STEP, "--task", "infer", "--batch", "1:4:x2")),
    ("simulate-parallel", GPT),
    ("simulate-parallel", (*GPT, "--samples", "1000", "--mtbf", "50000h")),
    ("layers", ("layers", "senet")),
    ("layers", ("layers", "bert_base", "--count", "articles")),
    ("layers-against", ("layers", "resnet50", "--against", "resnet50_v1")),
    *((name, (name,)) for name in ("workloads", "devices", "frameworks", "precisions", "datasets")),
    ("devices", ("devices", "v100")),
    ("compare", ("compare", "--workload", "alexnet", "--device", "v100", "--device", "t4")),
    ("explain", ("explain", "--workload", "lenet5", "--device", "v100")),
    ("explain", ("explain", "--workload", "lenet5", "--device", "v100", "--layer", "conv1")),
    ("sweep", ("sweep", "--workload", "lenet5", "--device", "v100,k80", "--batch", "1,2", "--precision", "fp32,bf16")),
    ("plan", ("plan", *V100, "--devices", "1,2", "--deadline", "2d", "--budget", "500usd")),
    ("plan", ("plan", *V100, "--devices", "1", "--deadline", "1min")),
    ("plan-serve", (*FLEET, "--slo", "ttft=500ms,tpot=50ms")),
    ("plan-serve", (*FLEET, "--slo", "tpot=1us")),
    ("parallel", ("parallel", "gpt2", "--system", "dgx-h100", "--batch", "64", "--top", "2")),
    ("scaling", ("scaling", *V100, "--devices", "1,3", "--global-batch", "64")),
    ("rewrite", ("rewrite", "alexnet", "--apply", "prune:fc6=0.9")),
    ("serve", ("serve", "--workload", "llama3_8b", "--device", "h100")),
    ("serve", ("serve", "--workload", "llama3_8b", "--device", "h100", "--rate", "2", "--requests", "20")),
]


def has_keys(kind: Any) -> bool:
    """Whether a type names the keys of an object: a record of the program's own, or a typed dictionary."""
    return is_dataclass(kind) or is_typeddict(kind)


def undeclared(value: Any, kind: Any, where: str = "") -> Iterator[str]:
    """Key paths that a type does not have, or has and the value lacks."""
    if get_origin(kind) in (Union, types.UnionType):
        options = [one for one in get_args(kind) if has_keys(one) or get_origin(one) in (list, dict)]
        kind = options[0] if options else None
    if has_keys(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        required = hints.keys() if is_dataclass(kind) else kind.__required_keys__
        yield from (f"{where}.{key} is undeclared" for key in value.keys() - hints.keys())
        yield from (f"{where}.{key} is missing" for key in required - value.keys())
        for key, one in value.items():
            yield from undeclared(one, hints.get(key), f"{where}.{key}")
    elif get_origin(kind) is list and isinstance(value, list):
        for one in value:
            yield from undeclared(one, get_args(kind)[0], f"{where}[]")
    elif get_origin(kind) is dict and isinstance(value, dict):
        for key, one in value.items():
            yield from undeclared(one, get_args(kind)[1], f"{where}.{key}")


@pytest.mark.parametrize(("name", "words"), ASKED)
def test_an_answer_is_what_its_schema_says(simulate: Simulate, name: str, words: tuple[str, ...]) -> None:
    answer = simulate(*words, "--json").json()
    msgspec.convert(answer, DOCUMENTS[name])
    assert sorted(set(undeclared(answer, DOCUMENTS[name]))) == []


def test_validation_has_a_schema_too(simulate: Simulate, tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "validation" / "networks.csv").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if not row.startswith("#")]
    (tmp_path / "rows.csv").write_text("\n".join(rows[:4]), encoding="utf-8")
    msgspec.convert(simulate("validate", str(tmp_path / "rows.csv"), "--json").json(), DOCUMENTS["validate"])


def test_every_command_with_json_has_a_schema(simulate: Simulate) -> None:
    told = {name for name in COMMANDS if "--json" in simulate(name, "--help").stdout}
    assert told - {"calibrate", "schema"} == {name.partition("-")[0] for name in DOCUMENTS} - {"simulate"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schemas_are_printed(simulate: Simulate, name: str) -> None:
    schema = json.loads(simulate("schema", name).stdout)
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert {"$ref", "type"} & schema.keys()


def test_an_unknown_schema_names_the_nearest(simulate: Simulate) -> None:
    assert "did you mean 'sweep'" in simulate("schema", "swep").stderr
