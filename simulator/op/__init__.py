"""Operations: shape rules and cost rules, without a device and without a number format.

A module is imported when one of its operations is asked for; `operations` imports them all.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from simulator.errors import UnknownNameError
from simulator.op.base import Op, Shape, Shapes, Site, operation, registered

_MARK = re.compile(r'^@operation\("([^"]+)"\)', re.MULTILINE)


@lru_cache
def kinds() -> dict[str, str]:
    """Operation -> the module here that holds it, found by its `@operation("kind")` line."""
    here = Path(__file__).parent
    return {kind: file.stem for file in sorted(here.glob("*.py")) for kind in _MARK.findall(file.read_text("utf-8"))}


def get_operation(kind: str) -> type[Op]:
    """An operation by its name in workload files, or an `UnknownNameError` with the nearest one."""
    if kind not in kinds():
        raise UnknownNameError("operation", kind, kinds())
    import_module(f"{__name__}.{kinds()[kind]}")
    return registered()[kind]


def operations() -> dict[str, type[Op]]:
    """All operations by name."""
    for module in sorted(set(kinds().values())):
        import_module(f"{__name__}.{module}")
    return registered()


__all__ = ["Op", "Shape", "Shapes", "Site", "get_operation", "kinds", "operation", "operations"]
