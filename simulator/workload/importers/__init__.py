"""Importers: networks in other people's formats become the same `Workload`. One module a format, named by a prefix.

`caffe:net.prototxt` is read by `importers/caffe.py`, whose `load(location, request)` returns the workload.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from simulator.errors import UnknownNameError
from simulator.op.base import Shape
from simulator.workload.workload import Workload

MODULES = {"caffe": "caffe", "hf": "huggingface", "onnx": "onnx", "torch": "torch"}
"""Prefix -> module."""


@dataclass(frozen=True)
class Given:
    """One input that the user describes: the shape of a sample, its type ("int64") and its name, where they say."""

    shape: Shape
    dtype: str = ""
    name: str = ""

    def __str__(self) -> str:
        sides = ",".join(map(str, self.shape))
        return (f"{self.name}=" if self.name else "") + (f"{self.dtype}:" if self.dtype else "") + sides


@dataclass(frozen=True)
class Request:
    """What the user asks of a network's definition, whatever its format; None leaves the definition's own.

    Attributes
    ----------
    image_size : height and width of the input images. [pixels]
    sequence : length of the input sequence. [tokens]
    input_shape : shape of one sample, where the format does not say.
    attention : "eager" writes the scores to memory, "fused" keeps them on chip (flash attention).
    classes : outputs of the classifier, of families that have one.
    allow_unknown : keep operations without a cost rule as layers that cost nothing, instead of refusing them.
    inputs : all inputs, of formats that do not say what they are; the first one's shape is `input_shape` too.
    training : whether the network must train (True) or only infer (False); None where either will do.
    boxes : entries that a detector's selections keep at most (boxes, regions), which its values decide.
    trips : how often a loop runs that only a run ends.
    max_layers : of a network written in YAML, or modules that transformers builds to be traced.
    trace : "real" computes the values that a network's control flow asks for, on random numbers.
    """

    image_size: int | None = None
    sequence: int | None = None
    input_shape: Shape | None = None
    attention: Literal["eager", "fused"] | None = None
    classes: int | None = None
    allow_unknown: bool = False
    inputs: tuple[Given, ...] = ()
    training: bool | None = None
    trace: Literal["meta", "real"] = "meta"
    boxes: int | None = None
    trips: int | None = None
    max_layers: int | None = None


ENDINGS = {".prototxt": "caffe", ".pbtxt": "caffe", ".onnx": "onnx", ".json": "hf"}
"""Ending of a file's name -> its format, where no prefix says it."""


def recognised(name: str) -> str:
    """A file's name with the prefix of its format, "net.onnx" -> "onnx:net.onnx"; other names as they are."""
    ending = next((ending for ending in ENDINGS if name.endswith(ending)), None)
    return name if ending is None or ":" in name else f"{ENDINGS[ending]}:{name}"


def load(prefix: str, location: str, request: Request) -> Workload:
    """A workload from `prefix:location`.

    Raises
    ------
    UnknownNameError
        For an unknown prefix.
    InputError, UnsupportedError
        If the file cannot be read, or an operation has no cost rule and `allow_unknown` is not set.
    """
    if prefix not in MODULES:
        raise UnknownNameError("format", prefix, MODULES)
    module = import_module(f"simulator.workload.importers.{MODULES[prefix]}")
    workload: Workload = module.load(location, request)
    return workload
