"""Where a network's samples come from: the shapes of its inputs, and the dataset that its names betray.

A data layer seldom writes its sample's shape down, since Caffe finds it in the database; it follows from a crop, from
the user's request or from a dataset known by name.
"""

from __future__ import annotations

import re

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.workload.importers import Request
from simulator.workload.importers.caffe.definition import CaffeLayer, Definition
from simulator.workload.importers.caffe.prototext import Message

KNOWN_DATA: dict[str, Shape] = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
"""Sample shapes by the dataset's name."""

PYTHON_IMAGE: Shape = (3, 600, 1000)
"""py-faster-rcnn's largest image: TRAIN.SCALES and TRAIN.MAX_SIZE."""

_MARKS = re.compile(r"(?<![a-z])(?:(?P<mnist>mnist|lenet)|(?P<cifar10>cifar[-_]?10(?!\d)))", re.IGNORECASE)
"""Words that betray a dataset; GoogLeNet and MobileNet are not LeNet."""


def dataset_name(definition: Definition) -> str | None:
    """The dataset: mnist or cifar10 if a source or the network's name says so, else none is known."""
    texts = [definition.name]
    for layer in definition.layers:
        if not layer.bottoms:
            texts += _sources(layer)
    marks = [found.lastgroup for text in texts if (found := _MARKS.search(text))]
    return marks[0] if marks else None


def _blocks(layer: CaffeLayer) -> list[Message]:
    """The parameter blocks of a layer."""
    names = [name for name in layer.message.fields if name.endswith("_param")]
    return [layer.block(name) for name in names]


def _sources(layer: CaffeLayer) -> list[str]:
    return [text for block in _blocks(layer) for text in block.texts("source") + block.texts("mean_file")]


def data_shapes(layer: CaffeLayer, definition: Definition, request: Request) -> list[Shape]:
    """Shapes of the tops of a layer without bottoms, batch included.

    Raises
    ------
    InputError
        If the shape is nowhere to be found; it says how to pass it.
    """
    if layer.type == "Input":
        return _input_shapes(layer, request)
    if layer.type == "DummyData":
        return _dummy_shapes(layer)
    if layer.type == "Parameter":
        return [_dims(layer.block("parameter_param").message("shape"))]
    batch = next((block.integer("batch_size", 1, 1) for block in _blocks(layer) if "batch_size" in block), 1)
    if layer.type == "MemoryData":
        block = layer.block("memory_data_param")
        sample: Shape = tuple(block.integer(side, 1, 1) for side in ("channels", "height", "width"))
    else:
        sample = _sample(layer, definition, request)
    shape = (batch, *requested(sample, request, layer))
    return [shape, *(_beside(layer, top, shape) for top in layer.tops[1:])]


_BESIDE: dict[str, Shape] = {"im_info": (1, 3), "gt_boxes": (1, 4), "rois": (1, 5)}
"""What py-faster-rcnn's data layer sets up beside the image: height, width and scale; one labelled box; one region."""


def _beside(layer: CaffeLayer, top: str, data: Shape) -> Shape:
    """A further top: a label a sample, a pixel, or a box (image, class, instance, corners, difficult)."""
    if layer.type == "AnnotatedData":
        return (1, 1, 1, 8)
    if layer.type == "DenseImageData":
        return (data[0], 1, *data[2:])
    return _BESIDE.get(top, (data[0],)) if layer.type == "Python" else (data[0],)


def requested(sample: Shape, request: Request, layer: CaffeLayer) -> Shape:
    """A sample's shape with the requested shape or image size put in."""
    if request.input_shape is not None:
        sample = request.input_shape
    if request.image_size is not None:
        if len(sample) != 3 or request.image_size < 1:
            raise layer.error(f"image size {request.image_size} does not fit the input {list(sample)}")
        sample = (sample[0], request.image_size, request.image_size)
    return sample


def _dims(shape: Message) -> Shape:
    return tuple(shape.integers("dim", 1))


def _input_shapes(layer: CaffeLayer, request: Request) -> list[Shape]:
    shapes = [_dims(shape) for shape in layer.block("input_param").messages("shape")]
    if not shapes and request.input_shape is not None:
        shapes = [(1, *request.input_shape)]
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if len(shapes) != len(layer.tops) or not all(shapes):
        raise layer.error(f"{len(layer.tops)} inputs and {len(shapes)} shapes; pass --input 3,227,227 or the like")
    return [(shapes[0][0], *requested(shapes[0][1:], request, layer)), *shapes[1:]]


def _dummy_shapes(layer: CaffeLayer) -> list[Shape]:
    block = layer.block("dummy_data_param")
    shapes = [_dims(shape) for shape in block.messages("shape")]
    if not shapes:
        sides = [block.integers(name, 1) for name in ("num", "channels", "height", "width")]
        shapes = [tuple(values) for values in zip(*sides, strict=False)]
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if len(shapes) != len(layer.tops):
        raise layer.error(f"{len(layer.tops)} tops and {len(shapes)} shapes")
    return shapes


def _sample(layer: CaffeLayer, definition: Definition, request: Request) -> Shape:
    """Channels, height and width of the images that a data layer reads."""
    if request.input_shape is not None:
        return request.input_shape
    known = KNOWN_DATA.get(dataset_name(definition) or "")
    crop = _size(layer)
    if crop is not None:
        frames = [block.integer("new_length", 1, 1) for block in _blocks(layer) if "new_length" in block]
        return (_channels(layer, known), *frames[:1], *crop)
    if layer.type == "Python":
        return PYTHON_IMAGE
    if known is not None:
        return known
    raise InputError(f"{layer.error(f'{layer.type} does not say how large a sample is')}; pass --input 3,227,227")


def _channels(layer: CaffeLayer, known: Shape | None) -> int:
    grey = layer.block("transform_param").flag("force_gray") or not layer.block("image_data_param").flag(
        "is_color", default=True
    )
    return 1 if grey else known[0] if known else 3


def _size(layer: CaffeLayer) -> tuple[int, int] | None:
    """(height, width) after cropping or resizing, if the layer says."""
    for block in _blocks(layer):
        if block.integer("crop_size"):
            return (block.integer("crop_size"),) * 2
    for block, high, wide in (
        (layer.block("image_data_param"), "new_height", "new_width"),
        (layer.block("transform_param").message("resize_param"), "height", "width"),
    ):
        if block.integer(high) and block.integer(wide):
            return block.integer(high), block.integer(wide)
    return None
