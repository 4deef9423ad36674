"""Measured figures of served models that cannot be: anomalies, what no memory could feed, files of another model."""

from __future__ import annotations

import re
from functools import lru_cache

from simulator.calibration.served_rows import ServedRow, deployment_of
from simulator.calibration.twins import MARK
from simulator.errors import SimulatorError
from simulator.op.experts import Experts
from simulator.serving.cache import running
from simulator.serving.static import RequestLengths, prompt_seconds, token_seconds
from simulator.serving.step import Deployment
from simulator.units import parse
from simulator.workload.workload import Workload

OTHER = 0.2
"""Mixtures of one model's formats differ by less in size than models do."""

ROUNDING = 0.9
"""A figure must lie beyond the bound by more than tables and datasheets round."""


GUESSING = "tensorrt-llm/release:1.2.0rc6.post3"
"""Image whose rows make tokens in 0.4 to 0.7 of the time of 1.2.0rc6.post2 in the same cell, with first tokens as late,
as DeepSeek V3's multi-token prediction would; no source says so."""


ONE_SHORT = "trtllm/1.0.0rc3/"
"""Release whose measured engine, built for as many requests as are sent, runs one fewer: with 8 requests of 512 tokens
a first token waits, beside its prompt, for a request's whole time over the seven that run, on 1, 2 and 4 devices, and
for a half, a quarter of that with 16 and 32 of them."""


FEWER = "h200_sxm/vllm/0.12.0/"
"""Run in which fewer requests were at a time than the table says: 64 of 2,000 tokens that make 100 in 9.7 ms each would
compute, by Little's law, at 97 % of the datasheet's peak on one H200, while first tokens hardly wait."""


def doubt_of(row: ServedRow) -> str:
    """Why a figure says nothing of a prediction; "" where it may be right."""
    if "ANOMALY" in row.note:
        return "the table calls it an anomaly"
    if GUESSING in row.note.replace("#", "/"):
        return "tokens are guessed ahead, which the table does not mark"
    if MARK in row.note:
        return f"its {MARK}"
    if FEWER in row.note:
        return "fewer requests were at a time than the table says"
    try:
        least_s, other, late = _least_seconds(row), _other_model(row), _later_than_all(row)
    except SimulatorError:
        return ""
    if other:
        return "the file is not as large as the model's weights"
    if least_s and _token_seconds(row) < ROUNDING * least_s:
        return "made tokens faster than the device's memory could feed the weights"
    if late:
        return "first tokens came later than all prompts take one after the other, as while kernels are compiled"
    return ""


LATE = 3.0
"""Times as long as all requests' prompts and the steps between take, far beyond what predictions of them err."""

ROOMY = 2.0
"""Times as many requests as came must have room in the cache, so that none waited for it."""


def _later_than_all(row: ServedRow) -> bool:
    """Whether a first token came later than its own and all other requests' prompts could make it.

    Who comes finds at most all others' prompts before its own, and waits for a decoding step of theirs, or as many as
    an engine decodes from one look for requests to the next. Worked example: 32 prompts of 922 tokens of DeepSeek V3 on
    8 B200 are 0.5 s of reading; under SGLang of 2025 first tokens took 8.6 s, and with 128 no longer.
    """
    if row.metric != "ttft_s" or row.batch < 1 or not row.prompt or row.output <= 1 or ONE_SHORT in row.note:
        return False
    deployment = deployment_of(row)
    request = RequestLengths(row.prompt, row.output)
    if running(deployment, ROOMY * row.batch, request.total) < ROOMY * row.batch:
        return False
    rules = deployment.engine.scheduler
    steps = max(rules.interval, rules.gather, 1)
    all_s = prompt_seconds(deployment, row.batch, row.prompt) + steps * token_seconds(deployment, row.batch, request)
    return row.value > LATE * all_s


def _other_model(row: ServedRow) -> bool:
    """Whether the measured file, whose size the table states, holds another model than the table names.

    llama.cpp names a model by its layers: one of 24 billion weights in 40 layers is a "13B" to it.
    """
    found = re.search(r"\bweights ([\d.]+) (bytes|GiB)", row.note)
    if not found:
        return False
    size = parse(f"{found[1]} {'GiB' if found[2] == 'GiB' else 'B'}", "byte", row.id)
    ratio = deployment_of(row).work.weight_bytes / size
    return not 1 - OTHER < ratio < 1 + OTHER


def _token_seconds(row: ServedRow) -> float:
    """Time that a request's token took on the average; infinite for figures of other things. [s]"""
    if row.metric == "tpot_s":
        return row.value
    if row.metric == "e2e_latency_s" and row.output > 1:
        return row.value / row.output
    if row.metric == "decode_tok_s" and row.batch:
        return row.batch / row.value
    return float("inf")


def _least_seconds(row: ServedRow) -> float:
    """Time to read once, at the datasheet's bandwidth on all devices together, the weights that every token needs. [s]

    Weights of experts are left out, since a token takes a few of them.
    """
    if _token_seconds(row) == float("inf"):
        return 0.0
    deployment: Deployment = deployment_of(row)
    moved = _dense_weights(deployment.workload) * deployment.form.weight_bytes
    return moved / (deployment.devices * deployment.device.memory.bandwidth_byte_per_s)


@lru_cache(maxsize=64)
def _dense_weights(workload: Workload) -> float:
    """Weights that multiply, beside those of experts."""
    return float(
        sum(
            layer.parameters
            for layer, counts in zip(workload.layers, workload.counts, strict=True)
            if counts.macs and not isinstance(layer.op, Experts)
        )
    )
