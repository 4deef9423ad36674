"""Which inputs an architecture's network takes: as asked for, else as its configuration allows."""

from __future__ import annotations

from collections.abc import Callable

from simulator.errors import InputError
from simulator.op.base import Shape
from simulator.workload.importers import Request
from simulator.workload.importers.huggingface import two_sided, vision
from simulator.workload.importers.huggingface.config import Config

SEQUENCE = 512
"""Positions where a configuration names none. [tokens]"""
LONGEST_DEFAULT = 2048
"""Positions unless asked for, where a configuration allows more. [tokens]"""
IMAGE_SIZE = 224


def tokens(config: Config, request: Request) -> list[Shape]:
    """A sequence."""
    return [(_length(config, request),)]


def image(config: Config, request: Request) -> list[Shape]:
    """An image."""
    side = request.image_size or config.integer("image_size", default=IMAGE_SIZE)
    return [(config.integer("num_channels", default=3), side, side)]


def two_sequences(config: Config, request: Request) -> list[Shape]:
    """An encoder's sequence and a decoder's, which is a quarter as long unless a length is asked for."""
    length = _length(config, request)
    return [(length,), (length if request.sequence else max(1, length // 4),)]


def sound(config: Config, request: Request) -> list[Shape]:
    """A spectrum and the words said."""
    return [two_sided.spectrum(config), (_length(config, request),)]


def pair(config: Config, request: Request) -> list[Shape]:
    """Words and an image."""
    return vision.clip_inputs(config, request.sequence, request.image_size)


Inputs = Callable[[Config, Request], list[Shape]]

OF_FAMILY: dict[str, Inputs] = {"t5": two_sequences, two_sided.FAMILY: two_sequences, "vit": image}
"""Family -> what its networks take, where it is not one sequence."""
OF_TYPE: dict[str, Inputs] = {"clip": pair, "whisper": sound}
"""`model_type` -> the same, of those that say it in parts of their own."""


def inputs_of(kind: str, family: str, config: Config, request: Request) -> list[Shape]:
    """Shapes of one sample.

    Raises
    ------
    InputError
        If an image's size is asked of a network without images.
    """
    rule = OF_TYPE.get(kind) or OF_FAMILY.get(family, tokens)
    if request.input_shape is not None:
        return [request.input_shape] * (2 if OF_FAMILY.get(family) is two_sequences else 1)
    if request.image_size is not None and rule not in (image, pair):
        raise InputError(f"{config.where}: image size {request.image_size} does not fit a model of tokens")
    return rule(config, request)


def _length(config: Config, request: Request) -> int:
    longest = config.integer("max_position_embeddings", "max_target_positions", "n_positions", default=SEQUENCE)
    return min(longest, LONGEST_DEFAULT) if request.sequence is None else request.sequence
