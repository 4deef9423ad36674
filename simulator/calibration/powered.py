"""Measured power of boards that serve language models: rows of a table, each predicted or counted with the reason.

A row says what was served and how fast. What a token computes and moves follows from the model; times the stated rate,
that is what the board did in a second, from which its power follows: the rates are measured, the watts are predicted.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from simulator.calibration.served_rows import DEVICES
from simulator.calibration.tables import Row, heading, number, read_rows
from simulator.device.device import load_device
from simulator.device.draw import HIGH, LOW, RUNNING, WAY_J, Draw, draw_of
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.serving.answer import usual_cache
from simulator.serving.engine import load_engine, release
from simulator.serving.formats import get_format
from simulator.serving.step import Deployment, decoding, reading, step_times
from simulator.workload.reading import load_workload

COLUMNS = ("kind", "system", "quantity", "value", "unit")
"""Columns by which a table of power and input is known."""

WATT = "W"

PROMPTS = 2.47
"""What prompts, whose lengths the table does not state, add to the computing of conversations' answers; fitted."""

CONVERSATION = "lm-arena-chat"

ANSWERS = {
    ("Qwen/Qwen3-14B", "gpqa"): 7063,
    ("Qwen/Qwen3-14B", CONVERSATION): 616,
    ("Qwen/Qwen3-235B-A22B-Instruct-2507", CONVERSATION): 870,
    ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", CONVERSATION): 867,
    ("Qwen/Qwen3-235B-A22B-Thinking-2507", "gpqa"): 9222,
    ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "gpqa"): 9201,
    ("Qwen/Qwen3-30B-A3B-Instruct-2507", CONVERSATION): 920,
    ("Qwen/Qwen3-30B-A3B-Thinking-2507", "gpqa"): 8164,
    ("Qwen/Qwen3-32B", "gpqa"): 7026,
    ("Qwen/Qwen3-32B", CONVERSATION): 630,
    ("Qwen/Qwen3-8B", "gpqa"): 8115,
    ("Qwen/Qwen3-8B", CONVERSATION): 648,
    ("deepseek-ai/DeepSeek-R1-0528", "gpqa"): 11450,
    ("deepseek-ai/DeepSeek-V3.1", "gpqa"): 8952,
    ("deepseek-ai/DeepSeek-V3.1", CONVERSATION): 845,
    ("meta-llama/Llama-3.1-405B-Instruct", CONVERSATION): 367,
    ("meta-llama/Llama-3.1-405B-Instruct-FP8", CONVERSATION): 368,
    ("meta-llama/Llama-3.1-70B-Instruct", CONVERSATION): 353,
    ("meta-llama/Llama-3.1-8B-Instruct", CONVERSATION): 397,
    ("meta-llama/Llama-3.3-70B-Instruct", CONVERSATION): 411,
    ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", CONVERSATION): 411,
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", CONVERSATION): 405,
    ("openai/gpt-oss-120b", "gpqa"): 1748,
    ("openai/gpt-oss-20b", "gpqa"): 2180,
}
"""Mean tokens of an answer by model and task, over the batches that ML.ENERGY measured (ml-energy/leaderboard,
public/data/models)."""

WORKLOADS = {
    "Qwen/Qwen3-14B": "qwen3_14b",
    "Qwen/Qwen3-235B-A22B": "qwen3_235b_a22b",
    "Qwen/Qwen3-30B-A3B": "qwen3_30b_a3b",
    "Qwen/Qwen3-32B": "qwen3_32b",
    "Qwen/Qwen3-8B": "qwen3_8b",
    "deepseek-ai/DeepSeek": "deepseek_v3",
    "meta-llama/Llama-2-7b": "llama2_7b",
    "meta-llama/Llama-3.1-405B": "llama3_405b",
    "meta-llama/Llama-3.1-70B": "llama3_70b",
    "meta-llama/Llama-3.1-8B": "llama3_8b",
    "meta-llama/Llama-3.3-70B": "llama3_70b",
    "meta-llama/Llama-4-Maverick": "llama4_maverick",
    "meta-llama/Llama-4-Scout": "llama4_scout",
    "meta-llama/Meta-Llama-3-8B": "llama3_8b",
    "openai/gpt-oss-120b": "gpt_oss_120b",
    "openai/gpt-oss-20b": "gpt_oss_20b",
}
"""Workloads by the beginning of a model's name."""

NAMES = DEVICES | {"b200-sxm": "b200", "a100": "a100-sxm4-40gb"}


@dataclass(frozen=True, slots=True)
class PoweredRow:
    """One measured figure. `year` is 0 where the table does not say."""

    id: str
    kind: str
    system: str
    quantity: str
    value: float
    unit: str
    year: int
    source: str


@dataclass(frozen=True, slots=True)
class Rates:
    """What one board did while its power was measured.

    Attributes
    ----------
    tensors : share of the time in which its tensor cores computed.
    prompts : whether prompts of unknown length were read beside.
    """

    device: str
    devices: int
    tensors: float
    byte_per_s: float
    prompts: bool


@dataclass(frozen=True, slots=True)
class PoweredCase:
    """A measured figure and the predicted power of all boards, or the reason why there is none. [W]"""

    row: PoweredRow
    predicted_w: float = math.nan
    device: str = ""
    reason: str = ""

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_w / self.row.value - 1

    @property
    def low_w(self) -> float:
        """Eight in ten measurements lie between this and `high_w`. [W]"""
        return self.predicted_w * LOW

    @property
    def high_w(self) -> float:
        """[W]"""
        return self.predicted_w * HIGH


def is_powered(path: Path) -> bool:
    """Whether a table's heading is that of power and input."""
    return set(COLUMNS) <= set(heading(path))


def read_powered(path: Path) -> list[PoweredRow]:
    """Rows of a table of power and input.

    Raises
    ------
    InputError
        Naming the file, the line and the column that is missing or malformed.
    """
    return [_row(row, where) for where, row in read_rows(path, COLUMNS)]


def _row(row: Row, where: str) -> PoweredRow:
    value = number(row, "value", where)
    if not value:
        raise InputError(f"{where}: value must be positive")
    text = {key: entry.strip() for key, entry in row.items() if isinstance(entry, str)}
    return PoweredRow(
        id=text.get("id", where.rpartition(" ")[2]),
        kind=text["kind"],
        system=text["system"],
        quantity=text["quantity"],
        value=value,
        unit=text["unit"],
        year=int(number(row, "year", where)),
        source=text.get("source_repo", ""),
    )


def predict_powered(row: PoweredRow) -> PoweredCase:
    """The prediction of one row, or the reason why there is none."""
    try:
        rates = rates_of(row)
        return PoweredCase(row, rates.devices * watts(rates), rates.device)
    except SimulatorError as error:
        return PoweredCase(row, reason=str(error))


def watts(rates: Rates, running: float = RUNNING, way_j: float = WAY_J, prompts: float = PROMPTS) -> float:
    """Predicted power of one board. [W]"""
    draw = _draw(rates.device, running, way_j)
    if draw is None:
        raise UnsupportedError(f"{rates.device} states no power limit")
    return draw.power(0.0, rates.tensors * (1 + prompts * rates.prompts), rates.byte_per_s)


def rates_of(row: PoweredRow) -> Rates:
    """What a row's boards did in a second.

    Raises
    ------
    UnsupportedError
        Saying what of the row is not modelled, or not known.
    """
    if row.unit != WATT:
        raise UnsupportedError(f"{row.kind}: no power")
    for sign, why in REASONS.items():
        if sign in row.system or sign in row.quantity:
            raise UnsupportedError(why)
    found = re.match(r"average power, (\S+) (\S+)", row.quantity)
    if found is None:
        raise UnsupportedError("peak power of a whole computer at the wall, whose other parts are not known")
    model, task = found.groups()
    rate = _static_batch if task == "in/out" else _closed_loop
    return rate(row, model, task.rstrip(","))


REASONS = {
    "whole node": "power of a whole node at the wall, whose other parts and limits are not known",
    "text-to-image": "a diffusion model, which has no workload",
    "text-to-video": "a diffusion model, which has no workload",
    "image-chat": "prompts with images, of unknown length",
    "video-chat": "prompts with films, of unknown length",
    "sourcegraph-fim": "prompts of whole files, of unknown length",
}
"""Signs of rows that are not predicted, and why."""


def _closed_loop(row: PoweredRow, model: str, task: str) -> Rates:
    """Requests that follow each other, so many at a time, with the rate of their answers' tokens."""
    deployment = _deployment(row, model)
    if (model, task) not in ANSWERS:
        raise UnsupportedError(f"answers of {model} of unknown length")
    batch, rate = (_said(rf"{words} ([\d.e+]+)", row) for words in ("average batch", ","))
    times = step_times(deployment, decoding(batch, ANSWERS[model, task] / 2))
    steps = rate / batch
    return Rates(
        device=deployment.device.name,
        devices=deployment.devices,
        tensors=float(times.computing_s[0]) * steps,
        byte_per_s=float(times.traffic_bytes[0]) * steps,
        prompts=task == CONVERSATION,
    )


def _static_batch(row: PoweredRow, model: str, _task: str) -> Rates:
    """Prompts of so many tokens, then as many tokens of answers, all together, in the stated time."""
    deployment = _deployment(row, model)
    length, batch, time_s = (_said(rf"{words} ([\d.]+)", row) for words in ("in/out", "batch", "latency"))
    prompts = step_times(deployment, reading(batch, length))
    answers = step_times(deployment, decoding(batch, 1.5 * length))
    computing_s, moved = (
        float((getattr(prompts, name) + length * getattr(answers, name))[0])
        for name in ("computing_s", "traffic_bytes")
    )
    return Rates(deployment.device.name, 1, computing_s / time_s, moved / time_s, prompts=False)


def _said(pattern: str, row: PoweredRow) -> float:
    found = re.search(pattern, row.quantity)
    if found is None or not float(found[1]):
        raise UnsupportedError("the row does not say how much was served, or how fast")
    return float(found[1])


def _deployment(row: PoweredRow, model: str) -> Deployment:
    workload = next((name for begin, name in WORKLOADS.items() if model.startswith(begin)), None)
    if workload is None:
        raise UnsupportedError(f"the model {model} has no workload")
    name, _, count = row.system.rpartition(" x")
    device = _device(NAMES.get(name.partition(" ")[0], name.partition(" ")[0]))
    engine, form = load_engine(release("vllm", row.year), device.profile.family), get_format(_format(model))
    return Deployment(_workload(workload), device, engine, form, int(count), 1, usual_cache(engine, form))


def _format(model: str) -> str:
    """Whose weights are 8 or 4 bits wide says so, or is known for it."""
    if model.startswith("openai/gpt-oss"):
        return "mxfp4"
    return "fp8" if model.endswith("FP8") or model.startswith("deepseek-ai/") else "bf16"


@lru_cache(maxsize=64)
def _draw(name: str, running: float, way_j: float) -> Draw | None:
    return draw_of(_device(name), running, way_j)


_device = lru_cache(maxsize=16)(load_device)
_workload = lru_cache(maxsize=32)(load_workload)
