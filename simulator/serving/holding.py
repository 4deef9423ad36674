"""How an engine fills a device's memory: its share, what its largest step holds, and what it keeps for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from simulator.device.profile import Strict
from simulator.units import parse


class MemorySectionOfEngine(Strict, frozen=True, kw_only=True):
    """What is left of a device's memory for the cache."""

    fraction: Annotated[float, Meta(gt=0, le=1, description="of the device's memory that the engine takes")] = 0.9
    of_free: Annotated[bool, Meta(description="the fraction is of what weights and activations leave")] = False
    tried: Annotated[
        bool, Meta(description="the largest step is tried out, and what it holds comes out of the fraction")
    ] = True
    samples: Annotated[
        float, Meta(gt=0, description="copies of the scores, 4 bytes each, while the next tokens are chosen")
    ] = 1.0
    choosing: (
        Annotated[int, Meta(ge=1, description="requests of the step that is tried out; the scheduler's most if unsaid")]
        | None
    ) = None
    reserve: Annotated[str, Meta(description="context and libraries' workspaces")] = "0 GiB"
    group: Annotated[str, Meta(description="further, where devices share layers: buffers of their exchange")] = "0 GiB"
    narrow_cache: Annotated[bool, Meta(description="8-bit cache where products are of 8 bits or fewer")] = False
    paged: Annotated[bool, Meta(description="the cache is dealt out in blocks as requests grow")] = True


@dataclass(frozen=True)
class EngineHolding:
    """The same in SI units; see `MemorySectionOfEngine`.

    Attributes
    ----------
    reserve_bytes, group_bytes : kept of each device, and further where devices share layers. [byte]
    """

    fraction: float
    of_free: bool
    tried: bool
    samples: float
    choosing: int | None
    reserve_bytes: float
    group_bytes: float
    narrow_cache: bool
    paged: bool

    def kept(self, ways: int) -> float:
        """What the engine keeps of a device for itself. [byte]"""
        return self.reserve_bytes + (self.group_bytes if ways > 1 else 0.0)


def holding_of(section: MemorySectionOfEngine, where: str) -> EngineHolding:
    """A section in SI units."""
    return EngineHolding(
        fraction=section.fraction,
        of_free=section.of_free,
        tried=section.tried,
        samples=section.samples,
        choosing=section.choosing,
        reserve_bytes=parse(section.reserve, "byte", f"{where}: memory.reserve", positive=False),
        group_bytes=parse(section.group, "byte", f"{where}: memory.group", positive=False),
        narrow_cache=section.narrow_cache,
        paged=section.paged,
    )
