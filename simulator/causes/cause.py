"""What a cause is: a frozen dataclass whose fields are its coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import msgspec

from simulator.errors import InputError

Start = tuple[float, float]
"""Where a fit starts, and the standard deviation of its logarithm around there."""

MACHINE = "machine"
"""In place of a family: the processor that `simulate calibrate` measures."""

DEEPBENCH = "where DeepBench alone puts it, held tightly"
NETWORKS = "no benchmark of kernels shows it: left to the networks"
ROUND = "a round figure: nothing at hand was fitted for it"
PROCESSORS = "the calls of layers that `simulate calibrate` times"


class UnitOfMeasure(msgspec.Struct, frozen=True):
    """Unit of a coefficient, and the least that it may be, as of `msgspec.Meta`."""

    name: str
    bounds: Mapping[str, float]


RATIO = UnitOfMeasure("ratio", {"gt": 0})
TIMES = UnitOfMeasure("times", {"ge": 0})
SIDE = UnitOfMeasure("elements of a tile's side", {"ge": 0})
STEPS = UnitOfMeasure("steps of a sum", {"ge": 0})
MULTIPLE = UnitOfMeasure("channels", {"ge": 1})


class Starts(msgspec.Struct, frozen=True):
    """Where fits of a coefficient start, by family or kind of device, and why there."""

    source: str
    at: Mapping[str, Start]


class Coefficient(msgspec.Struct, frozen=True):
    """What is documented of a coefficient.

    Attributes
    ----------
    neutral : the value at which it changes nothing.
    absent : what stands in where no profile gives it; `MISSING` where that is an error, None where the cause is then
        without it and says what it does instead.
    """

    name: str
    cause: str
    words: str
    neutral: float
    unit: UnitOfMeasure
    starts: Starts
    absent: Any


def coefficient(words: str, neutral: float, unit: UnitOfMeasure, starts: Starts, absent: Any = MISSING) -> Any:
    """A field that is a coefficient, documented; the arguments as of `Coefficient`."""
    told = {"words": words, "neutral": neutral, "unit": unit, "starts": starts}
    return field(default=absent, kw_only=True, metadata=told)


def starts(source: str, **at: Start) -> Starts:
    """Where fits start by family: `starts(DEEPBENCH, gpu=(47, 0.15), hopper=(11, 0.3))`."""
    return Starts(source, at)


if TYPE_CHECKING:

    class Calibrated(Protocol):
        """A device, of which a cause reads the coefficients alone."""

        @property
        def name(self) -> str:
            """As messages say it."""

        @property
        def kernel(self) -> Mapping[str, float]:
            """Coefficient -> value, those that its profiles give."""


class Cause:
    """Base of all causes.

    Attributes
    ----------
    title : as documentation and explanations call it; causes of one title are taken away together.
    slows : whether explanations take it away, which those that may make a kernel faster leave alone.
    """

    title: ClassVar[str]
    slows: ClassVar[bool] = True

    @classmethod
    def of(cls, device: Calibrated) -> Self:
        """The cause with a device's coefficients.

        Raises
        ------
        InputError
            If the device has no value for one that nothing stands in for.
        """
        own = fields(cls)  # type: ignore[arg-type]
        given = {one.name: device.kernel[one.name] for one in own if one.name in device.kernel}
        missing = [one.name for one in own if one.default is MISSING and one.name not in given]
        if missing:
            raise InputError(f"{device.name} has no kernel.{missing[0]}; give one with --set kernel.{missing[0]}=...")
        return cls(**given)

    @classmethod
    def coefficients(cls) -> tuple[Coefficient, ...]:
        """Its coefficients, in their order."""
        return tuple(
            Coefficient(name=one.name, cause=cls.title, absent=one.default, **one.metadata)
            for one in fields(cls)  # type: ignore[arg-type]
        )
