"""A Caffe network's definition: the layers of one phase, whatever the age of the file's syntax.

Source: Caffe 1.0, caffe.proto (the messages), net.cpp (the rules of phase, level and stage), upgrade_proto.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulator import catalog
from simulator.errors import InputError, UnknownNameError
from simulator.workload.importers.caffe.legacy import LEGACY_LAYER_FIELDS, upgrade_layers
from simulator.workload.importers.caffe.prototext import MAX_BYTES, Message, parse

MAX_LAYERS = 20_000
PHASES = ("TRAIN", "TEST")
SOURCES = ("Input", "DummyData", "Parameter")
"""Layers without inputs whose shape is written down; any other layer without inputs reads data."""

_NET_FIELDS = ("name", "input", "input_shape", "input_dim", "force_backward", "state", "debug_info", "layer", "layers")
_LAYER_FIELDS = (
    *("name", "type", "bottom", "top", "phase", "loss_weight", "param", "blobs", "propagate_down"),
    *("include", "exclude"),
)
_RULE_FIELDS = ("phase", "min_level", "max_level", "stage", "not_stage")
_SOLVER_FIELDS = ("net", "train_net", "test_net", "net_param", "base_lr", "lr_policy", "solver_mode")


@dataclass(frozen=True, slots=True)
class NetState:
    """What a layer's include and exclude rules are held against."""

    phase: str
    level: int = 0
    stages: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CaffeLayer:
    """One layer: `bottoms` are the blobs it reads, `tops` those it writes; `message` holds its parameters."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Message

    def block(self, name: str) -> Message:
        """A parameter block such as `convolution_param`, empty if absent."""
        return self.message.message(name)

    def error(self, complaint: str) -> InputError:
        """An InputError that names the file, the line and the layer."""
        return self.message.error(f"layer {self.name!r}: {complaint}")

    @property
    def shared_names(self) -> list[str]:
        """The name of each parameter tensor, empty for one of its own."""
        return [block.text("name") for block in self.message.messages("param")]

    @property
    def rates(self) -> list[float]:
        """The learning rate multiplier of each parameter tensor that says one."""
        return [block.number("lr_mult", 1.0) for block in self.message.messages("param")]


@dataclass(frozen=True, slots=True)
class Definition:
    """The layers of one phase, in the file's order."""

    name: str
    where: str
    state: NetState
    layers: tuple[CaffeLayer, ...]


def read_definition(location: str, phase: str | None = None) -> Definition:
    """The definition at `net.prototxt`, `net.prototxt@TEST` or `net.prototxt@TRAIN,stage`.

    Without a phase it is the file's own, TRAIN if a data layer has it, else TEST.

    Raises
    ------
    InputError, UnknownNameError
        One line that names the file and the line.
    """
    path, asked = split_location(location)
    words = (phase or asked).split(",") if phase or asked else []
    if words and words[0] not in PHASES:
        raise UnknownNameError("phase", words[0], PHASES, path)
    return parse_definition(catalog.read_text(Path(path), MAX_BYTES), path, words)


def split_location(location: str) -> tuple[str, str]:
    """("net.prototxt", "TEST,stage") of "net.prototxt@TEST,stage"; an @ inside a file's name is left alone."""
    path, at, asked = location.rpartition("@")
    return (path, asked) if at and path and "/" not in asked and "." not in asked else (location, "")


def parse_definition(text: str, where: str, words: Sequence[str] = ()) -> Definition:
    """The definition in a text; `words` are a phase and stages."""
    net = parse(text, where)
    _check_net(net)
    name = net.text("name")
    layers = [_layer(message) for message in _layer_messages(net)]
    state = _state(net, layers, words)
    kept = tuple(layer for layer in layers if _included(layer.message, state))
    if not kept:
        raise InputError(f"{where}: no layers in phase {state.phase}")
    return Definition(name, where, state, kept)


def _check_net(net: Message) -> None:
    solver = [name for name in _SOLVER_FIELDS if name in net]
    if solver:
        network = net.text("net") or net.text("train_net")
        hint = f"; its network is {network!r}" if network else ""
        raise net.error(f"this is a solver, not a network{hint}")
    net.only(_NET_FIELDS, "a Caffe network")
    if not net.fields:
        raise net.error("the file is empty")
    if len(net.fields.get("layer", ())) + len(net.fields.get("layers", ())) > MAX_LAYERS:
        raise net.error(f"more than {MAX_LAYERS} layers")
    if "layer" in net and "layers" in net:
        raise net.error("write either `layer` or the older `layers`, not both")


def _layer_messages(net: Message) -> list[Message]:
    """Messages of all layers in today's syntax, the network's own inputs first."""
    layers = upgrade_layers(net.messages("layers")) if "layers" in net else net.messages("layer")
    if "input" not in net:
        return layers
    return [_input_layer(net), *layers]


def _input_layer(net: Message) -> Message:
    """The `input` fields as the Input layer that Caffe makes of them."""
    names, shapes, dims = net.texts("input"), net.messages("input_shape"), net.scalars("input_dim")
    if shapes and dims:
        raise net.error("write either `input_shape` or `input_dim`, not both")
    if (shapes and len(shapes) != len(names)) or (dims and len(dims) != 4 * len(names)):
        raise net.error("each `input` needs one `input_shape`, or four `input_dim`")
    block = Message(net.source)
    for shape in shapes:
        block.add("shape", shape, shape.position)
    for first in range(0, len(dims), 4):
        shape = Message(net.source, dims[first][1])
        for raw, position in dims[first : first + 4]:
            shape.add("dim", raw, position)
        block.add("shape", shape, shape.position)
    layer = Message(net.source, net.fields["input"][0][1])
    layer.add("name", '"input"', layer.position)
    layer.add("type", '"Input"', layer.position)
    layer.add("input_param", block, layer.position)
    for raw, position in net.scalars("input"):
        layer.add("top", raw, position)
    return layer


def _layer(message: Message) -> CaffeLayer:
    known = (*_LAYER_FIELDS, *LEGACY_LAYER_FIELDS)
    message.only((*known, *(name for name in message.fields if name.endswith("_param"))), "a layer")
    kind = message.text("type")
    if not kind:
        raise message.error("a layer needs a type")
    name = message.text("name", kind)
    return CaffeLayer(name, kind, tuple(message.texts("bottom")), tuple(message.texts("top")), message)


def _state(net: Message, layers: list[CaffeLayer], words: Sequence[str]) -> NetState:
    own = net.message("state")
    phase = words[0] if words else own.choice("phase", PHASES) or _usual_phase(layers)
    return NetState(phase, own.integer("level", least=-(2**31)), frozenset([*own.texts("stage"), *words[1:]]))


def _usual_phase(layers: list[CaffeLayer]) -> str:
    """TRAIN if there is data to train on."""
    for layer in layers:
        if not layer.bottoms and layer.type not in SOURCES and _included(layer.message, NetState("TRAIN")):
            return "TRAIN"
    return "TEST"


def _included(layer: Message, state: NetState) -> bool:
    """Whether a layer takes part: it meets one of its include rules or none of its exclude rules."""
    include, exclude = layer.messages("include"), layer.messages("exclude")
    if include and exclude:
        raise layer.error("write either include rules or exclude rules, not both")
    if include:
        return any(_meets(state, rule) for rule in include)
    return not any(_meets(state, rule) for rule in exclude)


def _meets(state: NetState, rule: Message) -> bool:
    rule.only(_RULE_FIELDS, "a rule")
    lowest, highest = -(2**31), 2**31 - 1
    return (
        rule.choice("phase", PHASES, state.phase) == state.phase
        and rule.integer("min_level", lowest, lowest) <= state.level <= rule.integer("max_level", highest, lowest)
        and state.stages.issuperset(rule.texts("stage"))
        and state.stages.isdisjoint(rule.texts("not_stage"))
    )
