"""Protocol-buffer wire format, read in small pieces: the weights of a large file are skipped, never read.

A message is a run of fields, each a key (number * 8 + wire type) and a value: a variable-length integer, 4 or 8 bytes,
or a length and so many bytes. Skipping a value needs its length alone.
Source: Protocol Buffers documentation, "Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import FileIO
from typing import NamedTuple

from simulator.errors import InputError

MAX_FIELDS = 3_000_000
"""Fields read of one file; the largest networks have some hundred thousand."""

PIECE_BYTES = 2**14
"""Read at once."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


class Span(NamedTuple):
    """Bytes of the file, from `start` up to `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start


class Field(NamedTuple):
    """One field: its number, its value if it is an integer, its bytes otherwise."""

    number: int
    wire: int
    value: int
    span: Span


_NOWHERE = Span(0, 0)


class Wire:
    """The bytes of a file and how many fields may still be read.

    A piece of the file is kept, so that the fields of small messages come from memory. A map of the whole file would do
    too, but the system may map large parts of the weights around each byte that is touched.
    """

    def __init__(self, file: FileIO, where: str) -> None:
        self.where = where
        self._file = file
        self._size = file.seek(0, 2)
        self._left = MAX_FIELDS
        self._piece, self._base = b"", 0

    @property
    def whole(self) -> Span:
        """The file."""
        return Span(0, self._size)

    def _byte(self, at: int) -> int:
        """One byte; the piece moves along."""
        if not 0 <= at - self._base < len(self._piece):
            self._piece, self._base = self.bytes(Span(at, at + PIECE_BYTES)), at
        return self._piece[at - self._base]

    def fields(self, span: Span) -> Iterator[Field]:
        """The fields of a message.

        Raises
        ------
        InputError
            If a field runs over the end of its message, is of no known wire type, or the file has too many fields.
        """
        at, stop = span
        while at < stop:
            self._left -= 1
            if self._left < 0:
                raise InputError(f"{self.where}: more than {MAX_FIELDS} fields")
            key, at = self._varint(at, stop)
            wire = key & 7
            if wire == VARINT:
                value, at = self._varint(at, stop)
                yield Field(key >> 3, wire, value, _NOWHERE)
                continue
            size, at = self._varint(at, stop) if wire == LENGTH else (_FIXED.get(wire, -1), at)
            if size < 0 or at + size > stop:
                raise InputError(f"{self.where}: not an ONNX file, or cut short (at byte {at})")
            yield Field(key >> 3, wire, 0, Span(at, at + size))
            at += size

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """An integer of 7 bits a byte, least first, and where it ends."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= stop:
                break
            byte = self._byte(at)
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise InputError(f"{self.where}: not an ONNX file, or cut short (at byte {at})")

    def integers(self, field: Field, limit: int) -> list[int]:
        """Signed integers of a field that is packed (many in one) or not, at most `limit` of them."""
        if field.wire == VARINT:
            return [signed(field.value)]
        at, stop = field.span
        result: list[int] = []
        while at < stop and len(result) < limit:
            value, at = self._varint(at, stop)
            result.append(signed(value))
        return result

    def bytes(self, span: Span) -> bytes:
        """A copy of the bytes."""
        offset = span.start - self._base
        if offset >= 0 and offset + span.size <= len(self._piece):
            return self._piece[offset : offset + span.size]
        self._file.seek(span.start)
        content = self._file.read(span.size)
        if not content and span.size:
            raise InputError(f"{self.where}: cut short while it was read")
        return content

    def text(self, field: Field) -> str:
        """A name, with anything that is no text replaced."""
        if field.span.size > MAX_TEXT:
            raise InputError(f"{self.where}: a name of {field.span.size} bytes")
        return self.bytes(field.span).decode("utf-8", errors="replace")

    def real(self, field: Field) -> float:
        """A 4-byte floating-point number."""
        if field.wire != FIXED32:
            raise InputError(f"{self.where}: a number of the wrong type")
        return float(struct.unpack("<f", self.bytes(field.span))[0])

    def reals(self, field: Field, limit: int) -> list[float]:
        """4-byte floating-point numbers of a packed or single field, at most `limit` of them."""
        count = min(field.span.size // 4, limit)
        return list(struct.unpack(f"<{count}f", self.bytes(Span(field.span.start, field.span.start + 4 * count))))


MAX_TEXT = 4096


def signed(value: int) -> int:
    """A 64-bit two's complement number."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
