"""`simulate serve`: what a model costs a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simulator.cli.completion import DEVICE, ENGINE, PRICES, WORKLOAD
from simulator.cli.prices import of_one
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.serving.answer import Service, Serving
    from simulator.serving.arrivals import Requests
    from simulator.serving.costs import Speculation
    from simulator.serving.traffic import QueueAnswer


@click.command("serve")
@click.option(
    "--workload", type=WORKLOAD, required=True, metavar="NAME", help="Workload: a name, a YAML file, or FORMAT:FILE."
)
@click.option("--device", type=DEVICE, required=True, metavar="NAME", help="Device: a name or a YAML file.")
@click.option("--devices", type=int, help="Devices of one replica.  [default: --tp times --pp, or 1]")
@click.option("--tp", "ways", type=int, help="Devices that share each layer; all of them if unsaid.")
@click.option("--pp", "stages", type=int, help="Groups of layers, one after the other.")
@click.option("--expert-parallel", "by_experts", is_flag=True, help="The devices share out whole experts.")
@click.option("--precision", default="bf16", show_default=True, help="Weights: bf16, fp8, fp4, int8, int4, q4_k_m ...")
@click.option("--kv", "cache", metavar="FORMAT", help="Numbers of the cache: fp16, fp8, int8 ...")
@click.option("--engine", type=ENGINE, default="vllm", show_default=True, help="Software that serves.")
@click.option("--memory-fraction", "fraction", type=float, help="Of the memory that the engine takes; its default.")
@click.option("--step-tokens", "tokens", type=int, help="Most tokens of a step; the engine's default.")
@click.option("--step-requests", "most", type=int, help="Most requests at a time; the engine's default.")
@click.option("--graphs", type=click.Choice(["on", "off"]), default="on", help="Recorded graphs of decoding steps.")
@click.option("--input", "prompt", default="1024", show_default=True, help="Tokens of a prompt, or lognormal:MEAN,CV.")
@click.option("--output", default="256", show_default=True, help="Tokens of an answer, or lognormal:MEAN,CV.")
@click.option("--concurrency", metavar="N,N", help="Requests at a time; powers of two up to what fits if unsaid.")
@click.option("--rate", metavar="N/s", help="Requests that come by chance: their latencies, by simulating the queue.")
@click.option("--requests", metavar="FILE|N", help="Recorded requests (arrival_s, input, output), or how many come.")
@click.option("--arrivals", default="poisson", show_default=True, help="poisson, bursty or regular.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what comes by chance.")
@click.option("--slo", metavar="LIMITS", help="ttft=500ms,tpot=50ms: the largest rate that keeps it.")
@click.option("--prefix", "shared", type=int, default=0, help="Tokens that all prompts begin with and share.")
@click.option("--speculate", metavar="N:SHARE", help="Tokens guessed ahead, and the share of guesses that are right.")
@click.option("--prefill-devices", type=int, default=0, help="Devices of their own that read the prompts.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the device.")
@click.option("--price", type=float, metavar="USD", help="Of one device an hour, instead of its profile's.")
@click.option("--prices", type=PRICES, metavar="NAME", help="A price list; NAME:spot for its spot prices.")
@click.option("--out", metavar="DIR", help="Folder for figures, tables and a trace of the queue.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(
    workload: str, device: str, overrides: tuple[str, ...], as_json: bool, out: str | None, **asked: Any
) -> None:
    """Time to the first token, time a token, tokens a second, memory and cost of a language model that is served."""
    from simulator.device.device import load_device
    from simulator.report import serving as report
    from simulator.serving.answer import serve
    from simulator.workload.reading import load_workload

    queue = {name: asked.pop(name) for name in QUEUE}
    _check_queue(queue)
    lengths = (asked["prompt"], asked["output"])
    money = {name: asked.pop(name) for name in ("price", "prices")}
    priced = of_one(load_device(device, overrides=overrides), money)
    answer = serve(load_workload(workload), priced, _service(asked))
    found = _queue(answer, queue, lengths) if queue["rate"] or queue["requests"] or queue["slo"] else None
    if out:
        from pathlib import Path

        from simulator.report.serving_files import write_serving

        write_serving(answer, found, Path(out))
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.serving_summary(answer, found)))
    else:
        report.print_serving(answer, found)


def _check_queue(asked: dict[str, Any]) -> None:
    """Refuse what a static answer would not look at."""
    if asked["slo"] is not None and not asked["slo"].strip():
        raise InputError("--slo is empty: write for example ttft=500ms,tpot=50ms")
    if asked["rate"] or asked["slo"] or (asked["requests"] and not asked["requests"].isdecimal()):
        return
    if asked["requests"]:
        raise InputError("--requests is of requests that come over time; add --rate 5/s, --slo or --requests FILE")


QUEUE = ("rate", "requests", "arrivals", "seed", "slo")
"""Options of the simulated queue."""


def _service(asked: dict[str, Any]) -> Service:
    from simulator.serving.answer import Service
    from simulator.serving.arrivals import mean_length
    from simulator.serving.settings import EngineSettings
    from simulator.serving.static import RequestLengths

    settings = EngineSettings(asked.pop("fraction"), asked.pop("tokens"), asked.pop("most"))
    speculation = speculation_of(asked.pop("speculate"))
    request = RequestLengths(mean_length(asked.pop("prompt")), mean_length(asked.pop("output")))
    if asked["devices"] is None:
        asked["devices"] = max((asked["ways"] or 1) * (asked["stages"] or 1), 1)
    concurrency, graphs = _numbers(asked.pop("concurrency")), asked.pop("graphs") == "on"
    return Service(
        request=request, concurrency=concurrency, graphs=graphs, settings=settings, speculation=speculation, **asked
    )


def _queue(answer: Serving, asked: dict[str, Any], lengths: tuple[str, str]) -> QueueAnswer:
    """The queue that is asked for: at a rate, as recorded, or at the largest rate that keeps a promise."""
    from simulator.serving.conditions import RequestConditions
    from simulator.serving.traffic import QueueAnswer, Traffic, at_rate, largest_rate, line_of, promise

    text = asked["requests"] or ""
    trace = _trace(text)
    number = int(text) if text.isdecimal() else NUMBER
    conditions = RequestConditions(answer.service.shared, answer.service.speculation, answer.reader)
    traffic = Traffic(number, lengths, asked["arrivals"], asked["seed"], conditions)
    line, kept = line_of(answer.deployment, traffic), promise(asked["slo"]) if asked["slo"] else None
    largest = largest_rate(line, kept) if kept and trace is None else None
    if trace is not None:
        return QueueAnswer(line, line.run(trace), kept, largest)
    rate = rate_of(asked["rate"]) if asked["rate"] else largest
    if not rate:
        raise InputError(f"--slo {asked['slo']!r}: not even a request every 16 s keeps it; ask for longer limits")
    return QueueAnswer(line, at_rate(line, rate), kept, largest)


NUMBER = 1000
"""Requests of a simulated queue, if unsaid."""


def _trace(text: str) -> Requests | None:
    from pathlib import Path

    from simulator.serving.arrivals import recorded

    return recorded(Path(text)) if text and not text.isdecimal() else None


def rate_of(text: str) -> float:
    """Requests a second of "5/s" or "300/min"."""
    value, _, unit = text.replace(" ", "").partition("/")
    seconds = {"s": 1.0, "": 1.0, "min": 60.0, "h": 3600.0}.get(unit)
    try:
        rate = float(value)
    except ValueError:
        rate = -1.0
    if seconds is None or not 0 < rate < float("inf"):
        raise InputError(f"--rate {text!r}: write for example 5/s or 300/min")
    return rate / seconds


def speculation_of(text: str | None) -> Speculation:
    """Tokens ahead and the share that is right, of "4:0.7"; none of None."""
    from simulator.serving.costs import Speculation

    if not text:
        return Speculation()
    ahead, _, acceptance = text.partition(":")
    try:
        return Speculation(int(ahead), float(acceptance))
    except ValueError:
        raise InputError(f"--speculate {text!r}: write for example 4:0.7") from None


def _numbers(text: str | None) -> tuple[int, ...]:
    """The numbers of "1,8,64"."""
    try:
        numbers = tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(f"--concurrency {text!r}: write numbers such as 1,8,64") from None
    if any(number < 1 for number in numbers):
        raise InputError(f"--concurrency {text!r}: each number is at least 1")
    return numbers
