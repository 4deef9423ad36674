"""Measured serving: rows of a table, each predicted in its own metric or counted with the reason why it is not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from simulator.calibration.doubt import ONE_SHORT
from simulator.calibration.offline import SystemRow, latency_s, samples_per_s
from simulator.calibration.served_rows import DEVICES, MLPERF, ServedRow, deployment_of, number_in
from simulator.errors import SimulatorError, UnsupportedError
from simulator.serving.loops import Steady, steady
from simulator.serving.static import RequestLengths, batch_seconds, prompt_seconds, token_seconds
from simulator.serving.step import Deployment


@dataclass(frozen=True, slots=True)
class ServedCase:
    """A measured figure and its prediction, or the reason why there is none."""

    row: ServedRow
    kind: str
    predicted: float = math.nan
    reason: str = ""

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted / self.row.value - 1


def predict_served(row: ServedRow) -> ServedCase:
    """The prediction of one row, or the reason why there is none."""
    kind = kind_of(row)
    try:
        if row.metric in OF_SYSTEMS:
            return ServedCase(row, kind, OF_SYSTEMS[row.metric](_system(row)))
        return ServedCase(row, kind, predicted_on(row, deployment_of(row)))
    except SimulatorError as error:
        return ServedCase(row, kind, reason=str(error))


def predicted_on(row: ServedRow, deployment: Deployment) -> float:
    """What a deployment does in a row's own metric.

    Raises
    ------
    UnsupportedError
        Saying what the table does not say, or is not modelled.
    """
    rule = METRICS.get(row.metric)
    if rule is None:
        raise UnsupportedError(f"no rule for the metric {row.metric}")
    return rule(row, deployment)


def kind_of(row: ServedRow) -> str:
    """Which of the kinds of measurements that are judged apart a row belongs to."""
    if row.source.startswith(MLPERF):
        return "mlperf, server" if "scenario Server" in row.note else "mlperf"
    if row.metric == "decode_tok_s":
        return "decode, one request" if row.batch <= 1 else "decode, several requests"
    if row.metric in ("prefill_tok_s", "ttft_s"):
        return "prefill" if row.batch <= 1 or row.output == 1 else "first token under load"
    return {"tpot_s": "time a token", "e2e_latency_s": "static batch"}.get(row.metric, "throughput")


ROUNDS = 10
"""Requests that a benchmark sends for each of its concurrency. All of the first round come at once, so that each waits
for half of the others. Source: InferenceMAX and trtllm-bench scripts, num_prompts = 10 x concurrency."""


def _prompt_known(row: ServedRow) -> RequestLengths:
    if not row.prompt or not row.output or not row.batch:
        raise UnsupportedError("the table does not say batch, prompt and output")
    return RequestLengths(row.prompt, row.output)


def _first_token(row: ServedRow, deployment: Deployment) -> float:
    if not row.prompt or not row.batch:
        raise UnsupportedError("the table does not say batch and prompt")
    if row.batch <= 1 or row.output == 1:
        return prompt_seconds(deployment, row.batch, row.prompt)
    request = RequestLengths(row.prompt, row.output)
    together_s = prompt_seconds(deployment, row.batch, row.prompt)
    burst_s = (together_s - prompt_seconds(deployment, 1, row.prompt)) / 2 / ROUNDS
    return _loop(row, deployment, request).first_s + burst_s


def _token(row: ServedRow, deployment: Deployment) -> float:
    if row.source.startswith("ml-energy"):
        return token_seconds(deployment, row.batch, _text_alone(row))
    return _loop(row, deployment, _prompt_known(row)).token_s


def _loop(row: ServedRow, deployment: Deployment, request: RequestLengths) -> Steady:
    """The closed loop of a benchmark."""
    return steady(deployment, row.batch, request, row.batch - (ONE_SHORT in row.note))


def _text_alone(row: ServedRow) -> RequestLengths:
    """Requests whose prompts the table does not state, and which are short beside the output."""
    if re.search(r"task (image|video|audio|omni)", row.note) or not row.output:
        raise UnsupportedError("prompts with images, of unknown length")
    return RequestLengths(0, row.output)


def _latency(row: ServedRow, deployment: Deployment) -> float:
    return batch_seconds(deployment, row.batch, _prompt_known(row))


def _throughput(row: ServedRow, deployment: Deployment) -> float:
    if not row.prompt and row.output:
        raise UnsupportedError("prompts of unknown length, whose reading is in the throughput")
    request = _prompt_known(row)
    return row.batch * request.output / batch_seconds(deployment, row.batch, request)


def _decode(row: ServedRow, deployment: Deployment) -> float:
    if not row.output:
        raise UnsupportedError("the table does not say how many tokens were made")
    # What a table says is cached before is the same as the prompt, where it says both.
    request = RequestLengths(max(row.prompt, _cached(row)), row.output)
    return row.batch / token_seconds(deployment, row.batch, request)


def _prefill(row: ServedRow, deployment: Deployment) -> float:
    if not row.prompt:
        raise UnsupportedError("the table does not say how long the prompt is")
    return row.batch * row.prompt / prompt_seconds(deployment, row.batch, row.prompt, _cached(row))


def _cached(row: ServedRow) -> int:
    """Tokens that were in the cache before a measurement began."""
    return number_in(r"context depth (\d+) ", row.note, 0)


def _throughput_of_one(row: ServedRow, deployment: Deployment) -> float:
    return _throughput(row, deployment) / row.devices


def _system(row: ServedRow) -> SystemRow:
    device = DEVICES.get(row.device, row.device)
    return SystemRow(row.workload, device, row.format, row.engine, row.devices, row.batch, row.note, row.year)


METRICS: dict[str, Callable[[ServedRow, Deployment], float]] = {
    "ttft_s": _first_token,
    "tpot_s": _token,
    "e2e_latency_s": _latency,
    "output_tok_s": _throughput,
    "output_tok_s_per_gpu": _throughput_of_one,
    "decode_tok_s": _decode,
    "prefill_tok_s": _prefill,
}
"""Rules by metric of what generates; the metrics are named in the table's description."""

OF_SYSTEMS: dict[str, Callable[[SystemRow], float]] = {"samples_s": samples_per_s, "latency_mean_s": latency_s}
"""Rules by metric of whole systems under MLPerf's rules."""
