"""Desktop computers issue calls faster than servers, whose processors clock lower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.causes.cause import NETWORKS, RATIO, Cause, coefficient, starts


@dataclass(frozen=True, eq=False, repr=False)
class HostOfDevice(Cause):
    """Time of a call by the computer that a device usually sits in."""

    title: ClassVar[str] = "hosts"
    slows: ClassVar[bool] = False

    desktop_host: float = coefficient(
        "host time of a call in a desktop computer, of a server's",
        1,
        RATIO,
        starts(NETWORKS, gpu=(0.7, 0.3)),
        absent=1.0,
    )
