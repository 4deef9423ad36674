"""Names to files, and YAML that is refused before it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from simulator import catalog
from simulator.errors import InputError, UnknownNameError


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    bandwidth: str = ""


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    memory: Inner | None = None


def refused(text: str) -> str:
    """The one line with which a YAML text is refused."""
    with pytest.raises(InputError) as caught:
        catalog.parse_yaml(text, "x.yaml")
    message = str(caught.value)
    assert message.startswith("x.yaml: ")
    assert "\n" not in message
    return message


def test_a_name_and_its_alias_are_one_file() -> None:
    assert catalog.find("workloads", "senet") == catalog.find("workloads", "senet154")
    assert catalog.find("hardware_profiles/devices", "V100").name == "v100-pcie-16gb.yaml"


@pytest.mark.parametrize(("kind", "known"), [("workloads", "lenet5"), ("hardware_profiles/devices", "t4")])
def test_every_alias_leads_to_a_name(kind: str, known: str) -> None:
    names, aliases = catalog.names(kind), catalog.aliases(kind)
    assert known in names
    assert names == sorted(names)
    assert set(aliases.values()) <= set(names)
    assert not set(aliases) & set(names)


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown workload 'sennet'; did you mean 'senet'"):
        catalog.find("workloads", "sennet")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: no such file"):
        catalog.find("workloads", "nowhere.yaml")


@pytest.mark.parametrize("name", ["a" * 5000 + ".yaml", "a\0b.yaml", "/dev/null/x.yaml"], ids=["long", "null", "below"])
def test_a_path_that_no_system_takes_is_no_file(name: str) -> None:
    with pytest.raises(InputError):
        catalog.find("workloads", name)


def test_plain_yaml_is_read() -> None:
    assert catalog.parse_yaml("name: a\nlayers:\n  - relu\n  - conv: {out: 2}", "x") == {
        "name": "a",
        "layers": ["relu", {"conv": {"out": 2}}],
    }


def test_a_bomb_is_refused() -> None:
    lines = ['a: &a ["lol", "lol"]'] + [
        f"{b}: &{b} [*{a}, *{a}, *{a}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    ]
    assert "anchors and aliases are not allowed" in refused("\n".join(lines))


def test_a_recursive_alias_is_refused() -> None:
    assert "anchors and aliases" in refused("a: &a\n  b: *a")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!mine", "!!set", "!!int"]
)
def test_a_tag_is_refused(tag: str) -> None:
    assert "tags such as" in refused(f"a: {tag} [x]")


@pytest.mark.parametrize("text", ["a: 1\na: 2", "b: {c: 1, c: 2}", "- 1\n- {x: 1, x: 1}"])
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    assert "stands twice" in refused(text)


def test_deep_nesting_is_refused() -> None:
    depth = catalog.MAX_NESTING
    assert catalog.parse_yaml("a: " + "[" * (depth - 1) + "]" * (depth - 1), "x")
    assert f"nested deeper than {depth} levels" in refused("a: " + "[" * depth + "]" * depth)
    assert refused("a: " + "[" * 100_000).startswith("x.yaml: ")  # by the parser's own limit or by ours


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b", "42", "null"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert "expected a mapping of keys to values" in refused(text)


@pytest.mark.parametrize(
    "text", ["a: [1", "a: b: c", "\tx: 1", "a: 'open", "a: \x00", "a: " + "9" * 5000, "a: 2020-13-45"]
)
def test_broken_yaml_is_refused(text: str) -> None:
    assert "not valid YAML" in refused(text)


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("a: " + "x" * catalog.MAX_FILE_BYTES)
    with pytest.raises(InputError, match="larger than 1048576 bytes"):
        catalog.read_yaml(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        catalog.read_yaml(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file"):
        catalog.read_yaml(tmp_path)


def test_a_mapping_becomes_a_structure() -> None:
    assert catalog.convert({"name": "a", "memory": {"bandwidth": "1 GB/s"}}, Outer, "x") == Outer(
        "a", 1, Inner("1 GB/s")
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "a", "cuont": 1}, "unknown field `cuont`; did you mean 'count'?"),
        ({"name": "a", "memory": {"bandwith": ""}}, "did you mean 'bandwidth'?"),
        ({"count": 1}, "missing required field `name`"),
        ({"name": "a", "count": 0}, ">= 1"),
        ({"name": "a", "count": "two"}, "Expected `int`, got `str` - at `count`"),
        ({"name": "a", 3: 4}, "x: "),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(value: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        catalog.convert(value, Outer, "x")
    assert str(caught.value).startswith("x: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "found"), [("\n", "'\\n'"), ("two\nlines", "two lines")])
def test_what_stands_in_a_file_is_told_in_one_line(name: str, found: str) -> None:
    class Named(msgspec.Struct):
        name: Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]

    with pytest.raises(InputError) as caught:
        catalog.convert({"name": name}, Named, "x.yaml")
    assert str(caught.value).endswith(f", found {found}")
