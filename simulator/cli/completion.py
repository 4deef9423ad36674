"""Names that a shell completes: `eval "$(_SIMULATE_COMPLETE=bash_source simulate)"`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True)
class Name(click.ParamType):  # type: ignore[type-arg]
    """A name of something shipped, or several between commas; anything else is text that a command judges.

    kind : a data folder, or "precisions".
    """

    kind: str
    name: str = "text"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Names and aliases that begin so, each after what stands before the last comma; files where none does."""
        from click.shell_completion import CompletionItem

        before, comma, begun = incomplete.rpartition(",")
        found = [f"{before}{comma}{name}" for name in sorted(self._known()) if name.startswith(begun)]
        return [CompletionItem(name) for name in found] or [CompletionItem(incomplete, type="file")]

    def _known(self) -> Iterator[str]:
        if self.kind == "precisions":
            from simulator.precision import PRECISIONS

            yield from PRECISIONS
            return
        from simulator import catalog

        yield from catalog.names(self.kind)
        yield from catalog.aliases(self.kind)


WORKLOAD = Name("workloads")
DATASET = Name("workloads/datasets")
DEVICE = Name("hardware_profiles/devices")
FRAMEWORK = Name("hardware_profiles/frameworks")
ENGINE = Name("hardware_profiles/engines")
SYSTEM = Name("hardware_profiles/systems")
LINK = Name("hardware_profiles/links")
LOADER = Name("hardware_profiles/loaders")
PRICES = Name("hardware_profiles/prices")
STORAGE = Name("hardware_profiles/storage")
HOST = Name("hardware_profiles/hosts")
PRECISION = Name("precisions")


LARGEST_BATCH = "max"
"""The batch that is the largest that fits the device's memory."""


class Largest(click.ParamType):  # type: ignore[type-arg]
    """A number of samples, or the most that fit."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """A number where it is one."""
        text = str(value)
        if text == LARGEST_BATCH:
            return text
        try:
            return int(text)
        except ValueError:
            self.fail(f"{value!r} is not a valid integer, nor {LARGEST_BATCH!r}.", param, ctx)


class Batches(click.ParamType):  # type: ignore[type-arg]
    """A batch, or several as text, which a curve over batches takes apart."""

    name = Largest.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """A number where it is one."""
        text = str(value)
        return text if ":" in text or "," in text else Largest().convert(value, param, ctx)
