"""What a device's own link to its host carries."""

from __future__ import annotations

from simulator.device.device import Device
from simulator.errors import UnsupportedError
from simulator.units import parse

HOST_COPY = 0.83
"""Of a PCIe link's rate, that a copy to the device reaches: nvbandwidth has 26.3 of 31.5 GB/s on an A100 of PCIe 4, 51
and 52 of 63 GB/s on an H100 and an H200 of PCIe 5 (Azure/AI-benchmarking-guide)."""


def host_link_byte_per_s(device: Device) -> float:
    """Bandwidth of the link to the host, a direction. [byte/s]

    Raises
    ------
    UnsupportedError
        If the device's profile lists none.
    """
    links = device.profile.links
    if links is None or links.host is None:
        raise UnsupportedError(
            f"{device.name}: its profile lists no link to the host; a device file with links.host does"
        )
    return parse(links.host.bandwidth, "byte/s", f"{device.name}: links.host.bandwidth")
