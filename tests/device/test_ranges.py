"""What a number in a profile may be: positive, but for a few that may be nothing and shares of a whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from simulator.device.framework_profile import FrameworkProfile
from simulator.device.host import HostProfile, is_measured, load_host
from simulator.device.link import LinkProfile, load_link
from simulator.device.loader import LoaderProfile, load_loader
from simulator.device.memory import load_memory
from simulator.device.prices import PriceList
from simulator.device.profile import DeviceProfile, FamilyProfile, MemoryProfile
from simulator.device.storage import StorageProfile, load_storage
from simulator.device.system import SystemProfile, load_system
from simulator.execution.certainty import CertaintyProfile

PROFILES = (
    *(DeviceProfile, FamilyProfile, MemoryProfile, FrameworkProfile, HostProfile),
    *(LinkProfile, LoaderProfile, StorageProfile, SystemProfile, PriceList),
)

POSITIVE = {"exclusiveMinimum": 0}
FROM_ZERO = {"minimum": 0}

MAY_BE_NOTHING = {
    *("KernelCoefficients.cache", "KernelCoefficients.scattered_write", "KernelCoefficients.winograd"),
    *("KernelCoefficients.relayout", "KernelCoefficients.packing", "ExecutionPath.transposes"),
    *("ExecutionPath.large_depthwise", "ExecutionPath.channel_operations", "KernelCoefficients.long_rows"),
    "ExecutionPath.own_depthwise",
    "ExecutionPath.narrow_gradients",
    *("KernelCoefficients.matrix_tile", "KernelCoefficients.vector_tile"),
    *(f"KernelCoefficients.{which}_depth" for which in ("matrix", "vector", "weight", "tensor_weight")),
    "GradientSection.ring",
    *("ProcessorSection.first_touch", "ProcessorSection.relayout", "ProcessorSection.packing"),
}
"""Numbers whose zero says that a device or a framework is without the cause."""

OTHERS = {
    "Sustained.bandwidth": {"exclusiveMinimum": 0, "maximum": 1},  # a share of what the memory has
    "Sustained.steady": {"exclusiveMinimum": 0, "maximum": 1},
    "ExecutionPath.depthwise_gradients": {"exclusiveMinimum": 0, "maximum": 1},  # poor kernels, never better ones
    "HeldMemory.fragmentation": {"minimum": 0, "exclusiveMaximum": 1},  # all of it would leave nothing
    "KernelCoefficients.weight_channels": {"minimum": 1},
    "DeviceProfile.year": {"minimum": 1970, "maximum": 2100},
    "HostProfile.year": {"minimum": 1970, "maximum": 2100},
    "Release.since": {},
    "Release.until": {},
}

BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def numbers() -> dict[str, dict[str, Any]]:
    """Every number of a profile, as "Section.key", and its bounds."""
    found: dict[str, dict[str, Any]] = {}
    for profile in PROFILES:
        for section, schema in msgspec.json.schema(profile)["$defs"].items():
            for key, value in schema.get("properties", {}).items():
                for one in value.get("anyOf", [value]):
                    if one.get("type") in ("number", "integer"):
                        found[f"{section}.{key}"] = {name: one[name] for name in BOUNDS if name in one}
    return found


NUMBERS = numbers()


def test_the_exceptions_are_numbers_of_profiles() -> None:
    assert set(NUMBERS) >= MAY_BE_NOTHING | set(OTHERS)
    assert len(NUMBERS) > 60


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_has_the_range_that_it_can_have(name: str) -> None:
    assert NUMBERS[name] == OTHERS.get(name, FROM_ZERO if name in MAY_BE_NOTHING else POSITIVE)


NEUTRAL = {
    **{f"ExecutionPath.{key}": 1 for key in ("elementwise", "convolution", "products", "attention", "windows")},
    "ExecutionPath.depthwise_gradients": 1,
    **dict.fromkeys(("SystemProfile.ports", "HostSection.count", "DisksSection.count"), 1),
    "Release.until": 9999,
}
"""What stands for a number that a file leaves out, where that is not nothing."""


def defaults(kind: Any) -> dict[str, float]:
    """The numbers that stand for those that are left out, by "Section.key"."""
    return {
        f"{section}.{key}": value["default"]
        for section, schema in msgspec.json.schema(kind)["$defs"].items()
        for key, value in schema.get("properties", {}).items()
        if type(value.get("default")) in (int, float)
    }


@pytest.mark.parametrize("profile", [*PROFILES, CertaintyProfile], ids=lambda profile: profile.__name__)
def test_a_number_that_is_left_out_changes_nothing(profile: type) -> None:
    assert defaults(profile) == {name: NEUTRAL.get(name, 0) for name in defaults(profile)}


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.__name__)
def test_names_are_small_letters_and_sources_say_something(profile: type) -> None:
    schemas = msgspec.json.schema(profile)["$defs"]
    name = schemas[profile.__name__]["properties"]["name"]
    assert name.get("pattern", "^[a-z0-9][a-z0-9.-]*$") == "^[a-z0-9][a-z0-9.-]*$"
    assert schemas["Source"]["properties"]["source"]["minLength"] == 1
    if profile is PriceList:
        assert schemas["PriceList"]["properties"]["prices"]["minItems"] == 1


@pytest.mark.parametrize(
    ("load", "name"),
    [
        *((load_host, "server-2023"), (load_link, "pcie4"), (load_loader, "pillow"), (load_memory, "hbm2")),
        *((load_storage, "hdd"), (load_system, "dgx-a100-80gb")),
    ],
)
def test_a_profile_is_read_once(load: Any, name: str) -> None:
    assert load(name) is load(name)


def test_a_figure_of_the_very_computer_is_measured_and_a_class_is_not() -> None:
    assert is_measured("35us")
    assert is_measured(".1ms")
    assert not is_measured("")
    assert not is_measured("no-such-host")
