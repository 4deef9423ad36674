"""`Plan`: how a training step is shared out over devices; it knows no device and no network."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import isqrt
from typing import Any

from simulator.errors import InputError, UnknownNameError, suggestion

DEGREES = {"dp": "data", "tp": "tensor", "pp": "pipeline", "ep": "expert", "cp": "context"}
"""The field's short names of the degrees -> ours."""

SCHEDULES = ("1f1b", "gpipe", "interleaved", "zero-bubble")
RECOMPUTE = ("none", "selective", "full")
"""From the lightest to the heaviest; a search tries these."""

RECOMPUTED = (*RECOMPUTE, "products")
FULLY = 3
"""The ZeRO stage that shares out everything, as FSDP does."""

STAGES = (0, 1, 2, 3)

TRIED = 10**6
"""Divisors that are tried for the nearest micro-batch."""


@dataclass(frozen=True)
class Plan:
    """Degrees of parallelism and what goes with them.

    Attributes
    ----------
    data, tensor, pipeline, context : ranks; their product is the number of devices.
    expert : ranks among which experts are shared out; they lie inside the data and context (and tensor) ranks.
    zero : what data-parallel ranks share out of the states: 0 nothing, 1 the optimizer's, 2 gradients, 3 weights.
    microbatch : samples of one forward pass; all of a rank's if None.
    schedule, virtual : order of the micro-batches over the stages; pieces of the network on each stage (interleaved).
    recompute : what the backward pass computes again: nothing, attention's scores, all of each block, or of each block
        all but attention and every second product.
    sequence : whether tensor-parallel ranks share out the positions where they share no product.
    overlap : whether gradients and gathered weights are exchanged beside the computation.
    pipelined : whether tensor-parallel ranks that share positions exchange them in pieces beside their products.

    Source: Narayanan et al., "Efficient Large-Scale Language Model Training", SC 2021, arXiv 2104.04473;
    Rajbhandari et al., "ZeRO", SC 2020, arXiv 1910.02054; Korthikanti et al., 2022, arXiv 2205.05198 (sequence
    parallelism, selective recomputation); Qi et al., "Zero Bubble Pipeline Parallelism", 2023, arXiv 2401.10241.
    """

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    context: int = 1
    zero: int = 0
    microbatch: int | None = None
    schedule: str = "1f1b"
    virtual: int = 1
    recompute: str = "none"
    sequence: bool = False
    overlap: bool = True
    pipelined: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for short, name in DEGREES.items():
            if getattr(self, name) < 1:
                raise InputError(f"--parallel {short}={getattr(self, name)}: a degree is at least 1")
        for what, value, known in (("schedule", self.schedule, SCHEDULES), ("recompute", self.recompute, RECOMPUTED)):
            if value not in known:
                raise UnknownNameError(what, value, known)
        if self.zero not in STAGES:
            raise InputError(f"--zero {self.zero}: 0 to 3")
        if self.microbatch is not None and self.microbatch < 1:
            raise InputError(f"--microbatch must be at least 1, found {self.microbatch}")
        if self.virtual < 1:
            raise InputError(f"--schedule {self.schedule}:{self.virtual}: a stage has at least 1 piece")
        if self.virtual > 1 and self.schedule != "interleaved":
            raise InputError(f"{self.virtual} pieces a stage need --schedule interleaved:{self.virtual}")
        if self.virtual > 1 and self.pipeline == 1:
            raise InputError("--schedule interleaved needs a pipeline: --parallel pp=2 or more")
        if self.pipelined and not (self.sequence and self.overlap):
            raise InputError("--overlap all needs tensor ranks that share out positions: --sequence-parallel")
        if self.tokens_ranks % self.expert:
            fit = divisor(self.tokens_ranks, self.expert)
            raise InputError(
                f"ep={self.expert} does not divide the {self.tokens_ranks} ranks of dp x cp x tp; {fit} would"
            )

    @property
    def replica(self) -> int:
        """Devices that step on the same samples."""
        return self.tensor * self.pipeline * self.context

    @property
    def devices(self) -> int:
        """All devices."""
        return self.replica * self.data

    @property
    def shared(self) -> int:
        """What data ranks share out while a step runs, a ZeRO stage.

        In a pipeline FSDP's weights stay gathered, and its gradients whole, until the last micro-batch, so that it
        shares out what stage 1 does. Source: torchtitan, `apply_fsdp`; PyTorch, `PipelineStage`.
        """
        return 1 if self.zero == FULLY and self.pipeline > 1 else self.zero

    @property
    def tokens_ranks(self) -> int:
        """Ranks of one stage, among which experts may be shared out."""
        return self.data * self.context * self.tensor

    @property
    def chunks(self) -> int:
        """Pieces into which the network is cut."""
        return self.pipeline * self.virtual

    @property
    def label(self) -> str:
        """As people write it: "dp=16,tp=4,pp=2"; "dp=1" where nothing is shared out."""
        degrees = {short: getattr(self, name) for short, name in DEGREES.items()}
        return ",".join(f"{short}={value}" for short, value in degrees.items() if value > 1) or "dp=1"

    @property
    def schedule_label(self) -> str:
        """As people write it: "interleaved:4"."""
        return f"{self.schedule}:{self.virtual}" if self.schedule == "interleaved" else self.schedule


def parse_degrees(text: str, devices: int) -> dict[str, int]:
    """Degrees of "dp=16,tp=4"; data parallelism takes what is left of the devices where it is not named.

    Raises
    ------
    InputError
        For an unknown or repeated degree, or where the product is not the number of devices; it names what would be.
    """
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        short, _, number = part.strip().partition("=")
        if short not in DEGREES:
            raise InputError(f"--parallel {part!r}: unknown degree{suggestion(short, list(DEGREES))}")
        if DEGREES[short] in found:
            raise InputError(f"--parallel {text!r}: {short} is named twice")
        if not number.isdigit() or int(number) < 1:
            raise InputError(f"--parallel {part!r}: write a whole number of at least 1, such as {short}=4")
        found[DEGREES[short]] = int(number)
    share = found.get("tensor", 1) * found.get("pipeline", 1) * found.get("context", 1)
    if devices % share:
        below = max(n for n in range(1, devices + 1) if n % share == 0) if devices >= share else share
        raise InputError(
            f"--parallel {text!r}: tp x pp x cp = {share} does not divide {devices} devices; {below} would, and a "
            f"product of {divisor(devices, share)} does"
        )
    data = found.setdefault("data", devices // share)
    if data * share != devices:
        raise InputError(
            f"--parallel {text!r}: dp x tp x pp x cp = {data * share}, but there are {devices} devices; "
            f"dp={devices // share} would fit"
        )
    return found


def parse_schedule(text: str) -> tuple[str, int]:
    """Schedule and pieces a stage of "interleaved:4"."""
    name, _, number = text.partition(":")
    if number and (not number.isdigit() or name != "interleaved"):
        raise InputError(f"--schedule {text!r}: interleaved:2 or more, or one of {', '.join(SCHEDULES)}")
    return name, int(number) if number else (2 if name == "interleaved" else 1)


def plan_of(text: str, devices: int, **more: Any) -> Plan:
    """The plan of "dp=16,tp=4" on so many devices; `more` are other fields of `Plan`."""
    degrees: dict[str, Any] = {**parse_degrees(text, devices)}
    return replace(Plan(), **degrees, **more)


def as_row(plan: Plan) -> dict[str, Any]:
    """The plan's fields by name."""
    return {field.name: getattr(plan, field.name) for field in fields(plan)}


def divisor(number: int, most: int) -> int:
    """The largest divisor up to `most`, of those that are at most `TRIED` or whose quotient is."""
    small = [n for n in range(1, min(isqrt(number), TRIED) + 1) if number % n == 0]
    return max(n for one in small for n in (one, number // one) if n <= most)
