"""Measured serving: rows of a table, each predicted in its own metric or counted with the reason why it is not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from simulator.calibration.offline import SystemRow, latency_s, samples_per_s
from simulator.calibration.tables import Row, heading, number, read_rows
from simulator.device.device import load_device
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.serving.answer import CACHE_FORMATS, usual_cache
from simulator.serving.engine import load_engine, release
from simulator.serving.formats import get_format
from simulator.serving.static import Request, batch_seconds, prompt_seconds, steady, token_seconds
from simulator.serving.step import Deployment
from simulator.workload.reading import load_workload

COLUMNS = ("workload", "profile", "quantisation", "devices", "tp", "engine", "batch_or_concurrency", "input_len",
           "output_len", "metric", "value")  # fmt: skip
"""Columns by which a table of served requests is known."""


@dataclass(frozen=True, slots=True)
class ServedRow:
    """One measured figure of a served model; 0 and "" where the table does not say.

    Attributes
    ----------
    value : in the metric's own unit. [s] or [1/s]
    """

    id: str
    workload: str
    device: str
    format: str
    devices: int
    ways: int
    stages: int
    engine: str
    batch: float
    prompt: int
    output: int
    metric: str
    value: float
    year: int
    source: str
    note: str


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


def is_served(path: Path) -> bool:
    """Whether a table's heading is that of served requests."""
    return {"metric", "batch_or_concurrency"} <= set(heading(path))


def read_served(path: Path) -> list[ServedRow]:
    """Rows of a table of served requests.

    Raises
    ------
    InputError
        Naming the file, the line and the column that is missing or malformed.
    """
    return [_row(row, where) for where, row in read_rows(path, COLUMNS)]


def _row(row: Row, where: str) -> ServedRow:
    value, devices = number(row, "value", where), int(number(row, "devices", where)) or 1
    ways, stages = (int(number(row, column, where)) for column in ("tp", "pp"))
    batch = number(row, "batch_or_concurrency", where)
    prompt, output = (int(number(row, column, where)) for column in ("input_len", "output_len"))
    if not value:
        raise InputError(f"{where}: value must be positive")
    text = {key: (entry or "").strip() for key, entry in row.items() if isinstance(entry, str) or entry is None}
    return ServedRow(
        id=text.get("id", where.rpartition(" ")[2]),
        workload=text["workload"],
        device=text["profile"] or text.get("device", ""),
        format=text["quantisation"] or _format_of_model(text.get("model", "")),
        devices=devices,
        ways=ways,
        stages=stages,
        engine=text["engine"],
        batch=batch,
        prompt=prompt,
        output=output,
        metric=text["metric"],
        value=value,
        year=int(number(row, "year", where)),
        source=text.get("source_repo", ""),
        note=text.get("note", ""),
    )


def _format_of_model(model: str) -> str:
    """The format that llama.cpp prints in a model's name: "llama 7B Q4_K - Medium"."""
    found = re.search(r"\b(Q\d_[0K1]|F16|BF16|MXFP4)(?: - (Small|Medium|Large))?", model)
    if found is None:
        return ""
    return found[1] + (f"_{found[2][0]}" if found[2] else "")


ENGINES = {"trtllm": "tensorrt-llm", "tensorrt-llm": "tensorrt-llm", "vllm": "vllm", "sglang": "sglang"}
MLPERF = "mlcommons/"
FORMATS = {"": "fp16", "bfloat16": "bf16", "mxfp4 moe": "mxfp4", "int8": "int8"}
DEVICES = {"a100": "a100-sxm4-40gb", "intel-max-1550": "max-1550"}


def _engine(row: ServedRow) -> str:
    name = row.engine.lower().partition(" ")[0]
    if name.startswith(("llama.cpp", "ollama")):
        return "llama.cpp"
    if row.source.startswith(MLPERF):
        return {"tensorrt": "tensorrt-llm", "vllm": "vllm"}.get(name, row.engine)
    return ENGINES.get(name, row.engine)


def deployment_of(row: ServedRow) -> Deployment:
    """What a row was measured on.

    Raises
    ------
    UnsupportedError
        Saying what of the row is not modelled, or not known.
    """
    if not row.workload:
        raise UnsupportedError("the model has no workload")
    if "disaggregated" in row.note:
        raise UnsupportedError("prompts and tokens on different devices, whose loads the table does not say")
    if _number(r"attention_dp=(\d+)", row.note) > 1:
        raise UnsupportedError("attention of each device on requests of its own is not modelled")
    engine, form = _engine(row), _form(row)
    stages = row.stages or (row.devices if engine == "llama.cpp" and not row.ways else 1)
    ways = row.ways or max(row.devices // stages, 1)
    expert_ways = _number(r'(?:moe_ep=|"expert_parallel": )(\d+)', row.note)
    if row.source.startswith("ml-energy"):
        ways = max(ways, row.devices)
    if ways * stages != row.devices and row.ways:
        raise UnsupportedError(f"{row.devices} devices are not {ways} x {stages}")
    name = DEVICES.get(row.device, row.device)
    device = _device(name)
    software = load_engine(release(engine, row.year), device.profile.family)
    cache = _stated_cache(row) or usual_cache(software, get_format(form))
    return Deployment(
        _workload(row.workload), device, software, get_format(form), ways, stages, cache, by_experts=expert_ways > 1
    )


def _stated_cache(row: ServedRow) -> float | None:
    """Bytes of each number of the cache, where the table says."""
    found = re.search(r"KV Cache = (fp8|int8|fp16)", row.format)
    return CACHE_FORMATS[found[1]] if found else None


_workload = lru_cache(maxsize=64)(load_workload)
_device = lru_cache(maxsize=64)(load_device)


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 1


def _form(row: ServedRow) -> str:
    found = re.search(r"Weight = (\w+)", row.format)
    text = found[1] if found else row.format
    return FORMATS.get(text.lower(), text)


def predict_served(row: ServedRow) -> ServedCase:
    """The prediction of one row, or the reason why there is none."""
    kind = kind_of(row)
    try:
        rule = METRICS.get(row.metric)
        if rule is None:
            raise UnsupportedError(f"no rule for the metric {row.metric}")
        return ServedCase(row, kind, rule(row))
    except SimulatorError as error:
        return ServedCase(row, kind, reason=str(error))


def kind_of(row: ServedRow) -> str:
    """Which of the kinds of measurements that are judged apart a row belongs to."""
    if row.source.startswith(MLPERF):
        return "mlperf"
    if row.metric == "decode_tok_s":
        return "decode, one request" if row.batch <= 1 else "decode, several requests"
    if row.metric in ("prefill_tok_s", "ttft_s"):
        return "prefill" if row.batch <= 1 or row.output == 1 else "first token under load"
    return {"tpot_s": "time a token", "e2e_latency_s": "static batch"}.get(row.metric, "throughput")


ROUNDS = 10
"""Requests that a benchmark sends for each of its concurrency. All of the first round come at once, so that each waits
for half of the others. Source: InferenceMAX and trtllm-bench scripts, num_prompts = 10 x concurrency."""


def _prompt_known(row: ServedRow) -> Request:
    if not row.prompt or not row.output or not row.batch:
        raise UnsupportedError("the table does not say batch, prompt and output")
    return Request(row.prompt, row.output)


def _first_token(row: ServedRow) -> float:
    if not row.prompt or not row.batch:
        raise UnsupportedError("the table does not say batch and prompt")
    deployment = deployment_of(row)
    if row.batch <= 1 or row.output == 1:
        return prompt_seconds(deployment, row.batch, row.prompt)
    request = Request(row.prompt, row.output)
    usual_s, alone_s = steady(deployment, row.batch, request).first_s, prompt_seconds(deployment, 1, row.prompt)
    return usual_s + alone_s * (row.batch - 1) / 2 / ROUNDS


def _token(row: ServedRow) -> float:
    if row.source.startswith("ml-energy"):
        return token_seconds(deployment_of(row), row.batch, _text_alone(row))
    return steady(deployment_of(row), row.batch, _prompt_known(row)).token_s


def _text_alone(row: ServedRow) -> Request:
    """Requests whose prompts the table does not state, and which are short beside the output."""
    if re.search(r"task (image|video|audio|omni)", row.note) or not row.output:
        raise UnsupportedError("prompts with images, of unknown length")
    return Request(0, row.output)


def _latency(row: ServedRow) -> float:
    return batch_seconds(deployment_of(row), row.batch, _prompt_known(row))


def _throughput(row: ServedRow) -> float:
    if not row.prompt and row.output:
        raise UnsupportedError("prompts of unknown length, whose reading is in the throughput")
    request = _prompt_known(row)
    return row.batch * request.output / batch_seconds(deployment_of(row), row.batch, request)


def _decode(row: ServedRow) -> float:
    if not row.output:
        raise UnsupportedError("the table does not say how many tokens were made")
    request = Request(
        row.prompt + _number(r"context depth (\d+) ", row.note) * ("context depth" in row.note), row.output
    )
    return row.batch / token_seconds(deployment_of(row), row.batch, request)


def _prefill(row: ServedRow) -> float:
    if not row.prompt:
        raise UnsupportedError("the table does not say how long the prompt is")
    return row.batch * row.prompt / prompt_seconds(deployment_of(row), row.batch, row.prompt)


def _per_device(rule: Callable[[ServedRow], float]) -> Callable[[ServedRow], float]:
    return lambda row: rule(row) / row.devices


def _system(row: ServedRow) -> SystemRow:
    return SystemRow(row.workload, row.device, row.format, row.engine, row.devices, row.batch, row.note)


METRICS: dict[str, Callable[[ServedRow], float]] = {
    "ttft_s": _first_token,
    "tpot_s": _token,
    "e2e_latency_s": _latency,
    "output_tok_s": _throughput,
    "output_tok_s_per_gpu": _per_device(_throughput),
    "decode_tok_s": _decode,
    "prefill_tok_s": _prefill,
    "samples_s": lambda row: samples_per_s(_system(row)),
    "latency_mean_s": lambda row: latency_s(_system(row)),
}
"""Rules by metric; the metrics are named in the table's description."""
