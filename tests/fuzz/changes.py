"""Values, text and bytes, changed at random."""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Iterator
from typing import Any

NUMBERS = (0, -1, 1, 2, 3, 7, 0.5, 10**7, 10**12, 2**63, 1.2e12, 1e-300, 1e308, math.nan, math.inf, -math.inf)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "relu",
    "1 GB/s",
    "nan GB/s",
    "-3 us",
    "1e400 W",
    [],
    [0],
    [1, 2, 3],
    {},
    [[]],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Key path of every value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*path, key)
        yield from places(one, (*path, key))


def mutated(content: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one to three values replaced, scaled, taken out or given twice."""
    content = copy.deepcopy(content)
    for _ in range(chance.randint(1, 3)):
        found = list(places(content))
        if not found:
            break
        *above, last = chance.choice(found)
        holder: Any = content
        for key in above:
            holder = holder[key]
        _change(holder, last, chance)
    return content


def _change(holder: Any, key: Any, chance: random.Random) -> None:
    how, value = chance.random(), holder[key]
    if how < 0.08:
        del holder[key]
    elif how < 0.16 and isinstance(holder, list):
        holder.insert(chance.randrange(len(holder) + 1), copy.deepcopy(value))
    elif how < 0.75:
        holder[key] = _of_its_kind(value, chance)
    else:
        holder[key] = copy.deepcopy(chance.choice((*NUMBERS, *OTHERS)))


COUNTS = (0, 1, 2, 3, 5, 7, 16, 100, 1000, 4096, 10**5, 10**6, 10**7, 10**9, 10**12, 2**62, -1)
AMOUNTS = (0.0, 1e-9, 0.1, 0.5, 1.0, 1.5, 3.7, 100.0, 1e6, 1e12, 1e300, -1.0)


def _of_its_kind(value: Any, chance: random.Random) -> Any:
    """Another value of the same type: a count for a count, other figures with the same unit."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice((value + 1, value - 1, 2 * value, 1000 * value, *COUNTS))
    if isinstance(value, float):
        return chance.choice((-value, 2 * value, 1000 * value, *AMOUNTS))
    if isinstance(value, str) and (found := QUANTITY.search(value)):
        number = chance.choice((*AMOUNTS, float(found[0]) * chance.choice((1e-6, 0.5, 2, 1000, 1e9))))
        return value[: found.start()] + format(number, ".6g") + value[found.end() :]
    if isinstance(value, list):
        return [_of_its_kind(one, chance) for one in value[: chance.randint(0, len(value))]]
    if isinstance(value, dict):
        return {key: _of_its_kind(one, chance) if chance.random() < 0.3 else one for key, one in value.items()}
    return value + chance.choice(("x", "2", "/", "*", " ")) if isinstance(value, str) else value


QUANTITY = re.compile(r"(?<![\w-])\d+(\.\d+)?(e[+-]?\d+)?(?= )")
"""The figures of "900 GB/s"."""


def changed_text(text: str, chance: random.Random) -> str:
    """One to four lines or signs changed."""
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\n")
        at, how = chance.randrange(len(lines)), chance.random()
        if how < 0.25:
            del lines[at]
        elif how < 0.4:
            lines.insert(at, chance.choice(lines))
        elif how < 0.75:
            words = lines[at].split(" ")
            words[chance.randrange(len(words))] = str(
                chance.choice((*NUMBERS, '"x"', "{", "}", "nan", ":", "Data", ",", "'"))
            )
            lines[at] = " ".join(words)
        else:
            place = chance.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + chance.choice('{}"\\\0\u00e9,:#=-9') + lines[at][place:]
        text = "\n".join(lines) or " "
    return text


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut off, put in or repeated."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at, how = chance.randrange(max(len(found), 1)), chance.random()
        if how < 0.6 and found:
            found[at % len(found)] = chance.randrange(256)
        elif how < 0.7:
            del found[at:]
        elif how < 0.85:
            found[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        else:
            found[at:at] = found[at : at + chance.randint(1, 64)]
    return bytes(found)
