"""Measured training steps of many devices: rows of a table, each as a plan, predicted or counted with the reason."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from simulator.calibration.recomputing import Stepped, least_recomputed, whole
from simulator.calibration.sized import network_of
from simulator.calibration.trained_rows import TrainedRow
from simulator.device.device import Device, load_device
from simulator.device.framework import load_framework
from simulator.device.system import Cluster, cluster_of_system, load_system, usual_cluster
from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.parallel.plan import RECOMPUTE, Plan
from simulator.pipeline import Options
from simulator.planned import Shares
from simulator.workload.workload import Workload

PRECISIONS = {
    "bf16": "bf16", "fp16": "amp", "fp32": "fp32", "fp8": "fp8", "mxfp8": "fp8", "fp8-cs": "fp8", "fp8-mx": "fp8",
    "fp8_full": "fp8", "fp8-linear+bf16": "fp8", "fp8 tensorwise": "fp8", "fp8 rowwise": "fp8", "nvfp4": "nvfp4",
}  # fmt: skip

FRAMEWORKS = (
    (r"Megatron-DeepSpeed.*\|.*Rebalancing", "megatron-deepspeed"),
    (r"Megatron-DeepSpeed", "megatron-deepspeed-fp16"),
    (r"NeMo/Megatron-Bridge 2(5|6\.0[24])|Megatron-LM.* TE ", "megatron-2025"),
    (r"NeMo|Megatron|Primus", "megatron"),
    (r"MaxText", "jax"),
    (r"llm-foundry", "composer"),
    (r"torchtitan|torch\.compile", "pytorch-compiled"),
)
"""Software as a table names it, and its note after a bar -> framework; PyTorch where none matches.

BLOOM's people had their optimizer for bf16 when they rebalanced the layers; all before ran with that for fp16, which
adds up gradients in fp16, whatever the table says ("Rebalancing layers" in their chronicles).
"""

UNACCUMULATED = re.compile(r"torchtitan|MaxText")
"""Software that adds up no gradients over micro-batches unless asked to: a replica's batch is one micro-batch."""

BEFORE_SEQUENCE = r"Megatron-DeepSpeed"
"""BLOOM's fork of Megatron-LM, of before sequence parallelism (Korthikanti et al., May 2022); its pipeline exchanges
gradients after the last micro-batch (DeepSpeed, `pipe/engine.py`)."""

PIPELINED = re.compile(r"NeMo|async TP")
"""Software and notes whose tensor ranks exchange in pieces beside their products: NeMo's and Megatron-Bridge's recipes
(`tp_comm_overlap`, of Transformer Engine), PyTorch's asynchronous tensor parallelism."""

INTERLEAVED = "Interleaved 1F1B"
"""What a note says where the table has no column of pieces a stage: two at least."""

MACHINES = ((r"Jean Zay \(8xA100", "jean-zay-a100"),)
"""What a row's note says -> the system that it ran on, where it is not the device's usual one."""

MEASURED_RATES = (
    (r"Megatron-LM 23e00ed", "sustained.matrix=0.48"),
    (r"Megatron-DeepSpeed \(BLOOM", "sustained.steady=0.75"),
)
"""Software of a machine whose people timed a part of it too -> what that says of the device.

The B200 of SimuMax: bf16 products of more than a millisecond keep 0.44 to 0.49 of the peak, where other B200s keep 0.56
to 0.62 (github MooreThreads/SimuMax@e691807, configs/system/b200_bf16_ceperm.json).

Jean Zay's A100: six blocks on one node, without a pipeline and without a network, took 119 and 130 s of 512 sequences
(chronicles-prequel.md, "Max possible TFLOPs check"), which products make at 0.75 of the rate of bursts, where boards of
400 W elsewhere keep 0.9 to 0.94. Of three values that suit these two it is the one that suits the runs of many nodes,
too, so that they are not held out. Why is not said: a lower power limit, of about 280 W, would do it."""

UNSAID = {"megatron": 1, "jax": 3}
"""Framework -> what its data ranks share out unless asked otherwise: Megatron's recipes the optimizer's state
(`use_distributed_optimizer`), MaxText all of the weights (`ici_fsdp_parallelism: -1` in its base configuration)."""

UNLIKE = (
    (r"^lora;", "only adapters train (LoRA), and no gradients of frozen weights are computed"),
    (r"CPU offload of|Full Offload|offload True", "states are moved to the host, which is not modelled"),
)
"""What a row's note, software or ZeRO column says -> why its step is not the workload's."""


@dataclass(frozen=True, slots=True)
class TrainedCase:
    """One metric of a row and its prediction with an 80 % interval, or the reason why there is none."""

    row: TrainedRow
    metric: str
    measured: float
    predicted: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reason: str = ""
    plan: str = ""

    @property
    def error(self) -> float:
        """Of the time: predicted over measured, less one; of memory likewise."""
        ratio = self.predicted / self.measured
        return (1 / ratio if self.metric.startswith("tokens") else ratio) - 1


def predict_trained(row: TrainedRow) -> list[TrainedCase]:
    """A case for each metric of a row; one with the reason where the row has none, or cannot be predicted."""
    try:
        answer = _answer(row)
    except SimulatorError as error:
        metrics = row.measured or {"step_s": math.nan}
        return [TrainedCase(row, metric, value, reason=str(error)) for metric, value in metrics.items()]
    return [_case(row, metric, value, answer) for metric, value in row.measured.items()]


def _case(row: TrainedRow, metric: str, value: float, answer: Stepped) -> TrainedCase:
    if metric == "memory_gib":
        predicted = answer.memory_bytes / 2**30
        low, high = (1 - MEMORY_WIDTH) * predicted, (1 + MEMORY_WIDTH) * predicted
    else:
        interval = answer.planned.interval
        fast, slow = interval.low, interval.high
        rate = metric.startswith("tokens")
        predicted = answer.tokens_per_s_per_device if rate else answer.time_s
        low, high = (predicted / slow, predicted / fast) if rate else (predicted * fast, predicted * slow)
    return TrainedCase(row, metric, value, predicted, low, high, plan=answer.planned.plan.label)


MEMORY_WIDTH = 0.25
"""Half width of memory's interval: what allocators and libraries hold beside the tensors is not known better."""


def _answer(row: TrainedRow) -> Stepped:
    """The row's step, with the least recomputation that fits where the table does not say."""
    _check(row)
    device = device_of(row)
    workload = network_of(row.workload, row.model, row.sequence, row.software, row.note)
    options = Options(
        precision=PRECISIONS[precision_of(row)],
        framework=framework_of(row.software, row.note, device.profile.family or ""),
        optimizer="adam",
        ignore_memory=True,
    )
    cluster = _cluster(row, device)
    shares = _shares(workload, device, options, cluster)
    plan, batch = plan_of(row), global_batch_of(row)
    recompute = recompute_of(row)
    if recompute:
        return whole(shares, replace(plan, recompute=recompute), batch)
    return least_recomputed(shares, plan, batch)


def recompute_of(row: TrainedRow) -> str:
    """What a row says is computed again, in our words; "" where it does not say. torchtitan selects operations."""
    if row.recompute.startswith("selective") and "torchtitan" in row.software:
        return "products"
    return row.recompute if row.recompute in RECOMPUTE else ""


def device_of(row: TrainedRow) -> Device:
    """A row's device; with the rates that its own machine's products were timed at, where they were."""
    rates = next((rates for pattern, rates in MEASURED_RATES if re.search(pattern, row.software)), "")
    return _device(f"{row.device}[{rates}]" if rates else row.device)


_device = lru_cache(maxsize=32)(load_device)


def precision_of(row: TrainedRow) -> str:
    """A row's precision as its column says, or as its note does of all rows of a table: recipes in 8 bits."""
    return row.precision or ("fp8" if "fp8 recipes" in row.note else "")


def _cluster(row: TrainedRow, device: Device) -> Cluster:
    """The machines that a note names, else those that usually hold the device."""
    for pattern, name in MACHINES:
        if re.search(pattern, row.note):
            size = load_system(name).devices
            return cluster_of_system(name, -(-row.devices // size), row.devices)
    return usual_cluster(device, row.devices)


def _check(row: TrainedRow) -> None:
    """Refuse rows that say too little, or time another step than the workload's."""
    for name, said in (("profile", row.device), ("devices", row.devices), ("precision", precision_of(row))):
        if not said:
            raise UnsupportedError(f"the table does not say the {name}")
    if not row.measured:
        raise UnsupportedError("neither a step's time nor tokens a second were measured")
    if precision_of(row) not in PRECISIONS:
        raise UnsupportedError(f"precision {row.precision!r} is none of ours")
    for pattern, reason in UNLIKE:
        if re.search(pattern, f"{row.note}|{row.zero}|{row.software}"):
            raise UnsupportedError(reason)


def framework_of(software: str, note: str = "", family: str = "") -> str:
    """The framework whose profile stands for a software on a family of devices.

    A note may say that nothing was compiled; Megatron's grouped products of 2026 are for Blackwell alone.
    """
    said = f"{software}|{note}"
    found = next((name for pattern, name in FRAMEWORKS if re.search(pattern, said)), "pytorch")
    if found == "megatron" and family == "hopper":
        return "megatron-2025"
    return "pytorch" if found == "pytorch-compiled" and re.search(r"\beager\b", note) else found


def global_batch_of(row: TrainedRow) -> int:
    """Samples a step: as a note says of a row, or the table; else of each replica ("local" to torchtitan)."""
    said = re.search(r"\bGBS=(\d+)", row.note)
    if said:
        return int(said[1])
    a_replica = _local_batch(row) or (row.microbatch if UNACCUMULATED.search(row.software) else 0)
    batch = row.global_batch or a_replica * plan_of(row).data
    if not batch:
        raise UnsupportedError("the table does not say the global_batch")
    return batch


def plan_of(row: TrainedRow) -> Plan:
    """The plan of a row. Megatron's families share out the optimizer's state, and positions among tensor ranks."""
    tensor, stages, context, expert, pieces = (max(degree, 1) for degree in row.degrees)
    share = tensor * stages * context
    if row.devices % share:
        raise InputError(f"tp x pp x cp = {share} does not divide {row.devices} devices")
    pieces = max(pieces, 2 if INTERLEAVED in row.note else 1) if stages > 1 else 1
    old = bool(re.search(BEFORE_SEQUENCE, row.software))
    return Plan(
        data=row.devices // share,
        tensor=tensor,
        pipeline=stages,
        context=context,
        expert=expert,
        zero=zero_of(row),
        microbatch=row.microbatch or _unsaid_microbatch(row, stages, row.devices // share),
        schedule="interleaved" if pieces > 1 else "1f1b",
        virtual=pieces,
        sequence=tensor > 1 and not old,
        overlap=not old,
        pipelined=tensor > 1 and bool(PIPELINED.search(f"{row.software} {row.note}")),
    )


def _unsaid_microbatch(row: TrainedRow, stages: int, replicas: int) -> int | None:
    """A micro-batch that the table does not say: all of a replica's batch, or in a pipeline as many as it has stages.

    Source: torchtitan, `pipelining_utils.py` of December 2024: `n_microbatches` is the degree unless given.
    """
    if not UNACCUMULATED.search(row.software):
        return 1
    if stages == 1:
        return None
    return max((_local_batch(row) or row.global_batch // replicas) // stages, 1)


def _local_batch(row: TrainedRow) -> int:
    """A replica's batch as a note says it; 0 where it does not."""
    local = re.search(r"local batch (?:size )?(\d+)", row.note)
    return int(local[1]) if local else 0


def zero_of(row: TrainedRow) -> int:
    """What data ranks share out: as the table says, else what its software does of itself."""
    text = row.zero.lower()
    found = re.match(r"zero\s?(\d)", text)
    if found:
        return int(found[1])
    if "shard_grad" in text:
        return 2
    if "fsdp" in text or "hsdp" in text:
        return 3
    return UNSAID.get(load_framework(framework_of(row.software)).release_of, 0)


_KNOWN: dict[tuple[Workload, Device, Options, str], Shares] = {}


def _shares(workload: Workload, device: Device, options: Options, cluster: Cluster) -> Shares:
    """Shares of rows that differ in their plans alone."""
    key = (workload, device, options, cluster.label)
    if key not in _KNOWN:
        _KNOWN[key] = Shares(workload, device, options, cluster)
    return _KNOWN[key]


def judged(cases: list[TrainedCase]) -> Iterator[TrainedCase]:
    """Cases of time that have a prediction."""
    return (case for case in cases if not math.isnan(case.predicted) and case.metric != "memory_gib")
