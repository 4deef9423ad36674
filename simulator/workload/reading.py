"""Workload files: YAML to `Workload`, either explicit layers or a family with parameters."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from simulator import catalog
from simulator.errors import InputError, SimulatorError, UnknownNameError
from simulator.op import Shape, get_operation, kinds
from simulator.units import parse
from simulator.workload import families, importers
from simulator.workload.dataset import custom_dataset, in_samples_of, load_dataset
from simulator.workload.importers import Request
from simulator.workload.workload import INPUT, MOST_LAYERS, Network, Workload, check_inputs, too_many_layers

FOLDER = "workloads"


Size = Annotated[int, Meta(ge=1)]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys that every workload file may have."""

    name: Annotated[str, Meta(min_length=1)]
    input: Annotated[
        list[Size | Annotated[list[Size], Meta(min_length=1)]],
        Meta(
            min_length=1, description="[channels, height, width], or [tokens]; a list of such lists for several inputs"
        ),
    ]
    dataset: Annotated[str, Meta(description="a file of workloads/datasets")] = "imagenet"
    batch: Annotated[int, Meta(ge=1, description="samples a step")] = 32
    description: str = ""
    source: str = ""
    aliases: list[str] = []
    context: Annotated[int, Meta(ge=1, description="tokens of the longest request that it may serve")] | None = None
    quoted_macs: Annotated[str, Meta(description="MACs a sample that the founding articles quote")] | None = None


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Layers that follow each other several times; inside, `start` is what enters the current turn."""

    times: Annotated[int, Meta(ge=1, le=10_000)]
    layers: Annotated[list[Any], Meta(min_length=1)]
    name: str = "block"


class Scope(msgspec.Struct, frozen=True):
    """Where names are looked up: in this block first, then outside."""

    prefix: str = ""
    start: int = INPUT


def load_workload(
    name: str,
    *,
    dataset: str | None = None,
    samples: int | None = None,
    batch: int | None = None,
    request: Request | None = None,
) -> Workload:
    """A workload by name, alias, path of a YAML file, or `format:location` of another format.

    Parameters
    ----------
    dataset, samples : run over another dataset, or over a number of samples.
    batch : samples a step, instead of the file's.
    request : image size, sequence length and the like.

    Raises
    ------
    UnknownNameError, InputError
        One line that names the file, the key and the nearest valid name.
    """
    if dataset is not None and samples is not None:
        raise InputError("--dataset and --samples exclude each other")
    asked = request or Request()
    prefix, colon, location = importers.recognised(name).partition(":")
    if asked.inputs and (not colon or prefix not in ("hf", "torch")):
        raise InputError(f"{name}: several inputs, types and names are for torch: and hf:; here the format says them")
    if colon and location:
        workload = importers.load(prefix, location, asked)
    else:
        path = catalog.find(FOLDER, name)
        workload = read_workload(catalog.read_yaml(path), str(path), asked)
    if batch is not None:
        workload = replace(workload, batch=batch)
    if samples is not None:
        workload = replace(workload, dataset=custom_dataset(samples))
    elif dataset is not None:
        workload = replace(workload, dataset=load_dataset(dataset))
    tokens = workload.inputs[0][0] if len(workload.inputs[0]) == 1 else None
    return replace(workload, dataset=in_samples_of(workload.dataset, tokens), changes=_changes(asked, dataset, samples))


_ASKED = ("image_size", "sequence", "attention", "classes", "allow_unknown", "boxes", "trips")


def _changes(request: Request, dataset: str | None, samples: int | None) -> dict[str, str]:
    """What was asked beyond a network's own definition, by option."""
    given = {"dataset": dataset, "samples": samples, **{key: getattr(request, key) for key in _ASKED}}
    given["input_shape"] = " ".join(map(str, request.inputs)) or request.input_shape
    given["trace"] = None if request.trace == "meta" else request.trace
    return {
        name.removesuffix("_shape").replace("_", "-"): _text(value)
        for name, value in given.items()
        if value is not None and value is not False
    }


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_workload(content: dict[str, Any], where: str, request: Request | None = None) -> Workload:
    """A workload from the mapping of its file.

    Raises
    ------
    InputError
        For unknown keys, wrong types, layers that do not fit together.
    """
    asked = request or Request()
    common = {key: value for key, value in content.items() if key in Header.__struct_fields__}
    rest = {key: value for key, value in content.items() if key not in common}
    if ("family" in rest) == ("layers" in rest):
        raise InputError(f"{where}: write either `family` and its parameters, or `layers`")
    header: Header = catalog.convert(common, Header, where)
    most = asked.max_layers or MOST_LAYERS
    net = Network(check_inputs(_input_shapes(header, asked, where), where), most_layers=most)
    if asked.attention is not None and "family" in rest:
        rest["attention"] = asked.attention
    if asked.classes is not None:
        if "family" not in rest:
            raise InputError(f"{where}: --classes needs a family with a classifier; here the layers stand one by one")
        rest["classes"] = asked.classes
    try:
        _fill(net, rest, where)
    except SimulatorError as error:
        text = str(error)
        raise error if text.startswith(where) else InputError(f"{where}: {text}") from None
    return Workload(
        name=header.name,
        inputs=net.inputs,
        layers=tuple(net.layers),
        dataset=load_dataset(header.dataset),
        batch=header.batch,
        description=header.description,
        source=header.source,
        context=header.context,
        quoted_macs=parse(header.quoted_macs, "count", f"{where}: quoted_macs") if header.quoted_macs else None,
    )


def _input_shapes(header: Header, request: Request, where: str) -> list[Shape]:
    """The file's input shapes with the requested image size or sequence length put in."""
    if all(isinstance(side, int) for side in header.input):
        shapes: list[Shape] = [tuple(header.input)]  # type: ignore[arg-type]
    else:
        shapes = [tuple(shape) if isinstance(shape, list) else (shape,) for shape in header.input]
    if request.input_shape is not None:
        shapes[0] = request.input_shape
    if request.image_size is not None:
        if len(shapes[0]) != 3 or request.image_size < 1:
            raise InputError(f"{where}: image size {request.image_size} does not fit the input {list(shapes[0])}")
        shapes[0] = (shapes[0][0], request.image_size, request.image_size)
    if request.sequence is not None:
        if len(shapes[0]) != 1 or request.sequence < 1:
            raise InputError(f"{where}: sequence {request.sequence} does not fit the input {list(shapes[0])}")
        shapes = [(request.sequence,) if len(shape) == 1 else shape for shape in shapes]
    return shapes


def _fill(net: Network, rest: dict[str, Any], where: str) -> None:
    if "family" in rest:
        arguments = {key: value for key, value in rest.items() if key != "family"}
        families.build(str(rest["family"]), arguments, net, where)
        return
    unknown = [key for key in rest if key != "layers"]
    if unknown:
        raise UnknownNameError("key", unknown[0], [*Header.__struct_fields__, "family", "layers"])
    layers = rest["layers"]
    if not isinstance(layers, list) or not layers:
        raise InputError("`layers` must be a list of at least one layer")
    if _count(layers) > net.most_layers:
        raise too_many_layers(net.most_layers)
    _add_layers(net, layers, Scope())


def _count(items: list[Any]) -> int:
    """Layers that a list makes, repeats unrolled, without making them."""
    return sum(_times(item) for item in items)


def _times(item: Any) -> int:
    repeat = item.get("repeat") if isinstance(item, dict) else None
    if not isinstance(repeat, dict):
        return 1
    times, layers = repeat.get("times"), repeat.get("layers")
    return times * _count(layers) if isinstance(times, int) and isinstance(layers, list) else 1


def _add_layers(net: Network, items: list[Any], scope: Scope) -> None:
    for item in items:
        kind, arguments = _kind_and_arguments(item)
        if kind == "repeat":
            repeat: Repeat = catalog.convert(arguments, Repeat, "repeat")
            for turn in range(repeat.times):
                _add_layers(net, repeat.layers, Scope(f"{scope.prefix}{repeat.name}.{turn}.", net.last))
        else:
            _add_layer(net, kind, arguments, scope)


def _kind_and_arguments(item: Any) -> tuple[str, dict[str, Any]]:
    """("conv", {...}) of a list item: `relu`, or `conv: {out: 20, kernel: 5}`."""
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and len(item) == 1:
        kind, arguments = next(iter(item.items()))
        if arguments is None:
            return str(kind), {}
        if isinstance(arguments, dict):
            return str(kind), dict(arguments)
    raise InputError(f"a layer is written `relu` or `conv: {{out: 20, kernel: 5}}`, found {str(item)[:80]!r}")


def _add_layer(net: Network, kind: str, arguments: dict[str, Any], scope: Scope) -> None:
    if kind not in kinds():
        raise UnknownNameError("operation", kind, [*kinds(), "repeat"])
    name = str(arguments.pop("name", ""))
    origins = arguments.pop("from", None)
    sources = [origins] if isinstance(origins, str) else origins or []
    if not isinstance(sources, list):
        raise InputError(f"{kind}: `from` is a layer's name or a list of names")
    op = catalog.convert(arguments, get_operation(kind), f"layer {name or kind}")
    handles = [_source(net, str(source), scope) for source in sources]
    net.add(op, *handles, name=scope.prefix + name if name else "")


def _source(net: Network, name: str, scope: Scope) -> int:
    if name == "start":
        return scope.start
    prefix = scope.prefix
    while prefix:
        if net.has(prefix + name):
            return net.handle(prefix + name)
        prefix = prefix[: prefix.rstrip(".").rfind(".") + 1]
    return net.handle(name)
