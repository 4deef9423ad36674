"""A served model on a terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from simulator.device.visible import visible_bytes
from simulator.report.listing import Row, print_table
from simulator.serving.answer import Point, Serving
from simulator.serving.cache import Capacity
from simulator.serving.certainty import serving_certainty, spans_of
from simulator.serving.costs import Speculation
from simulator.serving.times import ServingBound, StepTimes
from simulator.serving.traffic import QueueAnswer, percentiles
from simulator.units import binary_bytes, duration


def print_serving(answer: Serving, queue: QueueAnswer | None = None) -> None:
    """The answer first, then the cache, what binds, and one row a concurrency."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(headline(answer), style="bold")
    for line in answer_lines(answer):
        console.print(f"  {line}")
    console.print()
    print_table("requests at a time", point_rows(answer))
    if queue is not None:
        console.print("\n".join(queue_lines(queue)), style="bold")
        print_table("", latency_rows(queue))
    console.print(basis_line(answer))


def answer_lines(answer: Serving) -> list[str]:
    """The most it serves, what the cache holds, what binds, and how sure that is."""
    return [_best_line(answer), _cache_line(answer), _bound_line(answer), _sure_line(answer)]


def point_rows(answer: Serving) -> list[Row]:
    """One row a concurrency."""
    return [_row(point) for point in answer.points]


def queue_lines(queue: QueueAnswer) -> list[str]:
    """What requests over time found, and the largest rate that keeps limits."""
    served, line = queue.served, queue.line
    lines = [
        f"{len(served.requests):,} requests at {served.requests.rate_per_s:,.3g}/s: "
        f"{served.tokens_per_s:,.0f} tokens/s, at most {served.running.max():,.0f} at a time, "
        f"{served.waiting.max():,.0f} waiting, cache full to {served.cached.max() / line.rules.blocks:.0%}, "
        f"{served.preempted} preempted"
    ]
    if queue.promise is not None and queue.good_share is not None and queue.goodput_per_s is not None:
        lines.append(f"{queue.good_share:.1%} of the requests keep all limits: goodput {queue.goodput_per_s:,.3g}/s")
    if queue.promise is not None and queue.largest_rate_per_s is not None:
        limits = ", ".join(f"{name} {duration(limit)}" for name, limit in queue.promise.limits)
        lines.append(f"largest rate of which 95 of 100 keep {limits}: {queue.largest_rate_per_s:,.3g}/s")
    return lines


def latency_rows(queue: QueueAnswer) -> list[Row]:
    """Percentiles of each latency."""
    names = {"ttft": "first token", "tpot": "a token", "e2e": "request"}
    return [
        {"latency": names[name], **{key.removesuffix("_s"): duration(value) for key, value in shares.items()}}
        for name, shares in percentiles(queue.served).items()
    ]


def headline(answer: Serving) -> str:
    """Model, devices, engine, and one request alone."""
    deployment, request, point = answer.deployment, answer.service.request, answer.points[0]
    means = _means(answer)
    return (
        f"{deployment.workload.name} in {deployment.form.name} on {deployment.devices} x {deployment.device.name} "
        f"with {deployment.engine.name}{means}, {request.prompt} tokens in, {request.output} out: first token after "
        f"{duration(point.first_s)}, then {duration(point.token_s)} a token "
        f"({'one request' if point.requests == 1 else f'{point.requests} requests'})"
    )


def _means(answer: Serving) -> str:
    """Other devices that read prompts, shared beginnings, guessed tokens."""
    service = answer.service
    more = f", prompts on {service.prefill_devices} more" if service.prefill_devices else ""
    return more + saved_words(service.shared, service.speculation)


def saved_words(shared: int, guess: Speculation) -> str:
    """Tokens of a prompt that all share, and tokens guessed ahead; nothing where there are none."""
    beginning = f", {shared} tokens of each prompt shared" if shared else ""
    guessed = f", {guess.ahead} tokens guessed ahead, {guess.acceptance:.0%} of them right" if guess.ahead else ""
    return beginning + guessed


def _best_line(answer: Serving) -> str:
    best = max(answer.points, key=lambda point: point.tokens_per_s)
    return f"at most {best.tokens_per_s:,.0f} tokens/s, with {best.requests} requests at a time"


def _cache_line(answer: Serving) -> str:
    room, length = answer.capacity, answer.service.request.total
    seen_bytes = visible_bytes(answer.deployment.device)
    return (
        f"each device: weights {binary_bytes(room.weights_bytes)}, cache {binary_bytes(room.cache_bytes)} of "
        f"{binary_bytes(seen_bytes)} that programs see; the cache holds {_held(room, length)}"
    )


def _held(room: Capacity, length: int) -> str:
    """Tokens and requests of that length; states, where layers keep those."""
    requests = f"{room.requests(length):,.2f} requests of"
    if not room.token_bytes:
        return f"{requests} any length, each a state of {binary_bytes(room.state_bytes)}"
    if room.state_bytes:
        return f"{requests} {length:,} tokens, each with a state of {binary_bytes(room.state_bytes)}"
    if room.windows:
        spans = ", ".join(f"{span:,}" for span, _ in room.windows)
        return f"{requests} {length:,} tokens, of which some layers keep the last {spans}"
    return f"{room.tokens:,} tokens, {room.requests(length):.2f} requests of {length:,}"


def _bound_line(answer: Serving) -> str:
    first, last = answer.points[0], answer.points[-1]
    reading = answer.prefill.bound().word
    words = [f"reading a prompt waits for {reading}", f"decoding {first.requests} for {first.bound}"]
    if last is not first:
        words.append(f"decoding {last.requests} for {last.bound}")
    return "; ".join(words)


def _sure_line(answer: Serving) -> str:
    """Where measured latencies lie about predicted ones."""
    engine = answer.deployment.engine.name
    known, spans = serving_certainty(), spans_of(engine)
    first, token = (f"{spans[name].low:g} to {spans[name].high:g} times" for name in ("ttft", "tpot"))
    under = engine if engine in known.engines else f"all engines, none of them {engine}"
    return (
        f"how sure: {known.coverage:.0%} of measurements on other devices lie within {first} a predicted first token, "
        f"{token} a predicted time a token ({under})"
    )


def basis_line(answer: Serving) -> str:
    """What the numbers rest on."""
    device = answer.deployment.device
    price = device.profile.price
    dated = f"; price of {price.date}: {price.usd_per_hour} USD an hour a device" if price else ""
    return f"static answer, fidelity: calibrated{dated}; energy at the boards' full power"


def _row(point: Point) -> Row:
    return {
        "requests": f"{point.requests}",
        "first token": duration(point.first_s),
        "a token": duration(point.token_s),
        "request": duration(point.request_s),
        "tokens/s each": f"{point.request_tokens_per_s:,.1f}",
        "tokens/s": f"{point.tokens_per_s:,.0f}",
        "decoding waits for": point.bound,
        "USD/M tokens": "" if point.cost_usd is None else f"{point.cost_usd:,.2f}",
        "J/token": "" if point.energy_j is None else f"{point.energy_j:,.3g}",
        "cache": binary_bytes(point.cache_bytes),
        "fits": "yes" if point.fits else "no",
    }


def serving_summary(answer: Serving, queue: QueueAnswer | None = None) -> dict[str, Any]:
    """The answer as a JSON document; its keys are described in docs/json.md."""
    deployment, service, room = answer.deployment, answer.service, answer.capacity
    return {
        "workload": {"name": deployment.workload.name, "parameters": deployment.workload.parameters},
        "device": {"name": deployment.device.name, "devices": answer.devices},
        "options": {
            "precision": deployment.form.name,
            "cache_bytes": deployment.cache_bytes,
            "engine": deployment.engine.name,
            "tp": deployment.ways,
            "pp": deployment.stages,
            "expert_parallel": deployment.by_experts,
            "input": service.request.prompt,
            "output": service.request.output,
            "prefix": service.shared,
            "guessed": service.speculation.ahead,
            "acceptance": service.speculation.acceptance,
            "prefill_devices": service.prefill_devices,
            "memory_fraction": deployment.engine.memory.fraction,
            "step_tokens": deployment.engine.scheduler.tokens,
            "step_requests": deployment.engine.scheduler.requests,
        },
        "memory": {
            "visible_bytes": visible_bytes(deployment.device),
            "weights_bytes": room.weights_bytes,
            "activations_bytes": room.activations_bytes,
            "reserve_bytes": room.reserve_bytes,
            "cache_bytes": room.cache_bytes,
            "token_bytes": room.token_bytes,
            "state_bytes": room.state_bytes,
            "tokens": room.tokens,
            "requests": room.requests(service.request.total),
        },
        "interval": _interval(answer),
        "prefill": _step(answer.prefill),
        "concurrency": [asdict(point) for point in answer.points],
        "queue": _queue_summary(queue) if queue else None,
    }


def _interval(answer: Serving) -> dict[str, Any]:
    """Ends of the latencies, as factors of the predicted ones."""
    spans = spans_of(answer.deployment.engine.name)
    ends = {
        name: {"low": spans[key].low, "high": spans[key].high} for name, key in (("first", "ttft"), ("token", "tpot"))
    }
    return {"coverage": serving_certainty().coverage, **ends}


def _queue_summary(queue: QueueAnswer) -> dict[str, Any]:
    served = queue.served
    return {
        "requests": len(served.requests),
        "rate_per_s": served.requests.rate_per_s,
        "tokens_per_s": served.tokens_per_s,
        "latency": percentiles(served),
        "most_running": int(served.running.max()),
        "most_waiting": int(served.waiting.max()),
        "cache_share": float(served.cached.max()) / queue.line.rules.blocks,
        "preempted": served.preempted,
        "slo": {f"{name}_s": limit for name, limit in queue.promise.limits} if queue.promise else None,
        "good_share": queue.good_share,
        "goodput_per_s": queue.goodput_per_s,
        "largest_rate_per_s": queue.largest_rate_per_s,
    }


def _step(times: StepTimes) -> dict[str, Any]:
    """One step by what it waits for."""
    return {
        "bound": times.bound().word,
        "time_s": float(times.time_s[0]),
        **{bound.key: float(times.seconds[bound, 0]) for bound in ServingBound},
        **{name: float(getattr(times, name)[0]) for name in ("cache_s", "flops", "traffic_bytes")},
    }
