"""Records are values: none changes once it is made, and what a file says is written key by key."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass

import msgspec
import pytest

import simulator
from simulator.device.profile import Strict

DRAFTS = {
    "simulator.calibration.fit.Problem",
    "simulator.calibration.machine.fitting.LayerProblem",
    "simulator.parallel.shard._Sharding",
    "simulator.planning.fleet.Trials",
    "simulator.report.placement.Canvas",
    "simulator.serving.scheduler._State",
    "simulator.workload.families.vision_tower.SeeingNetwork",
    "simulator.workload.inlining._Loop",
    "simulator.workload.workload.Network",
}
"""What is filled while something is read, fitted, placed or played."""

IMPORTERS = "simulator.workload.importers."
"""Readers of other formats keep such drafts too."""


def records() -> Iterator[type]:
    """Every dataclass and structure of our modules, those that need an extra left out."""
    for found in pkgutil.walk_packages(simulator.__path__, "simulator."):
        if found.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(found.name)
        except ImportError:
            continue
        for kind in vars(module).values():
            own = isinstance(kind, type) and kind.__module__ == found.name
            if own and (is_dataclass(kind) or issubclass(kind, msgspec.Struct)):
                yield kind


def is_frozen(kind: type) -> bool:
    if is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)  # type: ignore[attr-defined]
    return bool(kind.__struct_config__.frozen)  # type: ignore[attr-defined]


RECORDS = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in records()}
SECTIONS = {name: kind for name, kind in RECORDS.items() if issubclass(kind, Strict) and kind is not Strict}
"""Sections of profiles."""


def test_records_are_found() -> None:
    assert len(RECORDS) > 300
    assert len(SECTIONS) > 30
    assert set(RECORDS) >= DRAFTS


def test_no_record_changes_once_it_is_made() -> None:
    changing = {name for name, kind in RECORDS.items() if not is_frozen(kind) and not name.startswith(IMPORTERS)}
    assert changing == DRAFTS


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_of_a_profile_is_written_by_its_keys(name: str) -> None:
    kinds = {parameter.kind for parameter in inspect.signature(SECTIONS[name]).parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}
    assert SECTIONS[name].__struct_config__.forbid_unknown_fields  # type: ignore[attr-defined]
    assert SECTIONS[name].__struct_config__.omit_defaults  # type: ignore[attr-defined]
