"""All causes, in the order in which profiles and tables list them; a cause that is added stands here."""

from __future__ import annotations

from dataclasses import MISSING
from functools import lru_cache

from simulator.causes.cache import Cache
from simulator.causes.cause import MACHINE, Cause, Coefficient, Start
from simulator.causes.convolution import Convolutions
from simulator.causes.groups import Depthwise, NarrowGroups, ThinImages
from simulator.causes.host import HostOfDevice
from simulator.causes.passes import Passes
from simulator.causes.processor import Copies, Instructions
from simulator.causes.tiles import SmallTiles
from simulator.causes.winograd import Winograd

CAUSES: tuple[type[Cause], ...] = (
    SmallTiles,
    Winograd,
    Convolutions,
    NarrowGroups,
    ThinImages,
    Depthwise,
    Passes,
    Cache,
    HostOfDevice,
    Instructions,
    Copies,
)


@lru_cache
def coefficients() -> dict[str, Coefficient]:
    """Every coefficient by its name, as `kernel.<name>` of a profile gives it; a name given twice is an error."""
    listed = [one for cause in CAUSES for one in cause.coefficients()]
    found = {one.name: one for one in listed}
    if len(found) < len(listed):
        raise ValueError("two causes have a coefficient of one name")
    return found


def starts_of(family: str) -> dict[str, Start]:
    """Coefficient -> start and spread of a fit, of one family or kind of devices, or of `MACHINE`."""
    return {name: one.starts.at[family] for name, one in coefficients().items() if family in one.starts.at}


def fitted_families() -> list[str]:
    """Families and kinds of which some coefficient is fitted: kinds first, since families stand over them."""
    named = dict.fromkeys(family for one in coefficients().values() for family in one.starts.at)
    return sorted((family for family in named if family != MACHINE), key=lambda family: family not in ("gpu", "cpu"))


def neutral(title: str) -> dict[str, float]:
    """The coefficients of the causes of a title, at the values at which they change nothing."""
    named = [cause for cause in CAUSES if cause.title == title and cause.slows]
    return {one.name: one.neutral for cause in named for one in cause.coefficients()}


HEADER = ("cause", "coefficient", "what it is", "unit", "without it", "where fits start (value, spread)", "why there")


def table() -> list[tuple[str, ...]]:
    """One row a coefficient, of the columns `HEADER`, as documentation shows it."""
    return [(one.cause, f"`{one.name}`", one.words, one.unit.name, _absent(one), *_starts(one)) for one in _all()]


def _all() -> list[Coefficient]:
    return list(coefficients().values())


def _absent(one: Coefficient) -> str:
    """What stands in where no profile gives a coefficient."""
    if one.absent is MISSING:
        return "an error"
    return "as its cause says" if one.absent is None else f"{one.absent:g}"


def _starts(one: Coefficient) -> tuple[str, str]:
    places = [f"{family} {start:g} ± {spread:g}" for family, (start, spread) in one.starts.at.items()]
    return ", ".join(places) or "not fitted", one.starts.source
