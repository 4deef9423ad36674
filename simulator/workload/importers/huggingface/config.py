"""A config.json as typed values: every number is checked when it is read, with an error that names its key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.catalog import read_text
from simulator.errors import InputError, UnsupportedError, suggestion

FILE = "config.json"
MAX_SIZE = 2**30
MAX_LAYERS = 10_000

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
}
"""Their names of activation functions -> ours."""


@dataclass(frozen=True, slots=True)
class Config:
    """The mapping of a config.json; `where` starts its errors."""

    values: dict[str, Any]
    where: str

    def has(self, key: str) -> bool:
        """Whether a key is there and not null."""
        return self.values.get(key) is not None

    def optional(self, *keys: str, least: int = 1, most: int = MAX_SIZE) -> int | None:
        """The whole number of the first of these keys that is there, None where none is.

        Raises
        ------
        InputError
            If it is no whole number between `least` and `most`.
        """
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"{self.where}: {key} must be a whole number {least} to {most}, found {_short(value)}")
            return value
        return None

    def integer(self, *keys: str, default: int | None = None, least: int = 1, most: int = MAX_SIZE) -> int:
        """As `optional`, with a default; an `InputError` where there is neither."""
        value = self.optional(*keys, least=least, most=most)
        if value is None and default is None:
            raise InputError(f"{self.where}: the key {keys[0]} is missing")
        return default if value is None else value  # type: ignore[return-value]

    def depth(self, *keys: str) -> int:
        """A number of layers."""
        return self.integer(*keys, most=MAX_LAYERS)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise InputError(f"{self.where}: {key} must be true or false, found {_short(value)}")
        return default if value is None else value

    def rate(self, key: str, default: float = 0.0, *, most: float = 1.0) -> float:
        """A number from 0 to `most`."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
            raise InputError(f"{self.where}: {key} must be a number 0 to {most:g}, found {_short(value)}")
        return float(value)

    def text(self, *keys: str, default: str = "") -> str:
        """The text of the first of these keys that is there."""
        for key in keys:
            value = self.values.get(key)
            if value is not None:
                if not isinstance(value, str):
                    raise InputError(f"{self.where}: {key} must be text, found {_short(value)}")
                return value
        return default

    def names(self, key: str) -> list[str]:
        """A list of texts, empty where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InputError(f"{self.where}: {key} must be a list of names, found {_short(value)}")
        return value

    def part(self, key: str) -> Config:
        """A mapping inside, empty where the key is missing."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise InputError(f"{self.where}: {key} must be a mapping, found {_short(value)}")
        return Config(value or {}, f"{self.where}: {key}")

    def activation(self, *keys: str, default: str) -> str:
        """Our name of an activation function.

        Raises
        ------
        UnsupportedError
            With the nearest one that has a cost rule.
        """
        name = self.text(*keys, default=default)
        if name not in ACTIVATIONS:
            raise UnsupportedError(
                f"{self.where}: no cost rule for activation {_short(name)}{suggestion(name, ACTIVATIONS)}"
            )
        return ACTIVATIONS[name]


def read_config(location: str) -> Config:
    """The mapping of a config.json, or of the one in a folder.

    NaN and Infinity, which Python writes and JSON lacks, are read (Mamba 2's `time_step_limit`); they lie in no range
    of a key that is used.

    Raises
    ------
    InputError
        If it cannot be read, is larger than 1 MiB, or is no JSON mapping.
    """
    path = Path(location)
    path = path / FILE if path.is_dir() else path
    text = read_text(path)
    try:
        values = json.loads(text, parse_constant=float)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {' '.join(str(error).split())[:120]}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of keys to values, found {type(values).__name__}")
    return Config(values, str(path))


def _short(value: object) -> str:
    """A value as it would be written, at most 40 characters of one line."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:40]}..."
