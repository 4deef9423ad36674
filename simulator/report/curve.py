"""Latency and throughput of inference over batches: on a terminal, as JSON, as a figure."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.report.listing import Row, print_table
from simulator.report.writing import writing
from simulator.serving.curve import Curve, CurvePoint
from simulator.serving.fastest import Choice
from simulator.units import binary_bytes, duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def print_curve(found: Curve) -> None:
    """The fastest answer, the knee, the limit, then one row a batch."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    first, knee = found.points[0], found.knee
    console.print(
        f"{found.workload.name} on {found.device.name}, inference in {found.options.precision}{_beside(found)}: "
        f"{duration(first.latency_s)} at batch {first.batch}",
        style="bold",
    )
    console.print(f"  knee at batch {knee.batch}: {duration(knee.latency_s)}, {knee.samples_per_s:,.0f} samples/s")
    console.print(f"  the memory holds a batch of {found.largest_batch:,}" + (" of each" if _beside(found) else ""))
    if found.limit_s is not None:
        console.print(f"  {_limit_line(found)}")
        if found.fastest is not None:
            console.print(f"  {_rate_line(found, found.fastest)}")
    console.print()
    print_table("batches", [_row(point) for point in found.points])
    console.print("fidelity: " + found.options.fidelity)


def _beside(found: Curve) -> str:
    copies = found.copies
    return f", {copies.number} {copies.word}" if copies.number > 1 else ""


def _limit_line(found: Curve) -> str:
    limit, point = duration(found.limit_s or 0), found.within
    if point is None:
        return f"no batch keeps {limit}"
    rate = f"{point.samples_per_s:,.0f} samples/s"
    return f"largest batch within {limit}: {point.batch}, in {duration(point.latency_s)}, at most {rate}"


def _rate_line(found: Curve, best: Choice) -> str:
    number, limit = best.copies.number, duration(found.limit_s or 0)
    beside = f" in each of {number} {best.copies.word}" if number > 1 else ""
    rate = f"{best.samples_per_s:,.0f} samples/s"
    return f"largest rate within {limit}: {rate}, at batch {best.batch}{beside}, in {duration(best.latency_s)}"


def _row(point: CurvePoint) -> Row:
    return {
        "batch": f"{point.batch}",
        "latency": duration(point.latency_s),
        "samples/s": f"{point.samples_per_s:,.1f}",
        "memory": binary_bytes(point.memory_bytes),
        "fits": "yes" if point.fits else "no",
        "bound": point.bound,
    }


def curve_summary(found: Curve) -> dict[str, Any]:
    """The curve as a JSON document; its keys are described in docs/json.md."""
    return {
        "workload": found.workload.name,
        "device": found.device.name,
        "precision": found.options.precision,
        "framework": found.options.framework,
        "streams": found.copies.number if found.copies.shared else 1,
        "replicas": 1 if found.copies.shared else found.copies.number,
        "largest_batch": found.largest_batch,
        "knee_batch": found.knee.batch,
        "slo_s": found.limit_s,
        "within_slo": asdict(found.within) if found.within else None,
        "fastest_within_slo": _fastest(found.fastest),
        "batches": [asdict(point) for point in found.points],
    }


def _fastest(best: Choice | None) -> dict[str, Any] | None:
    if best is None:
        return None
    shared, number = best.copies.shared, best.copies.number
    return {
        "batch": best.batch,
        "streams": number if shared else 1,
        "replicas": 1 if shared else number,
        "latency_s": best.latency_s,
        "samples_per_s": best.samples_per_s,
    }


def write_curve(found: Curve, out: str) -> None:
    """`latency.png`, `latency.svg` and `latency.json` in the folder of the workload and device.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    from simulator.report.style import save
    from simulator.report.summary import json_text

    folder = Path(out) / re.sub(r"[^\w.+-]+", "_", f"{found.workload.name}-{found.device.name}")
    with writing("the figure", folder):
        folder.mkdir(parents=True, exist_ok=True)
        save(curve_figure(found), folder, "latency")
        (folder / "latency.json").write_text(json_text(curve_summary(found)) + "\n", encoding="utf-8")


def curve_figure(found: Curve) -> Figure:
    """Throughput against latency, a mark a batch, the knee named and the limit shaded."""
    from simulator.report.style import BLUE, GREEN, ORANGE, new_figure, styled

    with styled():
        title = f"{found.workload.name}, inference in {found.options.precision} on {found.device.name}{_beside(found)}"
        figure = new_figure(
            title, ["each mark is a batch; the knee is the batch of most throughput over latency; a limit is shaded"]
        )
        axes = figure.add_axes((0.08, 0.14, 0.88, 0.74))
        latency = [1e3 * point.latency_s for point in found.points]
        axes.plot(latency, [point.samples_per_s for point in found.points], color=BLUE, marker="o")
        if found.limit_s is not None:
            axes.axvspan(0, 1e3 * found.limit_s, color=GREEN, alpha=0.12, lw=0)
        for point in found.points:
            text = f"{point.batch}, the knee" if point is found.knee else f"{point.batch}"
            looks: dict[str, Any] = {"color": ORANGE, "fontweight": "bold"} if point is found.knee else {}
            place = (1e3 * point.latency_s, point.samples_per_s)
            axes.annotate(text, place, xytext=(7, -13), textcoords="offset points", **looks)
        axes.set(xlabel="latency [ms]", ylabel="samples/s", yscale="log", xlim=(0, 1.08 * max(latency)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
    return figure
