"""Measured figures of served models that cannot be: what a table calls an anomaly, and what no memory could feed."""

from __future__ import annotations

from functools import lru_cache

from simulator.calibration.served import ServedRow, deployment_of
from simulator.errors import SimulatorError
from simulator.op.experts import Experts
from simulator.serving.step import Deployment
from simulator.workload.workload import Workload

ROUNDING = 0.9
"""A figure must lie beyond the bound by more than tables and datasheets round."""


def doubt_of(row: ServedRow) -> str:
    """Why a figure says nothing of a prediction; "" where it may be right."""
    if "ANOMALY" in row.note:
        return "the table calls it an anomaly"
    try:
        least_s = _least_seconds(row)
    except SimulatorError:
        return ""
    if least_s and _token_seconds(row) < ROUNDING * least_s:
        return "made tokens faster than the device's memory could feed the weights"
    return ""


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
    return moved / (row.devices * deployment.device.memory.bandwidth_byte_per_s)


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
