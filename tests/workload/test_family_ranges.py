"""Parameters of families: each has its range, declared once, and whatever a file says ends in layers or in one line."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from simulator import catalog
from simulator.errors import InputError, SimulatorError
from simulator.workload.families import families, get_family
from simulator.workload.importers import Request
from simulator.workload.reading import FOLDER, read_workload
from simulator.workload.schema import workload_schema

FILES = {name: catalog.read_yaml(catalog.find(FOLDER, name)) for name in catalog.names(FOLDER)}
HEADER = {"name": "x", "input": [3, 224, 224], "dataset": "imagenet", "batch": 1}
NUMBERS = (0, -1, 1, 3, 10**7, 10**12, 1.2e12, 0.5, 1e-300, 1e308, math.nan, math.inf, -math.inf)
VALUES = st.sampled_from([*NUMBERS, True, None, "", "x", "relu", [], [0], [1, 2, 3], [10**9] * 3, {}, [[]]])


def numbers(hint: Any) -> Iterator[tuple[type, bool]]:
    """Each int or float inside a type, and whether a range stands on it."""
    for part in get_args(hint):
        meta = [one for one in get_args(hint) if isinstance(one, Meta)]
        if part in (int, float):
            yield part, any(one.ge is not None or one.gt is not None for one in meta)
        elif not isinstance(part, Meta):
            yield from numbers(part)
    if hint in (int, float):
        yield hint, False


@pytest.mark.parametrize("name", sorted(families()))
def test_every_number_has_a_range(name: str) -> None:
    hints = get_type_hints(get_family(name), include_extras=True)
    bare = [key for key, hint in hints.items() if key != "net" and not all(ranged for _, ranged in numbers(hint))]
    assert bare == []


def test_the_schema_says_the_ranges() -> None:
    resnet = next(one for one in workload_schema()["oneOf"] if one["properties"]["family"].get("const") == "resnet")
    blocks = resnet["properties"]["blocks"]
    assert (blocks["minItems"], blocks["maxItems"]) == (1, 8)
    assert (blocks["items"]["minimum"], blocks["items"]["maximum"]) == (1, 1000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"family": "resnet", "blocks": [3, 4, 10**7, 3]}, "`int` <= 1000 - at `blocks[2]`, found 10000000"),
        ({"family": "regnet", "depth": 25, "initial_width": 8, "slope": math.nan, "factor": 2, "group_width": 8},
         "`float` >= 0.0 - at `slope`, found nan"),
        ({"family": "efficientnet", "depth": math.inf}, "`float` <= 100.0 - at `depth`, found inf"),
        ({"family": "shufflenet_v2", "widths": []}, "`array` of length >= 5 - at `widths`, found []"),
        ({"family": "convnext", "blocks": [3, 3], "widths": [96, 192, 384]}, "one number a stage, found 2 and 3"),
    ],
)  # fmt: skip
def test_an_error_names_file_key_value_and_what_is_allowed(content: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_workload({**HEADER, **content}, "net.yaml")
    assert str(caught.value).startswith("net.yaml: ")
    assert message in str(caught.value)


def test_too_many_layers_are_refused_before_any_is_made() -> None:
    inner = {"repeat": {"times": 10_000, "layers": ["relu"]}}
    content = {**HEADER, "layers": [{"repeat": {"times": 10_000, "layers": [inner]}}]}
    begun = time.process_time()
    with pytest.raises(InputError, match="more than 1,000,000 layers; --max-layers allows more"):
        read_workload(content, "net.yaml")
    assert time.process_time() - begun < 1
    small = {**HEADER, "layers": [inner]}
    assert len(read_workload(small, "net.yaml").layers) == 10_000
    with pytest.raises(InputError, match="more than 9,999 layers"):
        read_workload(small, "net.yaml", Request(max_layers=9_999))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*path, key)
        yield from places(one, (*path, key))


@settings(max_examples=300, deadline=20_000)
@given(st.data())
def test_one_value_replaced_ends_in_a_network_or_one_line(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    content = copy.deepcopy(FILES[name])
    *above, last = data.draw(st.sampled_from(list(places(content))))
    holder: Any = content
    for key in above:
        holder = holder[key]
    holder[last] = data.draw(VALUES)
    with suppress(SimulatorError):
        assert read_workload(content, f"{name}.yaml").layers


def test_a_file_beyond_its_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    path.write_text("name: x\n#" + " " * 2**20, encoding="utf-8")
    with pytest.raises(InputError, match="larger than"):
        catalog.read_yaml(path)
