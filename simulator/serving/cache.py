"""Memory of a served model: weights, cache, and how many requests and tokens the cache holds."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from simulator.device.visible import visible_bytes
from simulator.errors import OutOfMemoryError
from simulator.serving.network import Attending, generator_of
from simulator.serving.states import state_bytes
from simulator.serving.step import Deployment
from simulator.units import binary_bytes


@dataclass(frozen=True)
class Capacity:
    """What a device's memory holds. [byte], [tokens]

    Attributes
    ----------
    weights_bytes, activations_bytes, reserve_bytes, cache_bytes : of each device.
    token_bytes : of a token on a device, where all layers keep all tokens.
    windows : spans of layers that keep no more tokens than that, and what a token takes in all of them.
    state_bytes : of a request on a device, in layers that keep a state of fixed size.
    tokens : that the cache holds, in whole blocks; 0 where no layer keeps tokens.
    """

    weights_bytes: float
    activations_bytes: float
    reserve_bytes: float
    cache_bytes: float
    token_bytes: float
    state_bytes: float
    tokens: int
    block: int
    windows: tuple[tuple[int, float], ...] = ()

    def requests(self, length: int) -> float:
        """Requests of so many tokens, as engines' logs print it: tokens of the cache over tokens of a request.

        Where layers keep states or windows, the cache over what a request takes in all layers.
        """
        if self.state_bytes or self.windows:
            passed = sum(size * max(length - span, 0) for span, size in self.windows)
            return self.cache_bytes / (self.state_bytes + self.token_bytes * length - passed)
        return self.tokens / max(length, 1)

    @property
    def growing_bytes(self) -> float:
        """Of a token on a device, in layers that keep all tokens."""
        return self.token_bytes - sum(size for _, size in self.windows)

    @property
    def unit_bytes(self) -> float:
        """What the cache is dealt out in: a block of tokens in layers that keep all, else in windows, else a state."""
        return self.block * (self.growing_bytes or self.token_bytes) or self.state_bytes


def token_bytes(deployment: Deployment) -> float:
    """Bytes of a token's keys and values on one device of the fullest stage. [byte]"""
    numbers = sum(attending.cached for attending in deployment.generator.attention)
    return numbers * deployment.cache_bytes * deployment.fullest


def _windows(deployment: Deployment) -> tuple[tuple[int, float], ...]:
    """Spans of sliding windows, and bytes of a token on one device in the layers that have each."""
    found: dict[int, float] = {}
    for attending in deployment.generator.attention:
        if attending.kept is not None:
            size = attending.cached * deployment.cache_bytes * deployment.fullest
            found[attending.kept] = found.get(attending.kept, 0.0) + size
    return tuple(sorted(found.items()))


def request_bytes(deployment: Deployment, length: float) -> float:
    """Bytes of a request's cache on one device: sliding windows keep no more than their span. [byte]"""
    kept = sum(attending.cached * _kept(attending, length) for attending in deployment.generator.attention)
    return (kept * deployment.cache_bytes + state_bytes(deployment.generator, deployment.form)) * deployment.fullest


def held_requests(deployment: Deployment, length: float, shared: int = 0) -> int:
    """Requests of so many tokens that the cache holds, of which so many at the start are kept once for all.

    Raises
    ------
    OutOfMemoryError
        If the weights do not fit, or no block of the cache does.
    """
    once = min(shared, length - 1) * sum(one.cached for one in deployment.generator.attention if one.kept is None)
    once_bytes = once * deployment.cache_bytes * deployment.fullest
    own = request_bytes(deployment, length) - once_bytes
    return int((capacity(deployment).cache_bytes - once_bytes) // own)


def running(deployment: Deployment, requests: float, length: float, shared: int = 0) -> float:
    """How many of the requests run at a time: as many as the cache holds with so many tokens each, at least one.

    Raises
    ------
    OutOfMemoryError
        If the weights do not fit, or no block of the cache does.
    """
    return min(requests, max(float(held_requests(deployment, length, shared)), 1.0))


def _kept(attending: Attending, length: float) -> float:
    return length if attending.kept is None else min(length, attending.kept)


def capacity(deployment: Deployment) -> Capacity:
    """What is left of each device's memory for the cache.

    The engine takes a fraction of the memory that a program sees (vLLM, SGLang), or of what the weights leave of it
    (TensorRT-LLM). vLLM tries its largest step out and leaves room for it within the fraction, SGLang beside it.

    Raises
    ------
    OutOfMemoryError
        If the weights do not fit, or no block of the cache does; it says how many devices would do.
    """
    engine, whole = deployment.engine, visible_bytes(deployment.device)
    weights, rules = deployment.work.weight_bytes * deployment.fullest, engine.memory
    activations = activation_bytes(deployment) if rules.tried else 0.0
    kept = rules.kept(deployment.ways)
    taken = weights + activations + kept
    left = (whole - taken) * rules.fraction if rules.of_free else whole * rules.fraction - taken
    token, block = token_bytes(deployment), engine.scheduler.block
    state = state_bytes(deployment.generator, deployment.form) * deployment.fullest
    if left < token * block + state:
        raise OutOfMemoryError(_too_large(deployment, weights, taken))
    blocks = int(left // (token * block)) if token else 0
    return Capacity(weights, activations, kept, left, token, state, blocks * block, block, _windows(deployment))


def _too_large(deployment: Deployment, weights: float, taken: float) -> str:
    device, beside = deployment.device, taken - weights
    share = visible_bytes(device) * deployment.engine.memory.fraction
    said = (
        f"{deployment.workload.name} in {deployment.form.name} needs {binary_bytes(taken)} on each of "
        f"{deployment.devices} {device.name} and {deployment.engine.name} takes {binary_bytes(share)} of each, so that "
        "the cache holds no request; "
    )
    if beside >= share:
        return f"{said}{binary_bytes(beside)} are of its largest step: lower --step-tokens or --step-requests"
    need = max(deployment.devices + 1, ceil(weights * deployment.devices / (share - beside)))
    return f"{said}try --devices {1 << (need - 1).bit_length()} or fewer bits a weight"


PASSED = 1.14
"""Copies of all tokens' features that stay beside a layer's own, passed from layer to layer.

Fitted, with vLLM's `samples`, to the peaks that vLLM 0.15 to 0.19 logs of dense LLaMA and Qwen models."""


def activation_bytes(deployment: Deployment) -> float:
    """What the largest step holds beside weights and cache. [byte]

    The features of all tokens; then the widest layer's input and output or, when all layers are done, the scores of the
    next tokens, of which choosing holds several copies and which every device of a group has whole; and buffers of
    experts, which an engine keeps from layer to layer.

    Worked example: Qwen3-30B-A3B, vLLM 0.19, 8,192 tokens, 1,024 requests of 151,936 scores: 3.65 x 0.58 GiB of scores,
    0.04 of features, and for 8 of its experts a token 0.25 + 0.25: 2.65 GiB, of which its log says 2.68.
    """
    generator, scheduler = deployment.generator, deployment.engine.scheduler
    rules, width = deployment.engine.memory, deployment.form.activation_bytes
    scores = 4.0 * rules.samples * _vocabulary(deployment) * (rules.choosing or scheduler.requests)
    layer = scheduler.tokens * generator.widest * width
    passed = PASSED * scheduler.tokens * generator.features * width
    return passed + max(layer, scores) + scheduler.tokens * _expert_features(deployment) * width


def _vocabulary(deployment: Deployment) -> int:
    """Scores of a next token, of all devices."""
    whole = generator_of(deployment.workload)
    return whole.layers[whole.head].output[-1]


def _expert_features(deployment: Deployment) -> float:
    """Numbers that a token has in the buffers of its experts: two, used in turn by what goes in and out of products.

    Source: vLLM, `fused_moe.py`, workspaces of its experts; the peaks of four mixtures in its logs, within 2 % each.
    """
    groups = deployment.work.experts
    return max(
        (one.active * (max(one.width, one.features) + max(one.first, one.features)) for one in groups), default=0
    )
