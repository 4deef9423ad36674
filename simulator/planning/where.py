"""Conditions on a table's columns: "memory.fits and step.time_s < 0.2", read by a small grammar, never by `eval`.

condition := conjunction ("or" conjunction)*          conjunction := negation ("and" negation)*
negation := "not" negation | "(" condition ")" | column [comparison value]
comparison := < <= > >= == != in          value := number | word | "text" | (value, value)
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

_TOKEN = re.compile(r"\s*(<=|>=|==|!=|<|>|\(|\)|,|\"[^\"]*\"|'[^']*'|[A-Za-z0-9_.:*\-+/]+)")
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

TRUTH = {"true": True, "false": False}


def matching(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The rows for which a condition holds.

    Raises
    ------
    InputError
        If the condition is malformed; it says where.
    UnknownNameError
        If it names no column.
    """
    reader = _Reader(frame, condition)
    mask = reader.either()
    if reader.at < len(reader.tokens):
        raise reader.wrong("an end")
    kept: pd.DataFrame = frame[mask.fillna(False).astype(bool)]
    return kept


def _tokens(text: str) -> list[str]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None:
            raise InputError(f"--where {text!r}: {text[place:].strip()[0]!r} is no part of a condition")
        found.append(match[1])
        place = match.end()
    return found


class _Reader:
    """A recursive descent over the tokens; each rule returns a column of truth."""

    def __init__(self, frame: pd.DataFrame, text: str) -> None:
        self.frame, self.text = frame, text
        self.tokens = _tokens(text)
        self.at = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.next
        self.at += 1
        return token

    def wrong(self, wanted: str) -> InputError:
        return InputError(f"--where {self.text!r}: expected {wanted}, found {self.next or 'the end'!r}")

    def either(self) -> Any:
        mask = self.both()
        while self.next == "or":
            self.take()
            mask = mask | self.both()
        return mask

    def both(self) -> Any:
        mask = self.one()
        while self.next == "and":
            self.take()
            mask = mask & self.one()
        return mask

    def one(self) -> Any:
        if self.next == "not":
            self.take()
            return ~self.one()
        if self.next == "(":
            self.take()
            mask = self.either()
            if self.take() != ")":
                self.at -= 1
                raise self.wrong("')'")
            return mask
        return self.comparison()

    def comparison(self) -> Any:
        name = self.take()
        if not name or not re.match(r"[A-Za-z_]", name):
            self.at -= 1
            raise self.wrong("a column")
        if name not in self.frame.columns:
            raise UnknownNameError("column", name, list(self.frame.columns))
        column = self.frame[name]
        if self.next == "in":
            self.take()
            return column.isin(self.several())
        if self.next not in COMPARE:
            return column.fillna(False).astype(bool)
        compare = COMPARE[self.take()]
        try:
            return compare(column, self.value())
        except TypeError:
            raise InputError(f"--where {self.text!r}: {name} cannot be compared like that") from None

    def several(self) -> list[Any]:
        if self.take() != "(":
            self.at -= 1
            raise self.wrong("'(' and values")
        found = [self.value()]
        while self.next == ",":
            self.take()
            found.append(self.value())
        if self.take() != ")":
            self.at -= 1
            raise self.wrong("')'")
        return found

    def value(self) -> Any:
        word = self.take()
        if not word or word in COMPARE or word in ("(", ")", ","):
            self.at -= 1
            raise self.wrong("a value")
        if word[0] in "\"'":
            return word[1:-1]
        if word in TRUTH:
            return TRUTH[word]
        try:
            return float(word)
        except ValueError:
            return word
