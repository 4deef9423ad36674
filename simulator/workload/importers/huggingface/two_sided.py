"""Hugging Face encoders with decoders: the keys of their configurations -> the family `encoder_decoder`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from simulator.workload.families.encoder_decoder import CoderSizes
from simulator.workload.importers.huggingface.config import MAX_LAYERS, Config
from simulator.workload.importers.huggingface.parts import dropout_rate

FAMILY = "encoder_decoder"
FRAMES = 2
"""Frames of a spectrum that Whisper's second convolution makes one position of."""


@dataclass(frozen=True, slots=True)
class BartKind:
    """How one architecture differs from BART.

    Attributes
    ----------
    after, entry_norm, end_norm, fixed : as in the family.
    offset : rows of a table of positions before the first that is used.
    defaults : vocabulary, positions, and the width of a feed-forward network, where a configuration lacks them.
    activation : of the feed-forward networks, where it says none.
    """

    after: bool
    entry_norm: bool
    end_norm: bool
    fixed: Literal["no", "stored", "computed"] = "no"
    offset: int = 0
    defaults: tuple[int, int, int] = (50265, 1024, 4096)
    activation: str = "gelu"


KINDS = {
    "bart": BartKind(after=True, entry_norm=True, end_norm=False, offset=2),
    "blenderbot": BartKind(after=False, entry_norm=False, end_norm=True, defaults=(8008, 128, 10240)),
    "blenderbot-small": BartKind(after=True, entry_norm=True, end_norm=False, defaults=(50265, 512, 2048)),
    "m2m_100": BartKind(
        after=False, entry_norm=False, end_norm=True, fixed="computed", defaults=(128112, 1024, 4096), activation="relu"
    ),
    "marian": BartKind(after=True, entry_norm=False, end_norm=False, fixed="stored", defaults=(58101, 1024, 4096)),
    "mbart": BartKind(after=False, entry_norm=True, end_norm=True, offset=2),
    "pegasus": BartKind(after=False, entry_norm=False, end_norm=True, fixed="stored"),
}
"""`model_type` -> how it differs."""


def _read(kind: BartKind, config: Config) -> tuple[str, dict[str, Any]]:
    vocabulary, longest, width = kind.defaults
    positions = config.integer("max_position_embeddings", default=longest) + kind.offset

    def side(prefix: str) -> CoderSizes:
        return CoderSizes(
            depth=config.integer(f"{prefix}_layers", default=12, most=MAX_LAYERS),
            heads=config.integer(f"{prefix}_attention_heads", default=16),
            width=config.integer(f"{prefix}_ffn_dim", default=width),
            positions=positions,
            fixed=kind.fixed,
        )

    return FAMILY, {
        "encoder": side("encoder"),
        "decoder": side("decoder"),
        "hidden": config.integer("d_model", default=1024),
        "vocabulary": config.integer("vocab_size", default=vocabulary),
        "activation": config.activation("activation_function", default=kind.activation),
        "after": kind.after,
        "entry_norm": kind.entry_norm,
        "end_norm": kind.end_norm,
        "dropout": dropout_rate(config, "dropout", 0.1),
    }


def whisper(config: Config) -> tuple[str, dict[str, Any]]:
    """Whisper: an encoder of sound with stored waves as positions; keys without biases."""

    def side(prefix: str, positions: int, fixed: Literal["no", "stored"]) -> CoderSizes:
        return CoderSizes(
            depth=config.integer(f"{prefix}_layers", default=4, most=MAX_LAYERS),
            heads=config.integer(f"{prefix}_attention_heads", default=6),
            width=config.integer(f"{prefix}_ffn_dim", default=1536),
            positions=positions,
            fixed=fixed,
        )

    return FAMILY, {
        "encoder": side("encoder", config.integer("max_source_positions", default=1500), "stored"),
        "decoder": side("decoder", config.integer("max_target_positions", default=448), "no"),
        "hidden": config.integer("d_model", default=384),
        "vocabulary": config.integer("vocab_size", default=51865),
        "activation": config.activation("activation_function", default="gelu"),
        "sound": True,
        "key_bias": False,
        "dropout": dropout_rate(config, "dropout", 0.0),
    }


def spectrum(config: Config) -> tuple[int, int]:
    """Bands and frames that Whisper's encoder takes."""
    return config.integer("num_mel_bins", default=80), FRAMES * config.integer("max_source_positions", default=1500)


TRANSLATIONS: dict[str, Callable[[Config], tuple[str, dict[str, Any]]]] = {
    **{name: partial(_read, kind) for name, kind in KINDS.items()},
    "whisper": whisper,
}
"""`model_type` -> how its configuration is read."""
