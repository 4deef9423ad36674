"""What Caffe writes to its log while it sets a network up: blob shapes and the running "Memory required for data".

Source: Caffe 1.0, Net::Init in net.cpp; the lines stand here as Caffe prints them, without the prefix of its logging
library.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from simulator.op.base import Shape
from simulator.workload.importers import Request
from simulator.workload.importers.caffe.blobs import Placed, place
from simulator.workload.importers.caffe.definition import CaffeLayer, read_definition
from simulator.workload.importers.caffe.shapes import LOSSES

FLOAT_BYTES = 4
_AUTOMATIC = "(automatic)"

_PARAMETER_BLOCKS = {
    "Convolution": "convolution_param",
    "Convolution3D": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "Deconvolution": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Embed": "embed_param",
    "InnerProduct": "inner_product_param",
}
"""Layers with a weight and, unless `bias_term` is off, a bias."""


def caffe_log(location: str, phase: str | None = None, request: Request | None = None) -> list[str]:
    """The lines that Caffe logs while it sets up the network at `net.prototxt` or `net.prototxt@TEST`.

    Parameters
    ----------
    phase : TRAIN or TEST, with stages after commas; the file's own if None.
    request : a sample's shape, where the file does not say.

    Raises
    ------
    InputError, UnknownNameError, UnsupportedError
        One line, as `load` raises them.

    Examples
    --------
    "Top shape: 64 20 24 24 (737280)" and "Memory required for data: 3150080": four bytes for each element of every top
    so far, those written in place counted again.
    """
    return log_lines(place(read_definition(location, phase), request or Request(), counted=False))


def log_lines(layers: list[Placed]) -> list[str]:
    """The lines for layers whose blobs have their shapes."""
    return [*_setup(layers), *_backward(layers), *_outputs(layers), "Network initialization done."]


def _setup(layers: list[Placed]) -> Iterable[str]:
    elements = 0
    owners: dict[str, tuple[str, int]] = {}
    for placed in layers:
        layer = placed.layer
        yield f"Creating Layer {layer.name}"
        for blob in layer.bottoms:
            yield f"{layer.name} <- {blob}"
        for number, blob in enumerate(_top_names(placed)):
            in_place = " (in-place)" if layer.bottoms[number : number + 1] == (blob,) else ""
            yield f"{layer.name} -> {blob}{in_place}"
        yield f"Setting up {layer.name}"
        for shape, weight in zip(placed.tops, _loss_weights(placed), strict=True):
            yield f"Top shape: {shape_text(shape)}"
            if weight:
                yield f"    with loss weight {weight:g}"
            elements += prod(shape)
        yield f"Memory required for data: {FLOAT_BYTES * elements}"
        yield from _shared(layer, owners)


def shape_text(shape: Shape) -> str:
    """`64 20 24 24 (737280)`."""
    return "".join(f"{side} " for side in shape) + f"({prod(shape)})"


def _top_names(placed: Placed) -> tuple[str, ...]:
    return (_AUTOMATIC,) if placed.automatic else placed.layer.tops


def _loss_weights(placed: Placed) -> list[float]:
    """The weight of each top in the loss: the file's, or 1 for the first top of a loss layer."""
    layer = placed.layer
    written = layer.message.numbers("loss_weight")
    usual = [1.0] if layer.type in LOSSES else []
    weights = [*(written or usual), *[0.0] * len(placed.tops)]
    return weights[: len(placed.tops)]


def _shared(layer: CaffeLayer, owners: dict[str, tuple[str, int]]) -> Iterable[str]:
    for number, name in enumerate(layer.shared_names[: _parameter_blobs(layer)]):
        if name in owners:
            owner, index = owners[name]
            yield f"Sharing parameters '{name}' owned by layer '{owner}', param index {index}"
        elif name:
            owners[name] = (layer.name, number)


def _parameter_blobs(layer: CaffeLayer) -> int:
    """How many parameter tensors a layer has."""
    if layer.type in _PARAMETER_BLOCKS:
        return 1 + layer.block(_PARAMETER_BLOCKS[layer.type]).flag("bias_term", default=True)
    if layer.type == "Scale":
        return (len(layer.bottoms) == 1) + layer.block("scale_param").flag("bias_term")
    if layer.type == "Bias":
        return int(len(layer.bottoms) == 1)
    if layer.type in ("LSTM", "RNN"):
        return (3 if layer.type == "LSTM" else 5) + (len(layer.bottoms) > 2)
    return {"BN": 2, "BatchNorm": 3, "PReLU": 1, "Normalize": 1, "Parameter": 1}.get(layer.type, 0)


def _wants_backward(layer: CaffeLayer, trained: set[str]) -> bool:
    """Whether a bottom or a parameter tensor asks for a gradient; one that the file does not mention does."""
    blobs = _parameter_blobs(layer)
    rates = [] if layer.type == "BatchNorm" else layer.rates[:blobs]
    rates += [1.0] * (blobs - len(rates))
    return any(rates) or any(blob in trained for blob in layer.bottoms)


def _backward(layers: list[Placed]) -> Iterable[str]:
    """From the last layer to the first: which are computed backward, since they lie between a parameter and a loss."""
    trained: set[str] = set()
    wanted, passed = [], []
    for placed in layers:
        layer = placed.layer
        wants = _wants_backward(layer, trained)
        choice = [raw in ("true", "True", "t", "1") for raw, _ in layer.message.scalars("propagate_down")]
        wanted.append(wants)
        passed.append(choice or [blob in trained for blob in layer.bottoms])
        if wants:
            trained.update(_top_names(placed))
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for number in reversed(range(len(layers))):
        placed = layers[number]
        tops, bottoms = _top_names(placed), placed.layer.bottoms
        contributes = any(_loss_weights(placed)) or any(blob in under_loss for blob in tops)
        needed = wanted[number] and contributes and not all(blob in skipped for blob in tops)
        yield f"{placed.layer.name} {'needs' if needed else 'does not need'} backward computation."
        if contributes:
            under_loss.update(bottoms)
        skip_all = not contributes or (wanted[number] and all(blob in skipped for blob in tops))
        skipped.update(blob for blob, down in zip(bottoms, passed[number], strict=False) if skip_all or not down)


def _outputs(layers: list[Placed]) -> Iterable[str]:
    """Blobs that no layer reads, in alphabetical order."""
    unread: set[str] = set()
    for placed in layers:
        unread.difference_update(placed.layer.bottoms)
        unread.update(placed.layer.tops)
    return [f"This network produces output {blob}" for blob in sorted(unread, key=str.encode)]
