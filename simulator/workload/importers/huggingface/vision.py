"""Vision towers beside Hugging Face language models: `vision_config` -> the layers of `families.vision_tower`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any

from simulator.errors import InputError, UnsupportedError
from simulator.op.base import Shape
from simulator.workload.families.clip import ClipEncoder
from simulator.workload.families.transformer import FeedForward, Heads, Mode, Style
from simulator.workload.families.vision_tower import Averaged, Encoder, Pool, Shuffle, Tower, square
from simulator.workload.importers.huggingface.config import MAX_LAYERS, Config
from simulator.workload.importers.huggingface.parts import dropout_rate

SOFT_TOKENS = 280
"""Tokens that Gemma 4's image processor allows an image, unless told otherwise."""
LARGEST_FACTOR = 64


@dataclass(frozen=True, slots=True)
class TowerAsked:
    """What a tower depends on besides its own keys: side of the image, how attention runs, the text's features."""

    image_size: int | None
    mode: Mode
    features: int


Read = Callable[[Config, TowerAsked], Tower]


def read(kind: str, config: Config, asked: TowerAsked) -> Tower | None:
    """The tower of an architecture; None where the configuration or this table has none."""
    rule = TOWERS.get(kind)
    if rule is None or (kind in OPTIONAL and not config.has("vision_config")):
        return None
    return rule(config, asked)


def llama4(config: Config, asked: TowerAsked) -> Tower:
    """LLaMA 4's: biased attention and network, a class token, a pixel shuffle and its adapter.

    Without `vision_config` the library's defaults hold, whose adapter does not fit the encoder (5632 features of 3072,
    7680 of 4096); those matrices are built as they are, over zeros.
    """
    vision = config.part("vision_config")
    hidden = vision.integer("hidden_size", default=768)
    size = asked.image_size or vision.integer("image_size", default=448)
    heads = vision.integer("num_attention_heads", default=16)
    return Tower(
        Encoder(
            depth=vision.integer("num_hidden_layers", default=34, most=MAX_LAYERS),
            patch=vision.integer("patch_size", default=14),
            style=Style(hidden, "layer", dropout_rate(vision, "attention_dropout", 0.0), asked.mode),
            heads=Heads(count=heads, rotary=1.0, bias=True, out_bias=True),
            mlp=FeedForward(
                width=vision.integer("intermediate_size", default=5632), activation="gelu", gated=False, bias=True
            ),
        ),
        _shuffle(vision, hidden),
        (vision.integer("num_channels", default=3), size, size),
        asked.features,
    )


def _shuffle(vision: Config, hidden: int) -> Shuffle:
    """The adapter; one that does not fit is an error, unless it is the library's own."""
    ratio = vision.rate("pixel_shuffle_ratio", 0.5)
    factor = round(1 / ratio) if ratio * LARGEST_FACTOR >= 1 else 0
    if not factor or abs(ratio * factor - 1) > 1e-6:
        raise InputError(f"{vision.where}: pixel_shuffle_ratio must be one over a whole number, found {ratio:g}")
    end = Shuffle(
        factor=factor,
        inner=vision.integer("intermediate_size", default=5632),
        first=vision.integer("projector_input_dim", default=4096),
        second=vision.integer("projector_output_dim", default=4096),
        third=vision.integer("vision_output_dim", default=7680),
        dropout=dropout_rate(vision, "projector_dropout", 0.0),
    )
    if vision.values:
        _check(vision, "intermediate_size", end.inner, hidden * factor**2)
        _check(vision, "projector_output_dim", end.second, end.first)
        _check(vision, "vision_output_dim", end.third, end.second)
    return end


def _check(vision: Config, key: str, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(f"{vision.where}: {key} must be {expected}, as wide as what comes in, found {found}")


def gemma4(config: Config, asked: TowerAsked) -> Tower:
    """Gemma 4's: normalised heads, a gated network, averages of neighbouring patches.

    The image is the largest square within the allowed tokens; the processor's padding to that number is left out.
    """
    vision = config.part("vision_config")
    if vision.flag("use_clipped_linears"):
        raise UnsupportedError(f"{vision.where}: no cost rule for use_clipped_linears")
    hidden, patch = vision.integer("hidden_size", default=768), vision.integer("patch_size", default=16)
    side = vision.integer("pooling_kernel_size", default=3)
    tokens = config.integer("vision_soft_tokens_per_image", default=SOFT_TOKENS)
    size = asked.image_size or square(tokens, side * patch)
    width = vision.integer("intermediate_size", default=3072)
    activation = vision.activation("hidden_activation", default="gelu_pytorch_tanh")
    return Tower(
        Encoder(
            depth=vision.integer("num_hidden_layers", default=16, most=MAX_LAYERS),
            patch=patch,
            style=Style(hidden, "rms", dropout_rate(vision, "attention_dropout", 0.0), asked.mode),
            heads=_gemma4_heads(vision),
            mlp=FeedForward(width=width, activation=activation),  # type: ignore[arg-type]
            both=True,
        ),
        Pool(side, vision.integer("position_embedding_size", default=10240), vision.flag("standardize")),
        (3, size, size),
        asked.features,
    )


def _gemma4_heads(vision: Config) -> Heads:
    return Heads(
        count=vision.integer("num_attention_heads", default=12),
        kv=vision.integer("num_key_value_heads", default=12),
        size=vision.integer("head_dim", default=64),
        rotary=1.0,
        norm="trained",
        value_norm=True,
    )


def gemma3(config: Config, asked: TowerAsked) -> Tower:
    """Gemma 3's, SigLIP: biases everywhere, trained positions, averages of as many neighbours as leave its tokens."""
    vision = config.part("vision_config")
    if vision.flag("vision_use_head", default=True):
        raise UnsupportedError(f"{vision.where}: no cost rule for vision_use_head; Gemma 3's is false")
    size, patch = (
        asked.image_size or vision.integer("image_size", default=224),
        vision.integer("patch_size", default=16),
    )
    tokens = isqrt(config.integer("mm_tokens_per_image", default=256))
    side = size // patch // tokens
    if side < 1:
        raise InputError(f"{config.where}: {size // patch} patches a side are fewer than {tokens} tokens")
    activation = vision.activation("hidden_act", default="gelu_pytorch_tanh")
    return Tower(
        Encoder(
            depth=vision.integer("num_hidden_layers", default=12, most=MAX_LAYERS),
            patch=patch,
            style=Style(
                vision.integer("hidden_size", default=768),
                "layer",
                dropout_rate(vision, "attention_dropout", 0.0),
                asked.mode,
            ),
            heads=Heads(count=vision.integer("num_attention_heads", default=12), bias=True, out_bias=True),
            mlp=FeedForward(
                width=vision.integer("intermediate_size", default=3072),
                activation=activation,  # type: ignore[arg-type]
                gated=False,
                bias=True,
            ),
            patch_bias=True,
        ),
        Averaged(side),
        (vision.integer("num_channels", default=3), size, size),
        asked.features,
    )


def clip(config: Config) -> tuple[str, dict[str, Any]]:
    """CLIP: the family of its name."""
    text, vision = config.part("text_config"), config.part("vision_config")
    return "clip", {
        "text": _clip_side(text, (12, 512, 8, 2048)),
        "vision": _clip_side(vision, (12, 768, 12, 3072)),
        "vocabulary": text.integer("vocab_size", default=49408),
        "positions": text.integer("max_position_embeddings", default=77),
        "patch": vision.integer("patch_size", default=32),
        "projection": config.integer("projection_dim", default=512),
    }


def clip_inputs(config: Config, words: int | None, image_size: int | None) -> list[Shape]:
    """Words and an image, as asked or as the configuration has them."""
    text, vision = config.part("text_config"), config.part("vision_config")
    side = image_size or vision.integer("image_size", default=224)
    longest = text.integer("max_position_embeddings", default=77)
    return [(words or longest,), (vision.integer("num_channels", default=3), side, side)]


def _clip_side(config: Config, defaults: tuple[int, int, int, int]) -> ClipEncoder:
    depth, hidden, heads, width = defaults
    return ClipEncoder(
        depth=config.integer("num_hidden_layers", default=depth, most=MAX_LAYERS),
        hidden=config.integer("hidden_size", default=hidden),
        heads=config.integer("num_attention_heads", default=heads),
        width=config.integer("intermediate_size", default=width),
        activation=config.activation("hidden_act", default="quick_gelu"),  # type: ignore[arg-type]
        dropout=dropout_rate(config, "attention_dropout", 0.0),
    )


TOWERS: dict[str, Read] = {"gemma3": gemma3, "gemma4": gemma4, "llama4": llama4}
"""`model_type` -> how its `vision_config` is read."""

OPTIONAL = {"gemma3", "gemma4"}
"""Architectures without a tower where the key is missing; the others take the defaults of the library."""
