"""Hugging Face architectures without a rule of our own: transformers builds them without data, and they are traced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from simulator.errors import InputError, UnsupportedError, suggestion
from simulator.op.base import Shape
from simulator.workload.importers import Given, Request
from simulator.workload.importers.huggingface.config import MAX_LAYERS, Config

SEQUENCE = 512
"""Positions where a configuration allows as many. [tokens]"""
IMAGE_SIZE = 224
"""Where a configuration names none. [pixels]"""
SECOND = 16_000
"""Samples of sound, where a network takes the wave: one second at 16 kHz."""
BOOKS = ("musicgen_decoder", "musicgen_melody_decoder")
"""Types that read a token of each of several code books at a position."""
FEWER = {"prophetnet": 2}
"""Positions that a type's tables of relative positions lack of its table of positions."""
MOST_MODULES = 10_000
"""That are traced unless more are asked for, which takes some seconds."""

HEADS = ("CAUSAL_LM", "MASKED_LM", "IMAGE_CLASSIFICATION", "CTC", "AUDIO_CLASSIFICATION")
"""What a model type is built as where its configuration names no class, the first that it has."""
TWO_SIDED = ("SEQ_TO_SEQ_CAUSAL_LM", "SPEECH_SEQ_2_SEQ")
"""The same, before those, of an encoder with a decoder."""


def missing(config: Config, kind: str, known: Any) -> UnsupportedError:
    """The error of an architecture without a rule where transformers is not installed."""
    return UnsupportedError(
        f"{config.where}: no rule for the architecture {kind[:80]!r}{suggestion(kind[:80], known)}; "
        "any that transformers builds can be traced: pip install 'roofline-simulator[hf]'"
    )


def installed() -> bool:
    """Whether transformers and PyTorch are there, looked for without loading them."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("transformers", "torch"))


def trace(config: Config, kind: str, request: Request, name: str) -> Any:
    """The workload of a configuration's class, its inputs as the class takes them.

    Raises
    ------
    UnsupportedError
        For a type that transformers does not know either, or an operation without a cost rule.
    InputError
        If the class cannot be built from the configuration.
    """
    from simulator.workload.importers import torch as importer

    with importer.user_code(config.where):
        model, settings = module_of(config, kind, request)
        inputs = request.inputs or tuple(_inputs(model, settings, request))
    asked = Request(**{**vars(request), "inputs": inputs})
    return importer.tried(model, inputs, asked, importer.TorchSource(name, config.where))


def module_of(config: Config, kind: str, request: Request) -> tuple[Any, Any]:
    """The module of a configuration's class, with shapes alone, and the configuration that it is built from."""
    settings = _settings(config, kind)
    make = _class(config, kind, two_sided=bool(settings.is_encoder_decoder))
    settings = _part_for(make, settings)
    with _at_most(request.max_layers or MOST_MODULES, config.where):
        return _model(make, settings, request), settings


def _settings(config: Config, kind: str) -> Any:
    """The configuration as transformers reads it; nothing is kept for later tokens."""
    _few_layers(config)
    mapping = import_module("transformers").CONFIG_MAPPING
    if kind not in mapping:
        raise UnsupportedError(f"{config.where}: transformers has no model_type {kind[:80]!r}")
    settings = mapping[kind].from_dict(config.values)
    for part in (settings, *(getattr(settings, key) for key in ("text_config",) if hasattr(settings, key))):
        if hasattr(part, "use_cache"):
            part.use_cache = False
    return settings


def _few_layers(config: Config) -> None:
    """Refuse a depth that no network has, in parts too, before lists of all layers are made from it."""
    for key, value in config.values.items():
        if isinstance(value, dict):
            _few_layers(config.part(key))
        elif ("layer" in key or key == "depth") and type(value) is int:
            config.optional(key, least=min(value, 0), most=MAX_LAYERS)


def _class(config: Config, kind: str, *, two_sided: bool) -> Any:
    """The class that `architectures` names, else the type's first in the order of `HEADS`, else its encoder.

    Raises
    ------
    UnsupportedError
        If transformers has neither.
    """
    transformers = import_module("transformers")
    for name in config.names("architectures"):
        if isinstance(getattr(transformers, name, None), type):
            return getattr(transformers, name)
    tables = import_module("transformers.models.auto.modeling_auto")
    heads = (*TWO_SIDED, *HEADS) if two_sided else HEADS
    for head in (*(f"MODEL_FOR_{head}_MAPPING_NAMES" for head in heads), "MODEL_MAPPING_NAMES"):
        found = getattr(tables, head, {}).get(kind)
        if found:
            return getattr(transformers, found if isinstance(found, str) else found[0])
    raise UnsupportedError(f"{config.where}: transformers has no class for model_type {kind[:80]!r}")


def _part_for(make: Any, settings: Any) -> Any:
    """The part of a configuration that a class is built from: a multimodal model's language model takes the text's."""
    wanted = make.config_class
    if wanted is None or isinstance(settings, wanted):
        return settings
    return next((part for part in vars(settings).values() if isinstance(part, wanted)), settings)


def _model(make: Any, settings: Any, request: Request) -> Any:
    """The module, with shapes alone."""
    from simulator.workload.importers.torch.values import built_without_data

    options = {"attn_implementation": "eager"} if request.attention == "eager" else {}
    with built_without_data():
        return make._from_config(settings, **options)


@contextmanager
def _at_most(count: int, where: str) -> Iterator[None]:
    """Refuse to build more modules inside.

    Raises
    ------
    InputError
        As soon as there are more.
    """
    from torch.nn.modules.module import register_module_module_registration_hook

    built = 0

    def another(parent: Any, name: str, module: Any) -> None:  # noqa: ARG001
        nonlocal built
        built += 1
        if built > count:
            raise InputError(f"{where}: more than {count:,} modules to trace; --max-layers allows more")

    handle = register_module_module_registration_hook(another)
    try:
        yield
    finally:
        handle.remove()


def _inputs(model: Any, settings: Any, request: Request) -> list[Given]:
    """What the class's `forward` takes: tokens, an image, sound, or two of them."""
    from inspect import signature

    takes = signature(model.forward).parameters
    main = model.main_input_name
    found = _patches(settings, request) if "spatial_shapes" in takes else [_input(main, settings, request)]
    pairs = hasattr(settings, "vision_config") and {"input_ids", "pixel_values"} <= set(takes)
    if pairs and hasattr(settings, "projection_dim") and main == "input_ids":
        found.append(_input("pixel_values", settings, request))
    elif pairs and hasattr(settings, "projection_dim"):
        found.append(_input("input_ids", settings, request))
    if "decoder_input_ids" in takes and settings.is_encoder_decoder:
        found.append(_input("decoder_input_ids", settings, request))
    return found


def _patches(settings: Any, request: Request) -> list[Given]:
    """An image as so many patches, of which the network takes height and width apart."""
    part = getattr(settings, "vision_config", settings)
    count = part.num_patches if request.image_size is None else (request.image_size // part.patch_size) ** 2
    return [
        Given((count, part.num_channels * part.patch_size**2), "float32", "pixel_values"),
        Given((2,), "int64", "spatial_shapes"),
    ]


def _input(name: str, settings: Any, request: Request) -> Given:
    if "input_ids" in name or name == "inputs":
        length = _length(settings, request, name)
        books = getattr(settings, "num_codebooks", 1) if settings.model_type in BOOKS else 1
        return Given((books, length) if books > 1 else (length,), "int64", name)
    if name.startswith("pixel_values"):
        return Given(_image(settings, request), "float32", name)
    if name == "input_features":
        frames = 2 * getattr(settings, "max_source_positions", 1500)
        return Given((getattr(settings, "num_mel_bins", 80), frames), "float32", name)
    if name == "input_values":
        return Given((request.input_shape or (SECOND,)), "float32", name)
    raise UnsupportedError(f"the class takes {name}: say what it is, --input {name}=TYPE:SHAPE")


def _length(settings: Any, request: Request, name: str) -> int:
    """As asked, else what positions allow; sound is told in words, whose number its own limit bounds."""
    parts = (settings, getattr(settings, "text_config", None))
    keys = ("max_target_positions", "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")
    limits = [getattr(part, key, None) for part in parts for key in keys]
    longest = min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=SEQUENCE)
    longest = max(longest - FEWER.get(settings.model_type, 0), 1)
    if request.input_shape is not None and name == "input_ids":
        return request.input_shape[0]
    return request.sequence or min(longest, SEQUENCE)


def _image(settings: Any, request: Request) -> Shape:
    """Channels and sides, from the configuration or its part for images."""
    if request.input_shape is not None:
        return request.input_shape
    parts = (settings, *(getattr(settings, key, None) for key in ("vision_config", "backbone_config", "encoder")))
    sizes = [getattr(part, "image_size", None) for part in parts]
    size = request.image_size or next((size for size in sizes if size), IMAGE_SIZE)
    sides = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = next((c for c in (getattr(part, "num_channels", None) for part in parts) if isinstance(c, int)), 3)
    if min(sides) < 1:
        raise InputError(f"image size {size} is not positive")
    return (channels, *sides)
