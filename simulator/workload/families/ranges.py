"""Ranges of the families' parameters: what a file may say, its error and its JSON Schema follow from these."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Size = Annotated[int, Meta(ge=1, le=2**30)]
Count = Annotated[int, Meta(ge=0, le=2**30)]
Depth = Annotated[int, Meta(ge=1, le=10_000)]
Rate = Annotated[float, Meta(ge=0, lt=1)]
Share = Annotated[float, Meta(ge=0, le=1)]

Blocks = Annotated[int, Meta(ge=1, le=1000)]
"""Blocks of one stage."""
Multiplier = Annotated[float, Meta(ge=0.01, le=100)]
"""Times the published widths or depths."""
StageBlocks = Annotated[list[Blocks], Meta(min_length=1, max_length=8)]
StageWidths = Annotated[list[Size], Meta(min_length=1, max_length=8)]
FiveWidths = Annotated[tuple[Size, ...], Meta(min_length=5, max_length=5)]
