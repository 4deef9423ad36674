"""What an engine is started with, where that is not its default."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from simulator.errors import InputError
from simulator.serving.engine import ServingEngine


@dataclass(frozen=True)
class EngineSettings:
    """Settings of an engine; None where its default stands.

    Attributes
    ----------
    fraction : of the memory, vLLM's `--gpu-memory-utilization`, SGLang's `--mem-fraction-static`, TensorRT-LLM's
        `free_gpu_memory_fraction`.
    tokens : most in a step, `--max-num-batched-tokens`, `--chunked-prefill-size`, `max_num_tokens`.
    requests : most at a time, `--max-num-seqs`, `--max-running-requests`, `max_batch_size`.
    """

    fraction: float | None = None
    tokens: int | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no engine takes.

        Raises
        ------
        InputError
            For a fraction outside 0 to 1, or fewer than one token or request.
        """
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise InputError(f"--memory-fraction must be above 0 and at most 1, found {self.fraction:g}")
        for option, number in (("--step-tokens", self.tokens), ("--step-requests", self.requests)):
            if number is not None and not 1 <= number <= MOST:
                raise InputError(f"{option} must be from 1 to {MOST:,}, found {number:,}")

    def over(self, engine: ServingEngine) -> ServingEngine:
        """An engine that is started so."""
        given = {"tokens": self.tokens, "requests": self.requests}
        scheduler = {key: value for key, value in given.items() if value is not None}
        memory = engine.memory
        if self.fraction is not None:
            memory = replace(memory, fraction=self.fraction)
        if self.requests is not None:
            memory = replace(memory, choosing=None)
        return replace(engine, memory=memory, scheduler=msgspec.structs.replace(engine.scheduler, **scheduler))


MOST = 2**17
"""Tokens or requests of a step: above what engines are started with, and as many points of its tables."""
