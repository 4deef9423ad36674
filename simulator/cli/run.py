"""`simulate --workload ... --device ...`: the main job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from simulator.errors import InputError, SimulatorError

if TYPE_CHECKING:
    from simulator.device.system import Cluster
    from simulator.pipeline import Options, Simulation
    from simulator.workload.importers import Given, Request
    from simulator.workload.workload import Workload

Function = TypeVar("Function", bound=Callable[..., Any])


class Batches(click.ParamType):  # type: ignore[type-arg]
    """A batch, or several as text, which a curve over batches takes apart."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """A number where it is one."""
        text = str(value)
        if ":" in text or "," in text:
            return text
        try:
            return int(text)
        except ValueError:
            self.fail(f"{value!r} is not a valid integer.", param, ctx)


_WORKLOAD_OPTIONS = [
    click.option("--dataset", help="Dataset of an epoch, such as imagenet, instead of the workload's."),
    click.option("--samples", type=int, help="Samples of an epoch, instead of a dataset."),
    click.option("--image-size", type=int, help="Height and width of the input images.", metavar="PIXELS"),
    click.option("--sequence", type=int, help="Length of the input sequence.", metavar="TOKENS"),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="[NAME=][TYPE:]SHAPE",
        help="Shape of one sample, such as 3,224,224 or int64:128, where the format lacks it; one for each input.",
    ),
    click.option("--boxes", type=click.IntRange(1), help="Boxes that a traced detector keeps at most at each choice."),
    click.option(
        "--trace",
        type=click.Choice(["meta", "real"]),
        default="meta",
        show_default=True,
        help="PyTorch without data, or once on random numbers, for a network that asks for values.",
    ),
    click.option("--classes", type=int, help="Classes of the classifier, instead of the workload's."),
    click.option("--attention", type=click.Choice(["eager", "fused"]), help="How attention is computed."),
    click.option("--allow-unknown", is_flag=True, help="Keep operations without a cost rule, listed and uncounted."),
]

_RUN_OPTIONS = [
    click.option("--workload", multiple=True, metavar="NAME", help="Workload: a name, a YAML file, or FORMAT:FILE."),
    click.option(
        "--device",
        multiple=True,
        metavar="NAME",
        help="Device: a name, NAME[KEY=VALUE,...] or a YAML file; repeat to compare.",
    ),
    click.option("--devices", type=int, default=1, show_default=True, help="How many of it step together."),
    click.option("--link", metavar="NAME", help="What joins them, such as nvlink2 or pcie4."),
    click.option("--system", metavar="NAME", help="Machines of several devices, such as dgx-a100-80gb."),
    click.option("--nodes", type=int, default=1, show_default=True, help="Machines."),
    click.option("--network", metavar="NAME", help="What joins machines, such as infiniband-hdr."),
    click.option("--batch", type=Batches(), help="Samples a step, or 1:256:x2 for a curve of inference."),
    click.option("--slo", metavar="TIME", help="The largest batch of inference within a latency, such as 50ms."),
    click.option("--precision", default="fp32", show_default=True, help="fp32, tf32, amp, fp16, bf16, fp64 or int8."),
    click.option("--task", default="train", show_default=True, help="train or infer."),
    click.option("--epochs", type=int, help="Passes over the dataset.", show_default="1"),
    click.option("--optimizer", default="sgd", show_default=True, help="sgd (with momentum) or adam."),
    click.option("--fidelity", default="calibrated", show_default=True, help="napkin, roofline or calibrated."),
    click.option("--traffic", default="ideal", show_default=True, help="Memory traffic: ideal, cached or naive."),
    click.option("--framework", default="pytorch", show_default=True, help="Software that issues the kernels."),
    click.option("--count", default="exact", show_default=True, help="Operations as exact or as articles count them."),
    click.option("--memory", metavar="TECH:N", help="Another memory, such as hbm2:4."),
    click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a value of every device: a value, 2x or +10%.",
    ),
    click.option("--ignore-memory", is_flag=True, help="Go on where the step does not fit the device's memory."),
    click.option("--out", default="reports", show_default=True, metavar="DIR", help="Folder of the report's folder."),
    click.option("--no-report", is_flag=True, help="Write no files."),
    click.option("--json", "as_json", is_flag=True, help="The answer as JSON on stdout."),
]


def _apply(options: list[Any], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


def workload_options(function: Function) -> Function:
    """Options that change a workload, for every command that takes one."""
    return _apply(_WORKLOAD_OPTIONS, function)


def run_options(function: Function) -> Function:
    """Options of the main job."""
    return _apply(_RUN_OPTIONS, workload_options(function))


def chosen_workload(name: str, options: dict[str, Any]) -> Workload:
    """The workload that the options ask for."""
    from simulator.workload.reading import load_workload

    return load_workload(name, dataset=options["dataset"], samples=options["samples"], request=chosen_request(options))


def chosen_request(options: dict[str, Any]) -> Request:
    """What the options ask of a network's definition."""
    from simulator.workload.importers import Request

    inputs = tuple(_given(text) for text in options["inputs"])
    return Request(
        image_size=options["image_size"],
        sequence=options["sequence"],
        input_shape=inputs[0].shape if inputs else None,
        attention=options["attention"],
        classes=options["classes"],
        allow_unknown=options["allow_unknown"],
        inputs=inputs if any(one.name or one.dtype for one in inputs) or len(inputs) > 1 else (),
        training=_training(options),
        trace=options["trace"],
        boxes=options["boxes"],
    )


def _training(options: dict[str, Any]) -> bool | None:
    """Whether the network trains; None for commands that ask for neither."""
    return options["task"] != "infer" if "task" in options else None


def _given(text: str) -> Given:
    """`image=float32:3,224,224`, of which the shape alone must be there."""
    from simulator.workload.importers import Given

    name, _, rest = text.rpartition("=")
    dtype, _, sides = rest.rpartition(":")
    try:
        shape = tuple(int(side) for side in sides.replace("x", ",").split(","))
    except ValueError:
        raise InputError(f"--input {text!r}: write a shape such as 3,224,224 or int64:128") from None
    return Given(shape, dtype, name)


def run(options: dict[str, Any]) -> None:
    """Simulate, print the answer, write the report."""
    if isinstance(options["batch"], str) or options["slo"]:
        run_curve(options)
        return
    simulation, others = _answers(options)
    folder = None
    if not options["no_report"]:
        from pathlib import Path

        from simulator.report.write import write_report

        folder = write_report(simulation, others, Path(options["out"]))
    if options["as_json"]:
        from simulator.report.summary import json_text, summary

        click.echo(json_text(summary(simulation, others)))
    else:
        from simulator.report.scorecard import print_scorecard

        print_scorecard(simulation, others, folder)


def run_curve(options: dict[str, Any]) -> None:
    """Inference over batches: latency, throughput, the knee, the largest batch within a limit."""
    from simulator.device.device import load_device
    from simulator.report.curve import curve_summary, print_curve, write_curve
    from simulator.serving.curve import batches_of, curve
    from simulator.units import parse

    if len(options["workload"]) != 1 or len(options["device"]) != 1:
        raise InputError("a curve over batches is of one --workload on one --device")
    text = options["batch"] if isinstance(options["batch"], str) else str(options["batch"] or "1:256:x2")
    limit_s = parse(options["slo"], "s", "--slo") if options["slo"] else None
    asked = _options({**options, "batch": None})
    device = load_device(options["device"][0], memory=options["memory"], overrides=options["overrides"])
    found = curve(chosen_workload(options["workload"][0], options), device, asked, batches_of(text), limit_s)
    if not options["no_report"]:
        write_curve(found, options["out"])
    if options["as_json"]:
        from simulator.report.summary import json_text

        click.echo(json_text(curve_summary(found)))
    else:
        print_curve(found)


def _answers(options: dict[str, Any]) -> tuple[Simulation, list[Simulation | tuple[str, SimulatorError]]]:
    """The first device that can run the workload, and the others in order, with the reason where one cannot.

    Raises
    ------
    SimulatorError
        If none can: the reason of the first.
    """
    if not options["workload"]:
        raise InputError("--workload is missing; `simulate workloads` lists them")
    if len(options["workload"]) > 1:
        raise InputError("--workload is given twice; ask for one at a time")
    options = options | {"device": options["device"] or _device_of_system(options["system"])}
    if not options["device"]:
        raise InputError("--device is missing; `simulate devices` lists them")
    asked, workload = _options(options), chosen_workload(options["workload"][0], options)
    answers = [_answer(workload, name, options, asked) for name in options["device"]]
    ran = [answer for answer in answers if not isinstance(answer, tuple)]
    if not ran:
        raise next(answer[1] for answer in answers if isinstance(answer, tuple))
    return ran[0], [answer for answer in answers if answer is not ran[0]]


def _options(options: dict[str, Any]) -> Options:
    from simulator.pipeline import Options

    names = (
        "batch",
        "precision",
        "task",
        "epochs",
        "optimizer",
        "fidelity",
        "traffic",
        "count",
        "framework",
        "ignore_memory",
    )
    return Options(**{name: options[name] for name in names})


def _device_of_system(system: str | None) -> tuple[str, ...]:
    if system is None:
        return ()
    from simulator.device.system import load_system

    return (load_system(system).device,)


def _cluster(options: dict[str, Any]) -> Cluster | None:
    """The devices that step together; None for one.

    Raises
    ------
    InputError
        If several have no link, or counts do not divide.
    """
    from simulator.device.link import load_link
    from simulator.device.system import cluster, cluster_of_system

    devices, nodes = options["devices"], options["nodes"]
    if options["system"] is not None:
        if options["link"] is not None:
            raise InputError(f"--system {options['system']} has a link of its own; leave --link out")
        return cluster_of_system(options["system"], nodes, devices if devices != 1 else None)
    if devices < 1 or nodes < 1:
        raise InputError(f"--devices and --nodes must be at least 1, found {devices} and {nodes}")
    if devices == 1:
        return None
    if options["link"] is None:
        raise InputError(f"--devices {devices}: give the --link between them, such as nvlink3, or a --system")
    if devices % nodes:
        raise InputError(f"--devices {devices} do not divide over --nodes {nodes}; {devices // nodes * nodes} would")
    network = load_link(options["network"]) if options["network"] else None
    return cluster(devices, load_link(options["link"]), network, per_node=devices // nodes, ports=devices // nodes)


def _answer(
    workload: Workload, name: str, options: dict[str, Any], asked: Options
) -> Simulation | tuple[str, SimulatorError]:
    """The answer for a device, or its name and why it cannot run the workload; an unknown name is an error."""
    from simulator.device.device import load_device
    from simulator.errors import OutOfMemoryError, UnsupportedError
    from simulator.pipeline import simulate

    device = load_device(name, memory=options["memory"], overrides=options["overrides"])
    joined = _cluster(options)
    try:
        return replace(simulate(workload, device, asked, joined), command=click.get_current_context().obj or "")
    except (OutOfMemoryError, UnsupportedError) as error:
        return device.label, error
