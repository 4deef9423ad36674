"""What a device has from its kind, its family and its own file."""

from __future__ import annotations

from dataclasses import fields

import msgspec
import pytest

from simulator import catalog
from simulator.device.device import FOLDER, load_device, resolve, with_families
from simulator.device.inheritance import families_of, inherited, load_family
from simulator.device.profile import DeviceProfile
from simulator.errors import UnknownNameError

BARE = {
    "name": "bare",
    "kind": "gpu",
    "description": "d",
    "peak": {"fp32": "1 TFLOP/s"},
    "memory": {"capacity": "1 GiB", "bandwidth": "100 GB/s"},
}


def profile(**more: object) -> DeviceProfile:
    found: DeviceProfile = catalog.convert(BARE | more, DeviceProfile, "here")
    return found


def test_the_file_stands_over_its_family_and_the_family_over_its_kind() -> None:
    found = inherited(profile(family="volta", kernel={"cache": 0.7}), "here")
    assert found.values["kernel.cache"] == 0.7
    volta, kind = load_family("volta"), load_family("gpu")
    assert volta.kernel is not None
    assert kind.kernel is not None
    assert found.values["kernel.thin"] == volta.kernel.thin  # type: ignore[attr-defined]
    assert found.values["kernel.copy"] == kind.kernel.copy  # type: ignore[attr-defined]
    assert found.own == {"kernel.cache"}
    assert found.section("sustained")["matrix"] == volta.sustained.matrix  # type: ignore[union-attr]
    assert found.provenance["kernel.thin"].source != found.provenance["kernel.copy"].source
    assert found.provenance["kernel.cache"].grade == "assumption", "the profile names no source"


def test_a_device_of_no_family_has_its_kinds_values_alone() -> None:
    assert families_of(profile()) == ["gpu"]
    assert families_of(profile(family="volta")) == ["gpu", "volta"]
    assert "kernel.thin" not in inherited(profile(), "here").values


def test_an_unknown_family_is_named_with_its_file_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"here.*volta"):
        inherited(profile(family="voltaa"), "here")


def test_a_value_in_place_of_a_familys_reaches_what_stands_under_it_alone() -> None:
    tried = {
        ("families/gpu", "kernel.copy"): 0.1,
        ("families/gpu", "kernel.thin"): 0.2,
        ("families/cpu", "kernel.pooling"): 0.3,
        ("families/gpu", "kernel.cache"): 0.4,
    }
    plain, found = (inherited(profile(family="volta", kernel={"cache": 0.7}), "here", one) for one in (None, tried))
    changed = {key: value for key, value in found.values.items() if plain.values.get(key) != value}
    assert changed == {"kernel.copy": 0.1}, "volta has its own `thin`, the file its own cache"


@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_families_own_values_in_their_place_change_no_device(name: str) -> None:
    device = load_device(name)
    kinds = inherited(profile(kind=device.kind), "here").values
    same = {(f"families/{device.kind}", key): value for key, value in kinds.items()}
    again = with_families(device, same)
    for field in fields(device):
        assert getattr(again, field.name) == getattr(device, field.name), field.name


def test_a_profile_needs_no_file() -> None:
    shipped = load_device("v100")
    again = resolve(shipped.profile, "nowhere")
    assert again.kernel == shipped.kernel
    assert again.sustained == shipped.sustained
    assert again.provenance == shipped.provenance
    assert (again.overrides, again.swapped_memory) == ((), None)


def test_what_the_user_set_is_an_assumption() -> None:
    content = msgspec.to_builtins(load_device("v100").profile)
    device = resolve(catalog.convert(content, DeviceProfile, "here"), "here", ["memory", "peak.fp32"])
    assert device.provenance["peak.fp32"].source == "set by the user"
    assert device.provenance["memory.bandwidth"].grade == "assumption"
    assert device.provenance["peak.fp64"].grade != "assumption"
