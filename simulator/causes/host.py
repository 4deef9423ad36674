"""Desktop computers issue calls faster than servers, whose processors clock lower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.causes.cause import RATIO, Cause, coefficient, starts

MARKS = (
    "PassMark's single-thread marks (from memory): Xeon Platinum 8168 and EPYC 7742 2,000 to 2,050, Core i9-9900K and "
    "i7-9700K 2,900 to 3,100"
)


@dataclass(frozen=True, eq=False, repr=False)
class HostOfDevice(Cause):
    """Time of a call by the computer that a device usually sits in."""

    title: ClassVar[str] = "hosts"
    slows: ClassVar[bool] = False

    desktop_host: float = coefficient(
        "host time of a call in a desktop computer, of a server's",
        1,
        RATIO,
        starts(MARKS, gpu=(0.67, 0.1)),
        absent=1.0,
    )
