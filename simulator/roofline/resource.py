"""What time may be lost to, as the first axis of seconds."""

from __future__ import annotations

from enum import IntEnum


class Resource(IntEnum):
    """Base of every such axis: its members are rows."""

    @property
    def word(self) -> str:
        """As tables and programs call it; with `_s`, the name of its seconds."""
        return self.name.lower()
