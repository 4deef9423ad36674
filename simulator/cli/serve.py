"""`simulate serve`: what a model costs a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.serving.answer import Service


@click.command("serve")
@click.option("--workload", required=True, metavar="NAME", help="Workload: a name, a YAML file, or FORMAT:FILE.")
@click.option("--device", required=True, metavar="NAME", help="Device: a name or a YAML file.")
@click.option("--devices", type=int, default=1, show_default=True, help="Devices of one replica.")
@click.option("--tp", "ways", type=int, help="Devices that share each layer; all of them if unsaid.")
@click.option("--pp", "stages", type=int, help="Groups of layers, one after the other.")
@click.option("--expert-parallel", "by_experts", is_flag=True, help="The devices share out whole experts.")
@click.option("--precision", default="bf16", show_default=True, help="Weights: bf16, fp8, fp4, int8, int4, q4_k_m ...")
@click.option("--kv", "cache", metavar="FORMAT", help="Numbers of the cache: fp16, fp8, int8 ...")
@click.option("--engine", default="vllm", show_default=True, help="Software that serves.")
@click.option("--input", "prompt", type=int, default=1024, show_default=True, help="Tokens of a prompt.")
@click.option("--output", type=int, default=256, show_default=True, help="Tokens of an answer.")
@click.option("--concurrency", metavar="N,N", help="Requests at a time; powers of two up to what fits if unsaid.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the device.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout.")
def command(workload: str, device: str, overrides: tuple[str, ...], as_json: bool, **asked: Any) -> None:
    """Time to the first token, time a token, tokens a second, memory and cost of a language model that is served."""
    from simulator.device.device import load_device
    from simulator.report import serving as report
    from simulator.serving.answer import serve
    from simulator.workload.reading import load_workload

    answer = serve(load_workload(workload), load_device(device, overrides=overrides), _service(asked))
    if as_json:
        from simulator.report.summary import json_text

        click.echo(json_text(report.serving_summary(answer)))
    else:
        report.print_serving(answer)


def _service(asked: dict[str, Any]) -> Service:
    from simulator.serving.answer import Service
    from simulator.serving.static import Request

    request = Request(asked.pop("prompt"), asked.pop("output"))
    concurrency = _numbers(asked.pop("concurrency"))
    return Service(request=request, concurrency=concurrency, **asked)


def _numbers(text: str | None) -> tuple[int, ...]:
    """The numbers of "1,8,64"."""
    try:
        numbers = tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise InputError(f"--concurrency {text!r}: write numbers such as 1,8,64") from None
    if any(number < 1 for number in numbers):
        raise InputError(f"--concurrency {text!r}: each number is at least 1")
    return numbers
