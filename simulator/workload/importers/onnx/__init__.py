"""ONNX files as workloads: `onnx:model.onnx`.

The file is read in small pieces (`wire`, `decode`), its weights are skipped and files beside it never opened.
Shapes are worked out here, node by node (`run`), with the values of small tensors (`values`), so that the chains of
Shape, Gather and Concat that exporters write come to numbers. The `onnx` library serves for the shapes of operators
without a rule alone.
"""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from simulator.errors import InputError, SimulatorError
from simulator.workload.dataset import NO_DATASET
from simulator.workload.importers import Request
from simulator.workload.workload import Workload


def load(location: str, request: Request) -> Workload:
    """The network of an ONNX file.

    The batch is the leading side of the first input. Layers bear the names of their nodes, or of their outputs. Stored
    tensors that a layer trains (weights, biases, scales, tables) are parameters, those that several share once; shapes,
    axes, single numbers and running statistics are not. A network that ends in (classes,) or (positions, vocabulary)
    numbers is trained by cross-entropy, which is added as the layer "loss".

    Parameters
    ----------
    request : `image_size`, `sequence` and `input_shape` for open sides; `attention`; `allow_unknown`; `trips` of a
        loop and `boxes` of a selection that only a run decides.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged, or its shapes do not fit together.
    UnsupportedError
        For operators without a cost rule, all named, unless `request.allow_unknown` is set.
    """
    path = Path(location)
    try:
        with path.open("rb", buffering=0) as file:
            return _workload(file, path, request)
    except (OSError, ValueError) as error:
        raise InputError(f"{location}: cannot be read: {' '.join(str(error).split())[:120]}") from None
    except SimulatorError as error:
        text = " ".join(str(error).split())
        raise type(error)(text if text.startswith(location) else f"{location}: {text}") from None


def _workload(file: FileIO, path: Path, request: Request) -> Workload:
    from simulator.workload.importers.onnx.decode import read_model
    from simulator.workload.importers.onnx.network import build
    from simulator.workload.importers.onnx.wire import Wire

    wire = Wire(file, str(path))
    model = read_model(wire)
    inputs, builder = build(wire, model, request)
    return Workload(
        name=path.stem,
        inputs=inputs,
        layers=tuple(builder.layers),
        dataset=NO_DATASET,
        description="; ".join([f"imported from {path.name}, operator set {model.opset}", *builder.remarks]),
        source=str(path),
    )
