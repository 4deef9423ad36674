"""`simulate plan --serve`: its options, and the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from simulator.cli.completion import ENGINE, SYSTEM
from simulator.cli.joined import is_given
from simulator.cli.options import chosen_workload
from simulator.cli.prices import pricing
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.planning.fleet import Demand
    from simulator.planning.provision import Offer

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = [
    click.option("--rate", metavar="N/s", help="With --serve: requests of all replicas, such as 5/s or 300/min."),
    click.option("--slo", metavar="LIMITS", help="With --serve: ttft=500ms,tpot=50ms, of 95 of 100 requests."),
    click.option("--output", metavar="TOKENS", help="With --serve: of an answer; --input of a prompt; rules as serve."),
    click.option(
        "--engine", type=ENGINE, metavar="NAMES", help="With --serve: software to choose from.  [default: vllm]"
    ),
    click.option("--tp", "ways", metavar="N,N", help="With --serve: devices that share a layer.  [default: 1,2,4,8]"),
    click.option(
        "--pp", "stages", metavar="N,N", help="With --serve: groups of layers in a row.  [default: 1,2,4; 1 with --tp]"
    ),
    click.option(
        "--expert-parallel",
        type=click.Choice(["on", "off", "both"]),
        default="both",
        help="With --serve: whole experts to a device of a mixture, or slices of each.  [default: both]",
    ),
    click.option("--prefix", "shared", type=int, metavar="TOKENS", help="With --serve: that all prompts begin with."),
    click.option("--speculate", metavar="N:SHARE", help="With --serve: tokens guessed ahead, share of them right."),
    click.option("--kv", "cache", metavar="FORMAT", help="With --serve: numbers of the cache: fp16, fp8, int8 ..."),
    click.option("--system", type=SYSTEM, multiple=True, metavar="NAME", help="With --serve: machines bought whole."),
    click.option("--arrivals", metavar="NAME", help="With --serve: poisson, bursty or regular.  [default: poisson]"),
    click.option("--requests", type=click.IntRange(1), metavar="N", help="With --serve: of a queue.  [default: 1000]"),
    click.option("--seed", type=int, help="With --serve: of what comes by chance.  [default: 0]"),
]
SERVED = (
    "rate",
    "slo",
    "output",
    "engine",
    "ways",
    "stages",
    "expert_parallel",
    "shared",
    "speculate",
    "cache",
    "system",
    "arrivals",
    "requests",
    "seed",
)
TRAINED = ("epochs", "deadline", "budget", "power", "batch", "task", "optimizer", "framework")
"""Options of a run, which a served model does not have."""


def serving_options(function: Function) -> Function:
    """Options that only `--serve` has."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def refuse_served() -> None:
    """Options of `--serve` without it."""
    for name in SERVED:
        if is_given(name):
            raise InputError(f"{_spelled(name)} is of a served model; add --serve")


def _spelled(name: str) -> str:
    spelled = {"shared": "--prefix", "ways": "--tp", "stages": "--pp", "cache": "--kv"}
    return spelled.get(name, f"--{name.replace('_', '-')}")


def answer_served(workload: str, as_json: bool, options: dict[str, Any]) -> None:
    """Devices for a rate of requests."""
    from simulator.planning.provision import provision
    from simulator.report import fleet as report

    for name in TRAINED:
        if is_given(name):
            raise InputError(f"--{name} is of a run; with --serve, give --rate and --slo")
    demand = _demand(options)
    network = chosen_workload(workload, {**options, "inputs": ()})
    found = provision(network, _offer(options), demand)
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.provision_summary(found, network)))
    else:
        report.print_provision(found, network)


def _demand(options: dict[str, Any]) -> Demand:
    from simulator.cli.serve import rate_of, speculation_of
    from simulator.planning.fleet import Demand
    from simulator.serving.conditions import RequestConditions
    from simulator.serving.traffic import Promise, Traffic, promise

    if not options["rate"]:
        raise InputError("--serve needs a rate of requests: --rate 5/s")
    if len(options["inputs"]) > 1:
        raise InputError("--input: with --serve, the tokens of a prompt, once")
    usual = Traffic()
    traffic = Traffic(
        number=options["requests"] or usual.number,
        lengths=((*options["inputs"], usual.lengths[0])[0], options["output"] or usual.lengths[1]),
        pattern=options["arrivals"] or usual.pattern,
        seed=usual.seed if options["seed"] is None else options["seed"],
        conditions=RequestConditions(options["shared"] or 0, speculation_of(options["speculate"])),
    )
    return Demand(rate_of(options["rate"]), promise(options["slo"]) if options["slo"] else Promise(()), traffic)


def _offer(options: dict[str, Any]) -> Offer:
    from simulator.device.device import FOLDER
    from simulator.planning.provision import MOST_TOGETHER, STAGES, WAYS, Offer
    from simulator.planning.ranges import names, whole_numbers

    # Machines that are named are what there is, unless devices are named too.
    ways, stages = (
        whole_numbers(options[name], spelled) if options[name] else usual
        for name, spelled, usual in (("ways", "--tp", WAYS), ("stages", "--pp", (1,) if options["ways"] else STAGES))
    )
    asked = max(max(ways) if options["ways"] else 1, max(stages) if options["stages"] else 1)
    of_systems = bool(options["system"]) and not is_given("device")
    return Offer(
        devices=[] if of_systems else names(options["device"], FOLDER),
        systems=options["system"],
        precisions=options["precision"].split(",") if is_given("precision") else ("bf16",),
        engines=options["engine"].split(",") if options["engine"] else ("vllm",),
        ways=ways,
        stages=stages,
        by_experts={"on": (True,), "off": (False,), "both": (False, True)}[options["expert_parallel"]],
        together=max(ways) * max(stages) if options["ways"] and options["stages"] else max(asked, MOST_TOGETHER),
        cache=options["cache"],
        prices=pricing(options),
        most=max(whole_numbers(options["devices"], "--devices")) if is_given("devices") else None,
    )
