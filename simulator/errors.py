"""The error family: everything the user can put right is a `SimulatorError` of one line."""

from __future__ import annotations

from collections.abc import Iterable


class SimulatorError(Exception):
    """Something the user can put right; its text is one line that says what and how."""


class InputError(SimulatorError):
    """A file, option or value is malformed."""


LISTED = ("device", "workload", "framework", "precision", "dataset")
"""Things of which `simulate <things>` shows all names."""


class UnknownNameError(SimulatorError):
    """A name is not among those that exist."""

    def __init__(self, what: str, name: object, known: Iterable[str], where: str = "") -> None:
        self.name = str(name)
        self.known = sorted(known)
        prefix = f"{where}: " if where else ""
        hint = suggestion(self.name, self.known)
        if hint.endswith(" more") and what in LISTED:
            hint = f"; `simulate {what}s` lists those that there are"
        super().__init__(f"{prefix}unknown {what} {self.name!r}{hint}")


class UnsupportedError(SimulatorError):
    """A combination has no rule: a device without that peak, an operation without a cost."""


class OutOfMemoryError(SimulatorError):
    """A step does not fit the memory of the device."""


TELLING, FEW = 4, 4
"""Characters from which on the beginning of a name tells, and names that one line has room for."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The nearest valid name as a clause, those that begin so, or the valid names when none is near."""
    from difflib import get_close_matches

    names = [str(candidate) for candidate in known]
    folded = {candidate.lower(): candidate for candidate in names}
    longer = [folded[key] for key in sorted(folded) if len(name) >= TELLING and key.startswith(f"{name.lower()}-")]
    if 0 < len(longer) <= FEW:
        return f"; did you mean {' or '.join(map(repr, longer))}?"
    near = get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {folded[near[0]]!r}?"
    if not names:
        return ""
    shown = ", ".join(names[:12])
    return f"; known: {shown}" + (f", and {len(names) - 12} more" if len(names) > 12 else "")
