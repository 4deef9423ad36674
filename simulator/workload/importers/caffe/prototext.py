"""Text-format protocol buffers: a small strict reader of the form that Caffe's networks are written in.

Nothing is known of the messages' schema: a value stays as written until it is asked for as a number, a text, a flag or
an enumeration, so that a large file is read in milliseconds and every complaint can name its line.
Source: Protocol Buffers, "Text Format Language Specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite

from simulator.errors import InputError, UnknownNameError

MAX_BYTES = 8 * 2**20
MAX_DEPTH = 32
MAX_FIELDS = 400_000
MAX_INTEGER = 2**31 - 1
"""Caffe's sizes are 32-bit integers."""

# Every repetition is possessive: a reader that backtracked could take the words of a comment for fields, and would need
# quadratic time on hostile files.
_BLANK = r"(?:[\s]++|\#[^\n]*+)*+"
_STRING = r"(?:\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')"
_FIELD = re.compile(
    rf"""(?:[\s,;]++|\#[^\n]*+)*+
    (?: (?P<close>[}}>])
      | (?P<name>[A-Za-z_]\w*+){_BLANK}
        (?: :?{_BLANK}(?P<open>[{{<])
          | :{_BLANK}(?P<value>{_STRING}(?:{_BLANK}{_STRING})*+|[-+.\w]++|\[(?:[^][{{}}<>\"'\#]|{_STRING})*+\])
        )
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_STRING_PART = re.compile(_STRING)
_LIST_ITEM = re.compile(rf"{_STRING}|[-+.\w]++")
_INTEGER = re.compile(r"-?[0-9]{1,10}")
_ESCAPE = re.compile(r"\\(.)")
_SPECIAL = re.compile(r"[\"'\\]")
_FLAGS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}


@dataclass(frozen=True, slots=True)
class PrototextSource:
    """A text and its name, for complaints that name the line."""

    where: str
    text: str

    def error(self, position: int, complaint: str) -> InputError:
        """An InputError at a position of the text."""
        return InputError(f"{self.at(position)}: {complaint}")

    def at(self, position: int) -> str:
        """`file, line 12`."""
        return f"{self.where}, line {self.text.count(chr(10), 0, position) + 1}"


@dataclass(slots=True)
class Message:
    """Fields in the order written: name -> values, each with its position. A value is a nested message or raw text."""

    source: PrototextSource
    position: int = 0
    fields: dict[str, list[tuple[str | Message, int]]] = field(default_factory=dict)

    def error(self, complaint: str) -> InputError:
        """An InputError at this message."""
        return self.source.error(self.position, complaint)

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def add(self, name: str, value: str | Message, position: int) -> None:
        """Append a value to a field."""
        self.fields.setdefault(name, []).append((value, position))

    def only(self, known: Iterable[str], what: str) -> None:
        """Raise an `UnknownNameError` if a field is none of those known."""
        allowed = frozenset(known)
        for name, values in self.fields.items():
            if name not in allowed:
                raise UnknownNameError(f"field of {what}", name, allowed, self.source.at(values[0][1]))

    def messages(self, name: str) -> list[Message]:
        """All nested messages of a field."""
        result = []
        for value, position in self.fields.get(name, ()):
            if isinstance(value, str):
                raise self.source.error(position, f"`{name}` must be a block in braces, found {_short(value)}")
            result.append(value)
        return result

    def message(self, name: str) -> Message:
        """The nested message of a field, empty if absent; the last one counts if there are several."""
        found = self.messages(name)
        return found[-1] if found else Message(self.source, self.position)

    def scalars(self, name: str) -> list[tuple[str, int]]:
        """The raw values of a field and their positions."""
        result = []
        for value, position in self.fields.get(name, ()):
            if not isinstance(value, str):
                raise self.source.error(position, f"`{name}` must be a value, found a block in braces")
            result.append((value, position))
        return result

    def texts(self, name: str) -> list[str]:
        """All quoted texts of a field."""
        result = []
        for raw, position in self.scalars(name):
            if raw[0] not in "\"'":
                raise self.source.error(position, f"`{name}` must be a text in quotes, found {_short(raw)}")
            inside = raw[1:-1]
            plain = not _SPECIAL.search(inside)
            result.append(inside if plain else "".join(_unquote(part) for part in _STRING_PART.findall(raw)))
        return result

    def text(self, name: str, default: str = "") -> str:
        """The quoted text of a field."""
        found = self.texts(name)
        return found[-1] if found else default

    def integers(self, name: str, least: int = 0) -> list[int]:
        """All whole numbers of a field."""
        result = []
        for raw, position in self.scalars(name):
            if not _INTEGER.fullmatch(raw) or not least <= int(raw) <= MAX_INTEGER:
                allowed = f"a whole number of {least} to {MAX_INTEGER}"
                raise self.source.error(position, f"`{name}` must be {allowed}, found {_short(raw)}")
            result.append(int(raw))
        return result

    def integer(self, name: str, default: int = 0, least: int = 0) -> int:
        """The whole number of a field."""
        found = self.integers(name, least)
        return found[-1] if found else default

    def numbers(self, name: str) -> list[float]:
        """All numbers of a field."""
        result = []
        for raw, position in self.scalars(name):
            try:
                value = float(raw.rstrip("f"))
            except ValueError:
                value = float("nan")
            if not isfinite(value):
                raise self.source.error(position, f"`{name}` must be a number, found {_short(raw)}")
            result.append(value)
        return result

    def number(self, name: str, default: float = 0) -> float:
        """The number of a field."""
        found = self.numbers(name)
        return found[-1] if found else default

    def flag(self, name: str, *, default: bool = False) -> bool:
        """The truth value of a field."""
        for raw, position in self.scalars(name)[-1:]:
            if raw not in _FLAGS:
                raise self.source.error(position, f"`{name}` must be true or false, found {_short(raw)}")
            return _FLAGS[raw]
        return default

    def choice(self, name: str, allowed: tuple[str, ...], default: str = "") -> str:
        """The enumeration value of a field, by name or by its number, which is its place in `allowed`."""
        for raw, position in self.scalars(name)[-1:]:
            if raw.isdigit() and len(raw) < 3 and int(raw) < len(allowed):
                return allowed[int(raw)]
            if raw not in allowed:
                raise UnknownNameError(f"`{name}`", _short(raw), allowed, self.source.at(position))
            return raw
        return default


def parse(text: str, where: str) -> Message:
    """The message of a text.

    Raises
    ------
    InputError
        One line that names the file, the line and what was expected there.
    """
    source = PrototextSource(where, text)
    root = current = Message(source)
    stack: list[tuple[Message, str]] = []
    match, position = _FIELD.match, 0
    for _ in range(MAX_FIELDS):
        found = match(text, position)
        if found is None:
            raise source.error(
                _next_token(text, position), f"expected `field: value` or `field {{`, found {_rest(text, position)}"
            )
        position = found.end()
        kind = found.lastgroup
        if kind == "value":
            _add(current, found["name"], found["value"], found.start("name"))
        elif kind == "open":
            if len(stack) == MAX_DEPTH:
                raise source.error(position, f"blocks nested deeper than {MAX_DEPTH}")
            inner = Message(source, found.start("name"))
            current.add(found["name"], inner, inner.position)
            stack.append((current, "}" if found["open"] == "{" else ">"))
            current = inner
        elif kind == "close":
            if not stack or stack[-1][1] != found["close"]:
                raise source.error(found.start("close"), f"{found['close']!r} closes nothing")
            current, _ = stack.pop()
        else:
            if stack:
                raise current.error("this block is not closed")
            return root
    raise source.error(position, f"more than {MAX_FIELDS} fields")


def _add(message: Message, name: str, raw: str, position: int) -> None:
    if raw[0] != "[":
        message.add(name, raw, position)
        return
    for item in _LIST_ITEM.findall(raw):
        message.add(name, item, position)


def _unquote(quoted: str) -> str:
    inside = quoted[1:-1]
    return _ESCAPE.sub(r"\1", inside) if "\\" in inside else inside


def _next_token(text: str, position: int) -> int:
    blank = re.compile(r"(?:[\s,;]++|\#[^\n]*+)*+").match(text, position)
    return blank.end() if blank else position


def _rest(text: str, position: int) -> str:
    start = _next_token(text, position)
    return _short(text[start : start + 40].splitlines()[0]) if start < len(text) else "the end of the file"


def _short(raw: str) -> str:
    return repr(raw if len(raw) <= 40 else raw[:37] + "...")
