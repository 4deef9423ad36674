"""JSON Schema of device files."""

from __future__ import annotations

from typing import Any

import msgspec

from simulator.device.profile import DeviceProfile


def device_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of `hardware_profiles/devices/*.yaml`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(DeviceProfile)}
