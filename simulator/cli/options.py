"""Options of the command line, and the workload that they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from simulator.cli.completion import (
    DATASET,
    DEVICE,
    FRAMEWORK,
    HOST,
    LOADER,
    PRECISION,
    PRICES,
    STORAGE,
    WORKLOAD,
    Batches,
    Largest,
)
from simulator.cli.joined import link_option, network_option, nodes_option, system_option
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.workload.importers import Given, Request
    from simulator.workload.workload import Workload

Function = TypeVar("Function", bound=Callable[..., Any])


_WORKLOAD_OPTIONS = [
    click.option("--dataset", type=DATASET, help="Dataset of an epoch, such as imagenet, instead of the workload's."),
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
    click.option("--boxes", type=click.IntRange(1), help="Boxes that a detector keeps at most at each choice."),
    click.option("--trips", type=click.IntRange(1), help="Trips of a loop that only a run ends (ONNX)."),
    click.option(
        "--trace",
        type=click.Choice(["meta", "real"]),
        default="meta",
        show_default=True,
        help="PyTorch without data, or once on random numbers, for a network that asks for values.",
    ),
    click.option("--classes", type=int, help="Classes of the classifier, instead of the workload's."),
    click.option("--attention", type=click.Choice(["eager", "fused"]), help="How attention is computed."),
    click.option(
        "--apply", multiple=True, metavar="REWRITE", help="lowrank:fc6=256, channels:conv*=0.5, quantize:int8 ..."
    ),
    click.option(
        "--max-layers",
        type=click.IntRange(1),
        metavar="N",
        help="Most layers of a YAML network (10^6), or modules that transformers builds (10^4).",
    ),
    click.option("--allow-unknown", is_flag=True, help="Keep operations without a cost rule, listed and uncounted."),
]

optimizer_option = click.option(
    "--optimizer", default="sgd", show_default=True, help="sgd, adam[w], adam_unfused, adam8bit, adafactor or muon."
)

framework_option = click.option(
    "--framework", type=FRAMEWORK, default="pytorch", show_default=True, help="Software that issues the kernels."
)

_RUN_OPTIONS = [
    click.option(
        "--workload",
        type=WORKLOAD,
        multiple=True,
        metavar="NAME",
        help="Workload: a name, a YAML file, or FORMAT:FILE.",
    ),
    click.option(
        "--device",
        type=DEVICE,
        multiple=True,
        metavar="NAME",
        help="Device: a name, NAME[KEY=VALUE,...] or a YAML file; repeat it, or write 'a100*', to compare.",
    ),
    click.option("--devices", type=int, default=1, show_default=True, help="How many of it step together."),
    link_option,
    system_option,
    nodes_option,
    network_option,
    click.option("--batch", type=Batches(), help="Samples a step; max: all that fit; 1:256:x2: a curve of inference."),
    click.option("--streams", type=click.IntRange(1), metavar="N", help="Batches of inference beside each other."),
    click.option("--replicas", type=click.IntRange(1), metavar="N", help="The same, each with weights of its own."),
    click.option("--slo", metavar="TIME", help="The largest batch of inference within a latency, such as 50ms."),
    click.option(
        "--precision",
        type=PRECISION,
        default="fp32",
        show_default=True,
        help="fp32, tf32, amp, fp16, bf16, fp64 or int8.",
    ),
    click.option("--task", default="train", show_default=True, help="train or infer."),
    click.option("--epochs", type=int, help="Passes over the dataset.", show_default="1"),
    optimizer_option,
    click.option("--fidelity", default="calibrated", show_default=True, help="napkin, roofline or calibrated."),
    click.option("--traffic", default="ideal", show_default=True, help="Memory traffic: ideal, cached or naive."),
    framework_option,
    click.option(
        "--host", type=HOST, default="", metavar="NAME", help="Its computer: server, desktop-2023 ..., or 35us a call."
    ),
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


_BILL_OPTIONS = [
    click.option("--price", type=float, metavar="USD", help="Of one device an hour, instead of its profile's."),
    click.option(
        "--prices", type=PRICES, metavar="NAME", help="A price list (nebius, or nebius:spot) or a file of yours."
    ),
    click.option("--pue", type=float, metavar="RATIO", help="Power of the data centre over its computers'."),
    click.option("--carbon", type=float, metavar="G/KWH", help="Carbon dioxide of the electricity."),
    click.option("--mtbf", metavar="TIME", help="Mean time between failures of one device, such as 50000h."),
    click.option("--checkpoint", metavar="TIME", help="To write the run's state.  [default: 60 s]"),
    click.option("--checkpoint-to", type=STORAGE, metavar="NAME", help="Storage whose rate says how long that takes."),
    click.option("--checkpoint-every", metavar="TIME", help="Work between two checkpoints; the best if unsaid."),
    click.option("--restart", metavar="TIME", help="From a failure to the next step.  [default: 5 min]"),
]
"""Options of a run's bill: any of them asks for money, energy and failures."""

BILL = ("price", "prices", "pue", "carbon", "checkpoint_to", "mtbf", "checkpoint", "checkpoint_every", "restart")
"""Their names among all options; the last four are times."""

BILL_TIMES = BILL[5:]

_COURSE_OPTIONS = [
    click.option(
        "--last-batch", type=click.Choice(["keep", "drop"]), help="What becomes of samples that fill no step."
    ),
    click.option("--warm-up-steps", type=int, metavar="N", help="Steps before the first epoch that count for nothing."),
    click.option("--evaluate-every", type=int, metavar="N", help="Epochs between two evaluations."),
    click.option("--evaluate-samples", type=int, metavar="N", help="Of an evaluation; the dataset's own if unsaid."),
    click.option("--straggler-spread", type=float, metavar="SHARE", help="Standard deviation over devices' times."),
]
"""Options of a run on the calendar: any of them asks for it."""

COURSE = ("last_batch", "warm_up_steps", "evaluate_every", "evaluate_samples", "straggler_spread")
"""Their names among all options."""

_INPUT_OPTIONS = [
    click.option(
        "--loader",
        type=LOADER,
        metavar="NAME",
        help="How samples come: pillow, pillow-simd, dali, ffcv ...",
    ),
    click.option("--workers", type=click.IntRange(1), metavar="N", help="Cores that prepare samples, of each device."),
    click.option("--worker-rate", type=float, metavar="1/S", help="Samples a second of a worker, as you measured it."),
    click.option(
        "--storage", type=STORAGE, metavar="NAME", help="Where samples lie: hdd, nvme-pcie4 ...; else in memory."
    ),
    click.option("--page-cache", metavar="SIZE", help="Of each machine's memory, such as 256GiB."),
]
"""Options of a step's input; the first asks for it."""

INPUT = ("loader", "workers", "worker_rate", "storage", "page_cache")
"""Their names among all options."""

_PLAN_OPTIONS = [
    click.option(
        "--parallel", "degrees", metavar="DEGREES", help="dp=16,tp=4,pp=2,ep=8,cp=2: how devices share a network."
    ),
    click.option("--global-batch", type=click.IntRange(1), help="Samples a step of all devices, instead of --batch."),
    click.option("--microbatch", type=Largest(), help="Samples of one forward pass; max: as many as fit."),
    click.option("--accumulate", type=click.IntRange(1), help="Micro-batches a step, instead of --microbatch."),
    click.option("--schedule", metavar="NAME", help="1f1b, interleaved:2, gpipe or zero-bubble."),
    click.option("--zero", type=int, help="What data-parallel ranks share out: 0 to 3."),
    click.option("--fsdp", is_flag=True, help="The same as --zero 3."),
    click.option(
        "--recompute",
        metavar="WHAT",
        help="none, selective (attention), products (all but attention and every second product) or full.",
    ),
    click.option("--sequence-parallel", is_flag=True, help="Tensor-parallel ranks share out positions too."),
    click.option(
        "--overlap",
        type=click.Choice(["on", "off", "all"]),
        help="Gradients and weights travel beside computing; all: tensor ranks' positions too.",
    ),
    click.option("--timeline", metavar="FILE", help="The step as a trace that Perfetto opens."),
]
"""Options of a plan; the first of them, or any other, asks for one."""

PLAN = (
    "degrees",
    "global_batch",
    "microbatch",
    "accumulate",
    "schedule",
    "zero",
    "fsdp",
    "recompute",
    "sequence_parallel",
    "overlap",
    "timeline",
)
"""Their names among all options."""


def _apply(options: list[Any], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


def workload_options(function: Function) -> Function:
    """Options that change a workload, for every command that takes one."""
    return _apply(_WORKLOAD_OPTIONS, function)


def run_options(function: Function) -> Function:
    """Options of the main job."""
    return _apply(
        _RUN_OPTIONS,
        _apply([*_INPUT_OPTIONS, *_COURSE_OPTIONS, *_BILL_OPTIONS, *_PLAN_OPTIONS], workload_options(function)),
    )


def chosen_workload(name: str, options: dict[str, Any]) -> Workload:
    """The workload that the options ask for."""
    from simulator.workload.reading import load_workload

    workload = load_workload(
        name, dataset=options["dataset"], samples=options["samples"], request=chosen_request(options)
    )
    if not options["apply"]:
        return workload
    from simulator.workload.rewrites import apply

    return apply(workload, options["apply"]).workload


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
        trips=options["trips"],
        max_layers=options["max_layers"],
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
