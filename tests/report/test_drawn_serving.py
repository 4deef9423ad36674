"""What figures of served models draw: places, heights, shades and limits of answers made up by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from simulator.device.device import load_device
from simulator.report import serving_figures
from simulator.serving.answer import Point, Serving
from simulator.serving.arrivals import Requests
from simulator.serving.scheduler import Served
from simulator.serving.traffic import Promise, QueueAnswer
from tests.drawn import GIB, bars_of, inside, near, points_of, span, texts, written
from tests.looks import Compare

if TYPE_CHECKING:
    pass


# ---- served models


def point(requests: int, token_s: float, fits: bool = True) -> Point:
    return Point(requests, 0.1, token_s, 1.0, 1 / token_s, requests / token_s, "memory", None, None, 0.0, fits)


POINTS = (point(1, 0.01), point(8, 0.02), point(64, 0.05), point(256, 0.2, fits=False))


def served_model(**more: Any) -> Serving:
    made: dict[str, Any] = {
        "deployment": SimpleNamespace(
            devices=2,
            device=load_device("h100"),
            workload=SimpleNamespace(name="llama"),
            form=SimpleNamespace(name="fp8"),
            engine=SimpleNamespace(name="vllm"),
        ),
        "service": SimpleNamespace(request=SimpleNamespace(prompt=1000, output=100, total=1100)),
        "points": POINTS,
        "capacity": SimpleNamespace(
            weights_bytes=8 * GIB, activations_bytes=GIB, reserve_bytes=2 * GIB, cache_bytes=20 * GIB
        ),
    }
    return cast(Serving, SimpleNamespace(**{**made, **more}))


def queue(*limits: tuple[str, float]) -> QueueAnswer:
    """Four requests, one a second, whose first tokens take 0.1 to 0.4 s and the ten after them 1 s."""
    arrivals = np.arange(4.0)
    requests = Requests(arrivals, np.full(4, 1000), np.full(4, 11))
    first = arrivals + np.array([0.4, 0.1, 0.3, 0.2])
    served = Served(
        requests,
        first,
        first + 1.0,
        moment_s=np.array([0.0, 1.0, 2.0]),
        waiting=np.array([0.0, 3.0, 1.0]),
        running=np.array([1.0, 2.0, 2.0]),
        cached=np.array([0.0, 50.0, 100.0]),
        preempted=0,
        tokens=44,
    )
    line: Any = SimpleNamespace(rules=SimpleNamespace(blocks=200))
    return QueueAnswer(line, served, Promise(limits) if limits else None)


def test_throughput_against_the_time_of_a_token(as_drawn: Compare) -> None:
    figure = serving_figures.throughput_figure(served_model())
    axes = figure.axes[0]
    every, broken = axes.lines
    # Those that fit: 1, 8 and 64 requests of 10, 20 and 50 ms a token.
    assert points_of(every) == near([(10, 100), (20, 400), (50, 1280)])
    assert points_of(broken) == []
    assert texts(axes) == ["1", "8", "64"]
    assert list(axes.patches) == []
    assert axes.get_xlim() == pytest.approx((0, 54))
    assert axes.get_yscale() == "log"
    assert axes.yaxis.get_major_formatter()(1280, 0) == "1,280"
    assert "llama in fp8 on 2 x h100-sxm5-80gb: tokens a second" in written(figure)
    assert "vllm, 1000 tokens in, 100 out" in written(figure)
    assert "hollow" not in written(figure)
    inside(figure)
    as_drawn(figure, "serving-throughput")


def test_what_keeps_a_promise_is_shaded_and_what_breaks_it_hollow() -> None:
    figure = serving_figures.throughput_figure(served_model(), queue(("tpot", 0.03)))
    axes = figure.axes[0]
    assert points_of(axes.lines[1]) == near([(50, 1280)])
    assert axes.lines[1].get_markerfacecolor() == "white"
    assert span(axes) == pytest.approx((0, 30))
    assert "hollow where a limit is broken" in written(figure)
    # Limits of others than the token shade nothing; a first token after 0.1 s, a request of 1 s.
    for limit, count in ((("ttft", 0.1), 0), (("ttft", 0.09), 3), (("e2e", 1.0), 0), (("e2e", 0.9), 3)):
        axes = serving_figures.throughput_figure(served_model(), queue(limit)).axes[0]
        assert len(points_of(axes.lines[1])) == count
        assert list(axes.patches) == []


def test_memory_part_by_part_under_the_capacity(monkeypatch: pytest.MonkeyPatch, as_drawn: Compare) -> None:
    monkeypatch.setattr(serving_figures, "request_bytes", lambda _, length: length * GIB / 1100)
    figure = serving_figures.memory_figure(served_model(points=POINTS[:2]))
    axes = figure.axes[0]
    # A request of 1,100 tokens is a GiB: on 8 of weights, 1 of activations, 2 of reserve come 1 and 8 of cache.
    assert bars_of(axes) == near([(0, 8), (0, 8), (8, 1), (8, 1), (9, 2), (9, 2), (11, 1), (11, 8)])
    capacity = load_device("h100").memory.capacity_bytes / GIB
    assert axes.lines[0].get_ydata()[0] == pytest.approx(capacity)
    # The engine's own share: 8, 1 and 2 beside a cache of 20.
    assert axes.lines[1].get_ydata()[0] == pytest.approx(31)
    assert texts(axes) == ["capacity", "vllm's share"]
    assert axes.get_ylim() == pytest.approx((0, 1.15 * capacity))
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["weights", "activations", "reserve", "cache"]
    assert "1,100 tokens a request" in written(figure)
    over = serving_figures.memory_figure(served_model(points=(point(100, 1.0),))).axes[0]
    assert over.get_ylim()[1] == pytest.approx(1.15 * 111)
    inside(figure)
    as_drawn(figure, "serving-memory")


def test_shares_of_requests_within_a_time(as_drawn: Compare) -> None:
    figure = serving_figures.latency_figure(served_model(), queue(("ttft", 0.25)))
    axes = figure.axes[0]
    first, token, whole, limit = axes.lines
    assert points_of(first) == near([(100, 25), (200, 50), (300, 75), (400, 100)])
    assert points_of(token) == near([(100, share) for share in (25, 50, 75, 100)])
    assert points_of(whole) == near([(1100, 25), (1200, 50), (1300, 75), (1400, 100)])
    assert limit.get_xdata()[0] == pytest.approx(250)
    assert limit.get_color() == first.get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["first token", "a token", "request"]
    assert (axes.get_ylim(), axes.get_xscale()) == ((0, 101), "log")
    assert "4 requests at 1/s" in written(figure)
    assert len(serving_figures.latency_figure(served_model(), queue()).axes[0].lines) == 3
    inside(figure)
    as_drawn(figure, "serving-latency")


def test_a_queue_over_time_and_its_cache(as_drawn: Compare) -> None:
    figure = serving_figures.queue_figure(served_model(), queue())
    above, below = figure.axes
    running, waiting = above.lines
    assert points_of(running) == [(0, 1), (1, 2), (2, 2)]
    assert points_of(waiting) == [(0, 0), (1, 3), (2, 1)]
    assert points_of(below.lines[0]) == [(0, 0), (1, 25), (2, 50)]  # of 200 blocks
    assert below.get_ylim() == (0, 105)
    assert above.get_ylim()[0] == 0
    assert {line.get_drawstyle() for line in (*above.lines, *below.lines)} == {"steps-post"}
    assert "4 requests at 1/s" in written(figure)
    assert below.get_position().y1 < above.get_position().y0
    inside(figure)
    as_drawn(figure, "serving-queue")
