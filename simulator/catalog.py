"""Names to files: where the data folders are, which profiles and workloads exist, and safe YAML reading."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from simulator.errors import InputError, UnknownNameError, suggestion

MAX_FILE_BYTES = 2**20
MAX_NESTING = 40

_ALIASES = re.compile(r"^aliases:\s*\[([^\]]*)\]", re.MULTILINE)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache
def folder(name: str) -> Path:
    """A data folder ("workloads" or "hardware_profiles"): inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


@lru_cache
def _files(kind: str) -> dict[str, Path]:
    """Canonical name -> file."""
    place = folder(kind)
    found = sorted(name.removesuffix(".yaml") for name in os.listdir(place) if name.endswith(".yaml"))  # noqa: PTH208
    return {name: place / f"{name}.yaml" for name in found}


@lru_cache
def _aliases(kind: str) -> dict[str, str]:
    """Alias -> canonical name."""
    return {alias: name for name, path in _files(kind).items() for alias in _aliases_in(path)}


def _aliases_in(path: Path) -> list[str]:
    """Those of a file's `aliases: [...]` line, which is read without parsing the file."""
    match = _ALIASES.search(path.read_text(encoding="utf-8"))
    return [alias.strip().strip("'\"") for alias in match[1].split(",")] if match else []


@lru_cache
def _canonical(kind: str, alias: str) -> str:
    """The name that an alias stands for, or "". Files whose names begin with it come first, which spares the others."""
    likely = (name for name, path in _files(kind).items() if name.startswith(alias) and alias in _aliases_in(path))
    return next(likely, None) or _aliases(kind).get(alias, "")


def names(kind: str) -> list[str]:
    """Canonical names in a data folder, sorted."""
    return list(_files(kind))


def aliases(kind: str) -> dict[str, str]:
    """Alias -> canonical name."""
    return dict(_aliases(kind))


WHAT = {
    "workloads": "workload",
    "workloads/datasets": "dataset",
    "hardware_profiles/devices": "device",
    "hardware_profiles/memories": "memory technology",
    "hardware_profiles/frameworks": "framework",
    "hardware_profiles/links": "link",
    "hardware_profiles/hosts": "host",
    "hardware_profiles/loaders": "loader",
    "hardware_profiles/prices": "price list",
    "hardware_profiles/storage": "storage",
    "hardware_profiles/systems": "system",
}
"""Data folder -> what one of its files describes."""


def find(kind: str, name: str) -> Path:
    """The file of a name, an alias, or a path that ends in .yaml or .yml.

    Raises
    ------
    UnknownNameError
        With the nearest valid name.
    InputError
        If a path is given and is not a readable file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        try:
            known = path.is_file()
        except OSError:  # a name that the system refuses, too long for one
            known = False
        if not known:
            raise InputError(f"{name}: no such file")
        return path
    file = shipped(kind, name.lower()) or shipped(kind, _canonical(kind, name.lower()))
    if file is None:
        what = WHAT.get(kind, kind)
        raise UnknownNameError(what, name, [*_files(kind), *_aliases(kind)])
    return file


def shipped(kind: str, name: str) -> Path | None:
    """The shipped file of a canonical name, without listing the folder; None if there is none."""
    if not _NAME.fullmatch(name):
        return None
    path = folder(kind) / f"{name}.yaml"
    return path if path.is_file() else None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, refusing tags, anchors, duplicate keys, deep nesting and large files.

    Raises
    ------
    InputError
        One line that names the file and what is wrong with it.
    """
    return deepcopy(_shipped_yaml(path)) if _ours(path) else parse_yaml(read_text(path), str(path))


@lru_cache
def _shipped_yaml(path: Path) -> dict[str, Any]:
    """A shipped file's mapping, read once, since sweeps ask for many variants of one device."""
    return parse_yaml(read_text(path), str(path), trusted=True)


def read_text(path: Path, limit: int = MAX_FILE_BYTES) -> str:
    """A UTF-8 text file of at most `limit` bytes, or an InputError."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: not a file")
        if path.stat().st_size > limit:
            raise InputError(f"{path}: larger than {limit} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {_one_line(error)}") from error


def _ours(path: Path) -> bool:
    """Whether a file ships with the program, and needs no guard against hostile content."""
    return any(str(path).startswith(f"{folder(name)}/") for name in ("workloads", "hardware_profiles"))


def parse_yaml(text: str, where: str, *, trusted: bool = False) -> dict[str, Any]:
    """The mapping of a YAML text; see `read_yaml`. A trusted text is not searched for bombs."""
    try:
        if not trusted:
            _check_events(text, where)
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise InputError(f"{where}: not valid YAML: {_one_line(error)}") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a mapping of keys to values, found {type(value).__name__}")
    return value


def _check_events(text: str, where: str) -> None:
    """Walk the parse events before anything is built: no aliases (bombs), no tags, no deep nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InputError(f"{where}: anchors and aliases are not allowed")
        if tag := getattr(event, "tag", None):
            raise InputError(f"{where}: tags such as {tag!r} are not allowed")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > MAX_NESTING:
                raise InputError(f"{where}: nested deeper than {MAX_NESTING} levels")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1


class _Loader(_SafeLoader):  # type: ignore[misc]
    """The safe loader, with duplicate and non-text keys refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            text = str(key.value)
            if text in seen:
                raise yaml.YAMLError(f"key {text!r} stands twice, line {key.start_mark.line + 1}")
            seen.add(text)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _construct_integer(loader: Any, node: Any) -> int:
    value: int = loader.construct_yaml_int(node)
    if abs(value) >= 2**63:
        raise yaml.YAMLError(f"a number of {len(node.value)} digits is too large, line {node.start_mark.line + 1}")
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def convert(value: Any, struct: Any, where: str) -> Any:
    """A mapping read from YAML as a msgspec Struct, with errors that name the file, the key path and the nearest key.

    Raises
    ------
    InputError
        For an unknown key, a missing one, or a value of the wrong type or range.
    """
    import msgspec

    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError as error:
        text = _one_line(error).replace("Object", "the file").replace("`$.", "`").replace(" - at `$`", "")
        unknown = re.search(r"unknown field `([^`]*)`", text)
        hint = suggestion(unknown[1], sorted(_field_names(struct) - {unknown[1]})) if unknown else ""
        raise InputError(f"{where}: {text}{_found(value, text)}{hint}") from error


def _found(value: Any, text: str) -> str:
    """What stands at the key path that an error of range names."""
    path = re.search(r" - at `([^`]+)`$", text)
    if path is None or ", got " in text:
        return ""
    try:
        for key in re.findall(r"[^.\[\]]+", path[1]):
            value = value[int(key) if isinstance(value, list) else key]
    except (KeyError, IndexError, ValueError, TypeError):
        return ""
    return f", found {' '.join(str(value).split())[:60] or repr(value)[:60]}"


def _field_names(struct: Any) -> set[str]:
    """All keys of a Struct and of the Structs inside it."""
    from typing import get_args, get_type_hints

    names: set[str] = set()
    queue = [struct]
    while queue:
        current = queue.pop()
        queue.extend(get_args(current))
        if isinstance(current, type) and hasattr(current, "__struct_fields__"):
            names.update(current.__struct_fields__)
            queue.extend(get_type_hints(current).values())
    return names
