"""How sure the latencies of served requests are: where measured ones lie beside predicted ones, by engine.

`calibration/served_spans.py` finds the numbers of `hardware_profiles/certainty/serving.yaml` in a measured table.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta

from simulator import catalog
from simulator.device.profile import Source, Strict

FOLDER = "hardware_profiles/certainty"


class Ends(Strict, frozen=True, kw_only=True):
    """Where a measured latency lies, as factors of the predicted one; the fast end and the slow one."""

    low: Annotated[float, Meta(gt=0, le=1)]
    high: Annotated[float, Meta(ge=1)]


class LatencyEnds(Strict, frozen=True, kw_only=True):
    """Of each latency that was measured."""

    first: Annotated[Ends, Meta(description="time to the first token")]
    token: Annotated[Ends, Meta(description="mean time of a token")]


class ServingCertainty(Strict, frozen=True, kw_only=True):
    """`hardware_profiles/certainty/serving.yaml`."""

    name: str
    kind: Literal["latencies"]
    description: str
    coverage: Annotated[float, Meta(gt=0, lt=1, description="probability that a span claims")]
    engines: Annotated[dict[str, LatencyEnds], Meta(description="by engine")]
    others: Annotated[LatencyEnds, Meta(description="of engines of which nothing was measured: all rows together")]
    sources: tuple[Source, ...] = ()


@lru_cache
def serving_certainty() -> ServingCertainty:
    """The spans as found."""
    path = catalog.find(FOLDER, "serving")
    found: ServingCertainty = catalog.convert(catalog.read_yaml(path), ServingCertainty, str(path))
    return found


def spans_of(engine: str) -> dict[str, Ends]:
    """Ends of each latency that may be promised, `ttft`, `tpot` and `e2e`, under an engine.

    A request's whole time is as sure as the less sure of its two parts.
    """
    certainty = serving_certainty()
    found = certainty.engines.get(engine, certainty.others)
    low, high = min(found.first.low, found.token.low), max(found.first.high, found.token.high)
    return {"ttft": found.first, "tpot": found.token, "e2e": Ends(low=low, high=high)}
