"""Rows of tables of measured served requests, and what each was measured on."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import msgspec

from simulator.calibration.back_ends import back_end
from simulator.calibration.named import workload_named
from simulator.calibration.tables import Row, heading, number, read_rows
from simulator.calibration.twins import marked
from simulator.device.device import load_device
from simulator.errors import InputError, UnsupportedError
from simulator.serving.answer import CACHE_FORMATS, usual_cache
from simulator.serving.engine import ServingEngine, load_engine, release
from simulator.serving.formats import get_format
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
    file: str = ""


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
    return marked([_row(row, where) for where, row in read_rows(path, COLUMNS)])


def _row(row: Row, where: str) -> ServedRow:
    value, devices = number(row, "value", where), int(number(row, "devices", where)) or 1
    ways, stages = (int(number(row, column, where)) for column in ("tp", "pp"))
    batch = number(row, "batch_or_concurrency", where)
    share = RANGED if _drawn(row.get("source_repo") or "", row.get("note") or "") else 1.0
    prompt, output = (round(share * number(row, column, where)) for column in ("input_len", "output_len"))
    if not value:
        raise InputError(f"{where}: value must be positive")
    text = {key: (entry or "").strip() for key, entry in row.items() if isinstance(entry, str) or entry is None}
    return ServedRow(
        id=text.get("id", where.rpartition(" ")[2]),
        workload=text["workload"] or workload_named(text.get("model", ""), text.get("note", "")),
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
        year=_year(text, int(number(row, "year", where))),
        source=text.get("source_repo", ""),
        note=text.get("note", ""),
        file=text.get("source_path", "").partition("#")[0],
    )


def _year(text: dict[str, str], year: int) -> int:
    """Year of a row's software: of its release where that is known to be older than the row."""
    if text["engine"] == "TensorRT-LLM" and text.get("engine_version", "").startswith(APART):
        return min(year, 2023)
    return year or UNDATED.get(text.get("source_repo", ""), 0)


APART = ("0.5", "0.6")
"""Releases of TensorRT-LLM of 2023, before those whose heads of queries read shared keys together (XQA). Source: its
XQA-kernel.md, which compares release 0.5 with what came in 0.7."""

UNDATED = {"ai-dynamo/aiconfigurator": 2025}
"""First year of rows without one, where a source is no older: vLLM 0.12, TensorRT-LLM from 1.0.0rc3 on."""

RANGED = 0.9
"""Mean of lengths drawn evenly from 0.8 of a stated one up to it. Source: random-range-ratio 0.8 of
benchmark_serving.py, as projects derived from InferenceMAX, which gave most of the silicon samples, call it."""


def _drawn(source: str, note: str) -> bool:
    """Whether a row is of InferenceMAX's runs, whose lengths are drawn."""
    return source == NARROW_CACHES and re.search(r"db-dump|source_file=\d{4}-", note) is not None


def _format_of_model(model: str) -> str:
    """The format that llama.cpp prints in a model's name: "llama 7B Q4_K - Medium"."""
    found = re.search(r"\b(Q\d_[0K1]|F16|BF16|MXFP4)(?: - (Small|Medium|Large))?", model)
    if found is None:
        return ""
    return found[1] + (f"_{found[2][0]}" if found[2] else "")


ENGINES = {"trtllm": "tensorrt-llm", "tensorrt-llm": "tensorrt-llm", "vllm": "vllm", "sglang": "sglang",
           "deepspeed-mii": "deepspeed-mii"}  # fmt: skip
MLPERF = "mlcommons/"
FORMATS = {"": "fp16", "bfloat16": "bf16", "mxfp4 moe": "mxfp4_moe", "int8": "int8"}
DEVICES = {"a100": "a100-sxm4-40gb", "intel-max-1550": "max-1550", "a100-sxm4-80gb-cts": "a100-sxm4-80gb"}
"""Boards by other names; the last has a cooler of the machine's maker."""


def _engine(row: ServedRow) -> str:
    name = row.engine.lower().partition(" ")[0]
    if name.startswith(("llama.cpp", "ollama")):
        return back_end(name, row.note, row.year)
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
    if "disaggregated" in row.note or _split(row):
        raise UnsupportedError("prompts and tokens on different devices, whose loads the table does not say")
    if "attention_dp= " in row.note and number_in(r"moe_ep=(\d+)", row.note) > 1:
        raise UnsupportedError("the table does not say whether the devices share attention or requests")
    if number_in(r"attention_dp=(\d+)", row.note) > 1:
        raise UnsupportedError("attention of each device on requests of its own is not modelled")
    engine, form = _engine(row), _in_blocks(row, _form(row))
    stages = row.stages or (row.devices if engine.startswith("llama.cpp") and not row.ways else 1)
    devices = _devices(row)
    ways = (row.ways and row.ways * devices // row.devices) or max(devices // stages, 1)
    expert_ways = number_in(r'(?:moe_ep=|"expert_parallel": )(\d+)', row.note)
    if row.source.startswith("ml-energy"):
        ways = max(ways, devices)
    if ways * stages != devices and row.ways:
        raise UnsupportedError(f"{devices} devices are not {ways} x {stages}")
    name = DEVICES.get(row.device, row.device)
    device = _device(name)
    software = _as_started(row, load_engine(release(engine, row.year), device.profile.family))
    cache = _stated_cache(row) or usual_cache(software, get_format(form))
    return Deployment(
        _workload(row.workload), device, software, get_format(form), ways, stages, cache, by_experts=expert_ways > 1
    )


def _as_started(row: ServedRow, engine: ServingEngine) -> ServingEngine:
    """An engine as a row's was started: llama-bench's -b, a step's most tokens; the rules of InferenceMAX's scripts,
    which gave most of the silicon samples.
    """
    batch = number_in(r"\bb=-b (\d+)", row.note, engine.scheduler.tokens)
    if batch < engine.scheduler.tokens:
        return replace(engine, scheduler=msgspec.structs.replace(engine.scheduler, tokens=batch))
    rule = STARTED.get(row.engine)
    if rule is None or not _drawn(row.source, row.note):
        return engine
    return replace(engine, scheduler=msgspec.structs.replace(engine.scheduler, **rule(row)))


def _tensorrt_llm(row: ServedRow) -> dict[str, int]:
    """Most tokens a step, and how long prompts wait for others.

    16,384 tokens for LLaMA 70B, whose short prompts wait for 20 steps on less than 8 devices; the longest prompt and
    answer for DeepSeek V3 in 4 bits; in 8 bits one prompt and a token of each request, so that prompts are read one by
    one, from release 1.2 on at least 8,192. Source: max_num_tokens, batch_wait_timeout_iters in its scripts 70b_*
    and dsr1_fp*_trt; that the last came with release 1.2 is inferred from first tokens.
    """
    if row.workload.startswith("llama"):
        short = row.prompt == row.output == round(1024 * RANGED)
        return {"tokens": 16384, "gather": 20 if short and row.ways < 8 else 0}
    if row.format == "fp4":
        return {"tokens": round((row.prompt + row.output) / RANGED) + 20}
    least = 8192 if "release:1.2" in row.note else 0
    return {"tokens": max(round(row.prompt / RANGED + row.batch) + 64, least)}


def _sglang(row: ServedRow) -> dict[str, int]:
    """Looks for new requests each 10 steps, of 16 requests or more each 30, and reads up to 16,384 tokens on B200.

    Source: scheduler-recv-interval, chunked-prefill-size in dsr1_fp*_b200.
    """
    return {"tokens": 16384, "interval": 30 if row.batch >= 16 else 10} if row.device == "b200" else {}


STARTED = {"trtllm": _tensorrt_llm, "sglang": _sglang}


def _devices(row: ServedRow) -> int:
    """Devices of a row.

    Where tensors and experts are both shared n ways by attention that is not, silicon samples count n x n devices, of
    one node of n: experts are n ways over the same n devices. The same figure stands to eight digits beside n devices:
    DeepSeek V3 in 4 bits on B200 under SGLang, 8 requests of 1,024 tokens, 9.2 ms a token and 204 ms to the first.
    """
    tensors, experts = number_in(r"moe_tp=(\d+)", row.note), number_in(r"moe_ep=(\d+)", row.note)
    twice = row.source == NARROW_CACHES and tensors == experts and tensors * experts == row.devices
    return tensors if twice else row.devices


def _stated_cache(row: ServedRow) -> float | None:
    """Bytes of each number of the cache, where the table says."""
    found = re.search(r"KV Cache = (fp8|int8|fp16)", row.format)
    if found:
        return CACHE_FORMATS[found[1]]
    return CACHE_FORMATS["fp8"] if row.source == NARROW_CACHES and row.format in ("fp8", "fp4") else None


NARROW_CACHES = "ai-dynamo/aiconfigurator"
"""Whose benchmarks keep an 8-bit cache beside narrow weights under all engines. Source: vLLM's recipe of Llama 3.3 70B
(kv-cache-dtype: fp8), InferenceMAX's configurations; under SGLang, at what concurrency requests begin to wait."""


_workload = lru_cache(maxsize=64)(load_workload)
_device = lru_cache(maxsize=64)(load_device)


def number_in(pattern: str, text: str, usual: int = 1) -> int:
    """The number that a pattern's group finds in a text."""
    found = re.search(pattern, text)
    return int(found[1]) if found else usual


def _split(row: ServedRow) -> bool:
    """Whether prompts were read elsewhere though the table says otherwise: assumed of InferenceMAX's runs on GB200."""
    return row.device == "gb200" and _drawn(row.source, row.note)


IN_BLOCKS = ("deepseek_v3",)
"""Networks whose published 8-bit weights have a scale for each block of 128 x 128. Source: DeepSeek-AI, arXiv
2412.19437, section 3.3.2."""


def _in_blocks(row: ServedRow, form: str) -> str:
    """A row's format, with scales by blocks where the weights are published so or the table says so."""
    blocks = row.workload in IN_BLOCKS or "gemm=fp8_block" in row.note
    return "fp8_block" if form == "fp8" and blocks else form


PUBLISHED = ("", "f16", "bfloat16", "mxfp4")
"""Formats by which tables call gpt-oss's, whose experts are published in 4 bits and whose other weights are not."""


def _form(row: ServedRow) -> str:
    found = re.search(r"Weight = (\w+)", row.format)
    text = found[1] if found else row.format
    text = _format_of_model(text) if " - " in text else text
    if row.workload.startswith("gpt_oss") and text.lower() in PUBLISHED:
        return "mxfp4_experts" if text else "mxfp4_moe"
    return FORMATS.get(text.lower(), text)
