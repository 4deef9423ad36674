"""Frameworks: files that are like others, and releases of some years."""

from __future__ import annotations

import msgspec
import pytest

from simulator import catalog
from simulator.device.framework import FOLDER, load_framework, release
from simulator.errors import UnknownNameError

NAMES = catalog.names(FOLDER)


@pytest.mark.parametrize("name", NAMES)
def test_every_framework_loads_and_knows_where_its_values_come_from(name: str) -> None:
    framework = load_framework(name)
    assert framework.name == name
    assert min(framework.dispatch_s) > 0
    assert {"dispatch.forward", "dispatch.helpers"} <= set(framework.origin)
    assert set(framework.origin.values()) <= set(NAMES)
    assert framework.release_of in NAMES


def test_aliases_stand_for_one_framework_each_in_any_case() -> None:
    aliases = catalog.aliases(FOLDER)
    assert not set(aliases) & set(NAMES)
    for alias, name in aliases.items():
        assert load_framework(alias) == load_framework(alias.upper()) == load_framework(name)
    assert load_framework("PaddlePaddle").name == load_framework("Paddle").name == "paddlepaddle"
    assert release("Torch", 2020) == "pytorch-2022"
    with pytest.raises(UnknownNameError, match="unknown framework 'torch8'; did you mean"):
        load_framework("torch8")


@pytest.mark.parametrize(
    ("name", "year", "found"),
    [
        ("pytorch", 2017, "pytorch-2022"),
        ("pytorch", 2022, "pytorch-2022"),
        ("pytorch", 2023, "pytorch"),
        ("pytorch-channels-last", 2022, "pytorch-channels-last-2022"),
        ("pytorch-channels-last", 2023, "pytorch-channels-last-2023"),
        ("pytorch-channels-last", 2024, "pytorch-channels-last"),
        ("mxnet", 2018, "mxnet"),
        ("mxnet", 2020, "mxnet-2020"),
        ("mxnet", 2022, "mxnet-2022"),
        ("tensorflow", 2018, "tensorflow-2017"),
        ("tensorflow", 2020, "tensorflow"),
        ("tensorflow", 2021, "tensorflow-2"),
        ("torch7", 2016, "torch7"),
        ("no-framework", 2020, "no-framework"),
    ],
)
def test_a_year_finds_the_release(name: str, year: int, found: str) -> None:
    assert release(name, year) == found


@pytest.mark.parametrize("name", [name for name in NAMES if load_framework(name).release_of == name])
def test_every_release_has_years_of_its_own(name: str) -> None:
    releases = {other for other in NAMES if load_framework(other).release_of == name}
    assert {release(name, year) for year in range(2012, 2030)} == releases


def test_a_framework_is_like_another_but_for_what_its_file_says() -> None:
    newest, earlier = load_framework("pytorch"), load_framework("pytorch-2022")
    assert earlier.eager_attention
    assert not newest.eager_attention
    assert earlier.mixed == msgspec.structs.replace(newest.mixed, large_depthwise=0.0)
    assert earlier.dispatch_s == newest.dispatch_s
    assert earlier.plain == msgspec.structs.replace(newest.plain, tf32_groups=False)
    assert set(earlier.origin.values()) == {"pytorch", "pytorch-2022"}
    assert earlier.origin["plain.tf32_groups"] == "pytorch-2022"
    apex = load_framework("apex")
    assert apex.eager_attention
    assert apex.dispatch_s == earlier.dispatch_s
    assert apex.plain == msgspec.structs.replace(earlier.plain, heads_in_place=True)
    assert apex.mixed == msgspec.structs.replace(earlier.mixed, promotes=False, heads_in_place=True)
    assert apex.adds_gradients
    assert not apex.written_gelu
    script = load_framework("pytorch-apex-2020")
    assert script.plain == msgspec.structs.replace(
        apex.plain, heads_in_place=False, biases=("convolutions", "products")
    )
    assert (script.written_gelu, script.adds_gradients) == (True, True)
    assert (release("apex", 2019), release("apex", 2022)) == ("pytorch-apex-2020", "pytorch-apex")
    graphs, containers = load_framework("mxnet-2022"), load_framework("mxnet-2020")
    assert graphs.plain == containers.plain != load_framework("mxnet").plain
    assert graphs.dispatch_s != containers.dispatch_s == load_framework("mxnet").dispatch_s
