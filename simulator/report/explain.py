"""An explanation on the terminal and as JSON."""

from __future__ import annotations

from typing import Any

from simulator.planning.explain import CauseShare, Explanation, Help
from simulator.report.listing import Row, print_table
from simulator.report.scorecard import headline
from simulator.units import duration

NEGLIGIBLE = 5e-4
"""Share of the time below which a cause is not listed."""


def print_explanation(found: Explanation) -> None:
    """What binds, how far from the roof and why, what would help."""
    print(title(found))
    for line in lines(found):
        print(f"  {line}")
    print()
    print_table("from the calibrated time to the roofline, cause by cause", share_rows(found))
    if found.helps:
        print_table("what would help, each run by itself", help_rows(found))
    if found.layer is None:
        print_table("layers with most time above their roof", worst_rows(found))


def title(found: Explanation) -> str:
    """The step, or the layer of it."""
    return headline(found.simulation) if found.layer is None else f"{found.layer} of {headline(found.simulation)}"


def lines(found: Explanation) -> list[str]:
    """In words: what binds, the roof, the largest cause."""
    whole = "the step" if found.layer is None else "the layer"
    times = found.time_s / found.roofline_s if found.roofline_s else float("inf")
    result = [
        f"{whole} takes {duration(found.time_s)} and is bound by {found.bound}; its roofline is "
        f"{duration(found.roofline_s)}, {times:.2f} times faster"
    ]
    largest = max(found.shares, key=lambda share: share.seconds)
    if largest.seconds > 0:
        part = largest.seconds / found.time_s
        result.append(f"most of what lies between, {part:.0%} of its time, is {largest.cause}: {largest.words}")
    if found.helps:
        best = found.helps[0]
        result.append(f"what would help most: {best.what}, {found.time_s / best.time_s:.2f} times faster")
    return result


def share_rows(found: Explanation) -> list[Row]:
    """A row a cause."""
    rows = [_share_row(share, found.time_s) for share in found.shares if abs(share.seconds) > NEGLIGIBLE * found.time_s]
    roof = {"cause": "the roofline", "time": duration(found.roofline_s), "share": _percent(found.roofline_s, found)}
    return [*rows, roof | {"what it is": "the slower of peak and bandwidth, kernel by kernel"}]


def _share_row(share: CauseShare, total: float) -> Row:
    sign = "-" if share.seconds < 0 else ""
    return {
        "cause": share.cause,
        "time": f"{sign}{duration(abs(share.seconds))}",
        "share": f"{share.seconds / total:.1%}",
        "what it is": share.words,
    }


def _percent(seconds: float, found: Explanation) -> str:
    return f"{seconds / found.time_s:.1%}"


def help_rows(found: Explanation) -> list[Row]:
    """A row a change, those that help most first."""
    return [_help_row(one, found.time_s) for one in found.helps]


def _help_row(one: Help, total: float) -> Row:
    return {
        "change": one.what,
        "time": duration(one.time_s),
        "faster": f"{total / one.time_s:.2f} x",
        "saves": f"{1 - one.time_s / total:.0%}",
        "option": one.option + ("" if one.fits else " (does not fit the memory)"),
    }


def worst_rows(found: Explanation) -> list[Row]:
    """A row a layer."""
    return [
        {"layer": name, "above its roof": duration(seconds), "share": f"{seconds / found.time_s:.1%}", "mostly": cause}
        for name, seconds, cause in found.worst
    ]


def explanation_summary(found: Explanation) -> dict[str, Any]:
    """Stable keys, SI units."""
    return {
        "workload": found.simulation.workload.name,
        "device": found.simulation.device.name,
        "layer": found.layer,
        "time_s": found.time_s,
        "roofline_s": found.roofline_s,
        "bound": found.bound,
        "shares": [{"cause": share.cause, "seconds": share.seconds} for share in found.shares],
        "helps": [{"what": h.what, "option": h.option, "time_s": h.time_s, "fits": h.fits} for h in found.helps],
        "worst": [{"layer": name, "above_s": seconds, "cause": cause} for name, seconds, cause in found.worst],
    }
