"""JSON Schema of files under `hardware_profiles/`."""

from __future__ import annotations

from typing import Any

import msgspec

from simulator.device.link import LinkProfile
from simulator.device.loader import LoaderProfile
from simulator.device.profile import DeviceProfile
from simulator.device.storage import StorageProfile
from simulator.device.system import SystemProfile

PROFILES: dict[str, type] = {
    "device": DeviceProfile,
    "system": SystemProfile,
    "link": LinkProfile,
    "storage": StorageProfile,
    "loader": LoaderProfile,
}


def profile_schema(kind: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of files of a kind, one of `PROFILES`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(PROFILES[kind])}
