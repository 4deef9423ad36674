"""The two older syntaxes of Caffe's layers, brought to today's.

V1: `layers { type: CONVOLUTION blobs_lr: 1 ... }`. V0: `layers { layer { type: "conv" num_output: 20 ... } ... }`.
Source: Caffe 1.0, upgrade_proto.cpp.
"""

from __future__ import annotations

from simulator.workload.importers.caffe.prototext import Message

LEGACY_LAYER_FIELDS = ("blobs_lr", "weight_decay", "blob_share_mode")

_V1_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BN": "BN",
    "BNLL": "BNLL",
    "CONVOLUTION3D": "Convolution3D",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "POOLING3D": "Pooling3D",
    "PRELU": "PReLU",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""Those that are not just the words run together."""

_V0_TYPES = {
    "bnll": ("BNLL", ""),
    "concat": ("Concat", "concat_param"),
    "conv": ("Convolution", "convolution_param"),
    "data": ("Data", "data_param"),
    "dropout": ("Dropout", "dropout_param"),
    "euclidean_loss": ("EuclideanLoss", ""),
    "flatten": ("Flatten", ""),
    "hdf5_data": ("HDF5Data", "hdf5_data_param"),
    "images": ("ImageData", "image_data_param"),
    "innerproduct": ("InnerProduct", "inner_product_param"),
    "lrn": ("LRN", "lrn_param"),
    "multinomial_logistic_loss": ("MultinomialLogisticLoss", ""),
    "pool": ("Pooling", "pooling_param"),
    "relu": ("ReLU", ""),
    "sigmoid": ("Sigmoid", ""),
    "softmax": ("Softmax", ""),
    "softmax_loss": ("SoftmaxWithLoss", ""),
    "split": ("Split", ""),
    "tanh": ("TanH", ""),
    "window_data": ("WindowData", "window_data_param"),
}
_V0_FIELDS = {"biasterm": "bias_term", "kernelsize": "kernel_size", "batchsize": "batch_size", "cropsize": "crop_size"}
_V0_TRANSFORM = ("crop_size", "scale", "meanfile", "mirror")


def upgrade_layers(layers: list[Message]) -> list[Message]:
    """Messages of `layers` as `layer` messages; V0's padding layers go into the convolutions that read them."""
    if any("layer" in message for message in layers):
        pads = _paddings(layers)
        return [_upgrade_v0(message, pads) for message in layers if not _is_padding(message)]
    return [_upgrade_v1(message) for message in layers]


def _upgrade_v1(old: Message) -> Message:
    layer = Message(old.source, old.position)
    names: list[tuple[str, int]] = []
    for name, values in old.fields.items():
        if name == "type":
            for raw, position in old.scalars("type"):
                layer.add("type", f'"{_v1_type(raw)}"', position)
        elif name == "param":
            names = old.scalars("param")
        else:
            layer.fields[name] = values
    _add_params(layer, names, old.scalars("blobs_lr"))
    return layer


def _v1_type(raw: str) -> str:
    """CONVOLUTION -> Convolution, SIGMOID_CROSS_ENTROPY_LOSS -> SigmoidCrossEntropyLoss."""
    return _V1_TYPES.get(raw) or "".join(word.capitalize() for word in raw.strip("\"'").split("_"))


def _add_params(layer: Message, names: list[tuple[str, int]], rates: list[tuple[str, int]]) -> None:
    """`param: "name"` and `blobs_lr: 1` as `param { name: "name" lr_mult: 1 }`."""
    for index in range(max(len(names), len(rates))):
        block = Message(layer.source, layer.position)
        for field, values in (("name", names), ("lr_mult", rates)):
            if index < len(values):
                block.add(field, *values[index])
        layer.add("param", block, block.position)


def _is_padding(message: Message) -> bool:
    return message.message("layer").text("type") == "padding"


def _paddings(layers: list[Message]) -> dict[str, tuple[str, Message]]:
    """Top of each V0 padding layer -> (raw bottom, its parameters)."""
    return {
        message.texts("top")[0]: (message.scalars("bottom")[0][0], message.message("layer"))
        for message in layers
        if _is_padding(message) and message.texts("top") and message.texts("bottom")
    }


def _upgrade_v0(old: Message, pads: dict[str, tuple[str, Message]]) -> Message:
    """A V0 layer in today's syntax, a padding layer before it made its own padding."""
    inner = old.message("layer")
    kind = inner.text("type")
    name, block_name = _V0_TYPES.get(kind, (kind, ""))
    layer, block, transform = (Message(old.source, old.position) for _ in range(3))
    layer.add("type", f'"{name}"', inner.position)
    for field, values in inner.fields.items():
        today = _V0_FIELDS.get(field, field)
        if field == "name":
            layer.fields[field] = values
        elif field not in ("type", *LEGACY_LAYER_FIELDS):
            (transform if today in _V0_TRANSFORM else block).fields[today] = values
    for raw, position in old.scalars("bottom"):
        source, padding = pads.get(raw.strip("\"'"), (raw, None))
        layer.add("bottom", source, position)
        if padding is not None:
            block.fields["pad"] = padding.fields.get("pad", [])
    if "top" in old:
        layer.fields["top"] = old.fields["top"]
    _add_params(layer, [], inner.scalars("blobs_lr"))
    if block_name:
        layer.add(block_name, block, block.position)
    layer.add("transform_param", transform, transform.position)
    return layer
