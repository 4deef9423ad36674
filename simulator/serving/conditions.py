"""What changes a request's course beside its lengths: shared beginnings, tokens guessed ahead, devices that read."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.errors import InputError
from simulator.op.kernels import FloatArray
from simulator.serving.costs import Speculation
from simulator.serving.exchange import link_byte_per_s
from simulator.serving.states import state_bytes
from simulator.serving.step import Deployment


@dataclass(frozen=True)
class RequestConditions:
    """How requests are served, all of them alike.

    Attributes
    ----------
    shared : tokens at the start of all prompts, which are read and kept once.
    speculation : guessing tokens ahead.
    reader : a deployment of its own that reads the prompts; None where the same devices do both.
    """

    shared: int = 0
    speculation: Speculation = Speculation()
    reader: Deployment | None = None

    def __post_init__(self) -> None:
        """Refuse a beginning that is none.

        Raises
        ------
        InputError
            Below zero.
        """
        if self.shared < 0:
            raise InputError(f"--prefix must be at least 0 tokens, found {self.shared}")

    def past(self, prompt: int) -> int:
        """Tokens of a prompt that are cached already: of all, the last one is read. [tokens]"""
        return min(self.shared, prompt - 1)


PLAIN = RequestConditions()


def transfer_seconds(deployment: Deployment, prompts: FloatArray) -> FloatArray:
    """Sending the cache of prompts of so many tokens over the devices' links, all of them at once. [s]"""
    numbers = sum(attending.cached for attending in deployment.generator.attention)
    state = state_bytes(deployment.generator, deployment.form)
    sent: FloatArray = prompts * numbers * deployment.cache_bytes + state
    return sent / link_byte_per_s(deployment.device)
