"""Model families: one function each, from a few parameters to layers.

A family is a function `build(net, **parameters)` under `@family(name)`; the keys of a workload file are its parameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from simulator.errors import InputError, UnknownNameError
from simulator.workload.workload import Network

Build = Callable[..., None]

_MARK = re.compile(r'^@family\("([^"]+)"\)', re.MULTILINE)

_registry: dict[str, Build] = {}


def family(name: str) -> Callable[[Build], Build]:
    """Register a family; a second one of the same name is an error."""

    def register(build: Build) -> Build:
        if name in _registry:
            raise ValueError(f"family {name!r} is registered twice")
        _registry[name] = build
        return build

    return register


@lru_cache
def families() -> dict[str, str]:
    """Family -> the module here that holds it, found by its `@family("name")` line, so that one module is imported."""
    here = Path(__file__).parent
    return {name: file.stem for file in sorted(here.glob("*.py")) for name in _MARK.findall(file.read_text("utf-8"))}


def get_family(name: str) -> Build:
    """A family's function by name."""
    if name not in families():
        raise UnknownNameError("family", name, families())
    import_module(f"simulator.workload.families.{families()[name]}")
    return _registry[name]


def parameters(build: Build) -> type[msgspec.Struct]:
    """The family's parameters as a strict structure, from its signature."""
    hints = get_type_hints(build, include_extras=True)
    fields: list[Any] = []
    for name, parameter in list(signature(build).parameters.items())[1:]:
        fields.append(
            (name, hints[name]) if parameter.default is Parameter.empty else (name, hints[name], parameter.default)
        )
    return msgspec.defstruct(build.__name__, fields, forbid_unknown_fields=True, kw_only=True)


def build(name: str, arguments: dict[str, Any], net: Network, where: str) -> None:
    """Fill a network with a family's layers.

    Raises
    ------
    InputError
        For a parameter that the family does not have, or of the wrong type.
    """
    from simulator.catalog import convert

    function = get_family(name)
    values = convert(arguments, parameters(function), where)
    try:
        function(net, **msgspec.structs.asdict(values))
    except (ArithmeticError, IndexError, ValueError) as error:
        raise InputError(f"{where}: the parameters of {name} do not fit together: {error}") from error
