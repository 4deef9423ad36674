"""What is said where an answer cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simulator.errors import InputError


@contextmanager
def writing(what: str, where: Path) -> Iterator[None]:
    """An `InputError` that names what is written, and where, in place of the system's own error."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {what} to {where}: {error.strerror or error}") from error
