"""Options of what joins devices, each given once; and whether the user wrote an option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from simulator.cli.completion import LINK, SYSTEM
from simulator.errors import InputError


def is_given(name: str) -> bool:
    """Whether the user wrote an option."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _once(_context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    """The one value of an option, or an error where there are several."""
    if len(values) > 1:
        raise InputError(f"{option.opts[0]} is given {len(values)} times, {' and '.join(values)}; give one")
    return values[0] if values else None


def _given_once(option: str, kind: click.ParamType[Any], text: str) -> Callable[[Any], Any]:
    return click.option(option, type=kind, multiple=True, callback=_once, metavar="NAME", help=text)


link_option = _given_once("--link", LINK, "What joins them, such as nvlink2 or pcie4.")
system_option = _given_once("--system", SYSTEM, "Machines of several devices, such as dgx-a100-80gb.")
nodes_option = click.option("--nodes", type=int, default=1, show_default=True, help="Machines.")
network_option = _given_once("--network", LINK, "What joins machines, such as infiniband-hdr.")
