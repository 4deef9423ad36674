"""Caffe's automatic Split layers: a blob that several layers read is copied once for each of them.

Source: Caffe 1.0, insert_splits.cpp.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from simulator.workload.importers.caffe.definition import CaffeLayer
from simulator.workload.importers.caffe.prototext import Message

Output = tuple[int, int]
"""The number of a layer and of one of its tops."""


def insert_splits(layers: tuple[CaffeLayer, ...]) -> list[CaffeLayer]:
    """The layers with a Split after each top that is read more than once; its copies are named as Caffe names them.

    Raises
    ------
    InputError
        If a layer reads a blob that no layer before it writes.
    """
    sources = _sources(layers)
    readers = Counter(output for row in sources for output in row)
    weighed = {
        (number, top)
        for number, layer in enumerate(layers)
        for top, weight in enumerate(layer.message.numbers("loss_weight")[: len(layer.tops)])
        if weight
    }
    readers.update(weighed)
    copies = Counter(weighed)
    result: list[CaffeLayer] = []
    for number, layer in enumerate(layers):
        bottoms = []
        for blob, output in zip(layer.bottoms, sources[number], strict=True):
            if readers[output] > 1:
                bottoms.append(f"{_split_name(layers[output[0]].name, blob, output[1])}_{copies[output]}")
                copies[output] += 1
            else:
                bottoms.append(blob)
        moved = any((number, top) in weighed and readers[number, top] > 1 for top in range(len(layer.tops)))
        message = _without_weights(layer.message) if moved else layer.message
        same = tuple(bottoms) == layer.bottoms and not moved
        result.append(layer if same else replace(layer, bottoms=tuple(bottoms), message=message))
        for top, blob in enumerate(layer.tops):
            if readers[number, top] > 1:
                result.append(_split(layer, blob, top, readers[number, top]))
    return result


def _sources(layers: tuple[CaffeLayer, ...]) -> list[list[Output]]:
    """The output that each bottom of each layer reads."""
    last: dict[str, Output] = {}
    result = []
    for number, layer in enumerate(layers):
        row = []
        for blob in layer.bottoms:
            if blob not in last:
                raise layer.error(f"unknown bottom blob {blob!r}")
            row.append(last[blob])
        result.append(row)
        last.update((blob, (number, top)) for top, blob in enumerate(layer.tops))
    return result


def _split(layer: CaffeLayer, blob: str, top: int, count: int) -> CaffeLayer:
    name = _split_name(layer.name, blob, top)
    message = Message(layer.message.source, layer.message.position)
    weights = layer.message.scalars("loss_weight")
    if top < len(weights):
        message.add("loss_weight", *weights[top])
    return CaffeLayer(name, "Split", (blob,), tuple(f"{name}_{copy}" for copy in range(count)), message)


def _without_weights(message: Message) -> Message:
    """A layer's message without the loss weights, which went to its Splits."""
    fields = {name: values for name, values in message.fields.items() if name != "loss_weight"}
    return Message(message.source, message.position, fields)


def _split_name(layer: str, blob: str, top: int) -> str:
    return f"{blob}_{layer}_{top}_split"
