"""Figures of a served model: throughput and latency, roofline, memory, a queue's latencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from simulator.report.style import BLUE, DARK_GREEN, GREEN, GREY, INK, ORANGE, SKY, new_figure, styled
from simulator.roofline.rates import Fidelity
from simulator.roofline.roofs import device_roofs
from simulator.roofline.setting import Setting
from simulator.serving.answer import Point, Serving
from simulator.serving.cache import request_bytes
from simulator.serving.step import decoding, reading, step_times
from simulator.serving.times import StepTimes
from simulator.serving.traffic import LATENCIES, QueueAnswer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLACE = (0.08, 0.14, 0.88, 0.74)
COLOURS = {"ttft": BLUE, "tpot": ORANGE, "e2e": DARK_GREEN}
WORDS = {"ttft": "first token", "tpot": "a token", "e2e": "request"}
BATCHES = (1, 4, 16, 64, 256)
GIB = 2.0**30
MARKS = "each mark is a number of requests at a time"


def _new(answer: Serving, what: str, notes: list[str]) -> tuple[Figure, Axes]:
    deployment, request = answer.deployment, answer.service.request
    place = f"{deployment.devices} x {deployment.device.name}"
    title = f"{deployment.workload.name} in {deployment.form.name} on {place}: {what}"
    figure = new_figure(title, [f"{deployment.engine.name}, {request.prompt} tokens in, {request.output} out", *notes])
    return figure, figure.add_axes(PLACE)


def _breaks(point: Point, limits: Mapping[str, float]) -> bool:
    """Whether requests at so many a time miss one of the limits on average."""
    found = {"ttft": point.first_s, "tpot": point.token_s, "e2e": point.request_s}
    return any(found[name] > limit for name, limit in limits.items())


def throughput_figure(answer: Serving, queue: QueueAnswer | None = None) -> Figure:
    """Tokens a second of all requests against those of one, a mark a concurrency; what keeps a limit is shaded."""
    from matplotlib.ticker import LogLocator

    kept = queue.promise if queue else None
    with styled():
        figure, axes = _new(answer, "tokens a second", [MARKS + ("; hollow where a limit is broken" if kept else "")])
        fitting = [point for point in answer.points if point.fits]
        axes.plot(
            [1e3 * point.token_s for point in fitting],
            [point.tokens_per_s for point in fitting],
            color=BLUE,
            marker="o",
        )
        for point in fitting:
            place = (1e3 * point.token_s, point.tokens_per_s)
            axes.annotate(f"{point.requests}", place, xytext=(7, -13), textcoords="offset points")
        limits = dict(kept.limits) if kept else {}
        broken = [point for point in fitting if _breaks(point, limits)]
        axes.plot(
            [1e3 * point.token_s for point in broken],
            [point.tokens_per_s for point in broken],
            linestyle="",
            color=BLUE,
            marker="o",
            markerfacecolor="white",
        )
        if "tpot" in limits:
            axes.axvspan(0, 1e3 * limits["tpot"], color=GREEN, alpha=0.12, lw=0)
        most = 1.08e3 * max(point.token_s for point in fitting)
        axes.set(xlabel="time a token [ms]", ylabel="tokens/s of all requests", yscale="log", xlim=(0, most))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
    return figure


def roofline_figure(answer: Serving, queue: QueueAnswer | None = None) -> Figure:  # noqa: ARG001
    """Where steps lie under the device's roofs: reading a prompt, and decoding more and more requests together."""
    deployment = answer.deployment
    roofs = device_roofs(Setting(deployment.device, deployment.form.precision, fidelity=Fidelity.ROOFLINE))
    ridge, peak = roofs.ridges[0]
    bandwidth = roofs.memory.datasheet
    with styled():
        notes = [f"roofs: {peak / 1e12:,.0f} TFLOP/s and {bandwidth / 1e12:,.2f} TB/s of the datasheet, of one device"]
        figure, axes = _new(answer, "from memory to compute", notes)
        intensity = np.logspace(-1, 4, 200)
        axes.plot(intensity, [roofs.attainable(x) / 1e12 for x in intensity.tolist()], color=INK)
        axes.axvline(ridge, color=GREY, linewidth=0.8, linestyle=":")
        context = answer.service.request.prompt + answer.service.request.output / 2
        steps = [(f"decoding {n}", decoding(n, context), BLUE, "o") for n in BATCHES]
        steps.append(
            (f"reading {answer.service.request.prompt}", reading(1, answer.service.request.prompt), ORANGE, "s")
        )
        for word, load, colour, marker in steps:
            _mark(axes, step_times(answer.deployment, load), word, (colour, marker))
        axes.set(xscale="log", yscale="log", xlabel="FLOP a byte of traffic", ylabel="TFLOP/s of one device")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
            axis.set_minor_formatter(lambda *_: "")
    return figure


def _mark(axes: Axes, times: StepTimes, word: str, look: tuple[str, str]) -> None:
    place = (float(times.intensity_flop_per_byte[0]), float(times.flop_per_s[0]) / 1e12)
    axes.plot([place[0]], [place[1]], color=look[0], marker=look[1], linestyle="")
    axes.annotate(word, place, xytext=(8, -12), textcoords="offset points", color=look[0])


def memory_figure(answer: Serving, queue: QueueAnswer | None = None) -> Figure:  # noqa: ARG001
    """What a device holds at each concurrency, part by part, under its capacity."""
    room, deployment = answer.capacity, answer.deployment
    length = answer.service.request.total
    with styled():
        figure, axes = _new(answer, "memory of a device", [f"the cache at full length, {length:,} tokens a request"])
        names = [f"{point.requests}" for point in answer.points]
        cache = np.array([point.requests * request_bytes(deployment, length) for point in answer.points])
        parts = (
            ("weights", np.full(len(names), room.weights_bytes), BLUE),
            ("activations", np.full(len(names), room.activations_bytes), SKY),
            ("reserve", np.full(len(names), room.reserve_bytes), GREY),
            ("cache", cache, ORANGE),
        )
        bottom = np.zeros(len(names))
        for name, size, colour in parts:
            axes.bar(names, size / GIB, bottom=bottom / GIB, color=colour, label=name, width=0.7)
            bottom = bottom + size
        capacity = deployment.device.memory.capacity_bytes
        axes.axhline(capacity / GIB, color=INK, linewidth=1)
        axes.annotate("capacity", (0, capacity / GIB), xytext=(0, 4), textcoords="offset points")
        most = room.weights_bytes + room.activations_bytes + room.reserve_bytes + room.cache_bytes
        axes.axhline(most / GIB, color=INK, linewidth=0.8, linestyle="--")
        axes.annotate(f"{deployment.engine.name}'s share", (0, most / GIB), xytext=(0, -14), textcoords="offset points")
        axes.set(xlabel="requests at a time", ylabel="GiB", ylim=(0, 1.15 * max(capacity, float(bottom.max())) / GIB))
        axes.legend(loc="upper right", ncols=4, frameon=False)
    return figure


def latency_figure(answer: Serving, queue: QueueAnswer) -> Figure:
    """Share of the requests that are served within a time, by latency."""
    with styled():
        rate = queue.served.requests.rate_per_s
        figure, axes = _new(
            answer, "latencies of a queue", [f"{len(queue.served.requests):,} requests at {rate:,.3g}/s"]
        )
        share = 100 * (np.arange(len(queue.served.requests)) + 1) / len(queue.served.requests)
        for name, column in LATENCIES.items():
            values = 1e3 * np.sort(getattr(queue.served, column))
            axes.plot(np.maximum(values, 1e-3), share, color=COLOURS[name], label=WORDS[name])
        for name, limit in queue.promise.limits if queue.promise else ():
            axes.axvline(1e3 * limit, color=COLOURS[name], linewidth=1, linestyle="--")
        axes.set(
            xscale="log", xlabel="time [ms]; limits are dashed", ylabel="% of the requests within it", ylim=(0, 101)
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False)
    return figure


def queue_figure(answer: Serving, queue: QueueAnswer) -> Figure:
    """Requests that run and that wait, over time, and below them the share of the cache that is in use."""
    served = queue.served
    with styled():
        note = f"{len(served.requests):,} requests at {served.requests.rate_per_s:,.3g}/s"
        figure, axes = _new(answer, "the queue over time", [note])
        axes.set_position((0.08, 0.46, 0.88, 0.42))
        below = figure.add_axes((0.08, 0.14, 0.88, 0.26), sharex=axes)
        for name, values, colour in (("running", served.running, BLUE), ("waiting", served.waiting, ORANGE)):
            axes.step(served.moment_s, values, where="post", color=colour, label=name)
        share = 100 * served.cached / queue.line.rules.blocks
        below.step(served.moment_s, share, where="post", color=GREEN)
        axes.set(ylabel="requests", ylim=(0, None))
        axes.tick_params(labelbottom=False)
        below.set(xlabel="time [s]", ylabel="% of the cache", ylim=(0, 105))
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    return figure
