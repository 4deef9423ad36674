"""Served figures that no memory could feed: the least time of a token by hand, on one device and on several."""

from __future__ import annotations

import pytest

from simulator.calibration.doubt import ROUNDING, doubt_of
from simulator.calibration.served_rows import ServedRow
from simulator.device.device import load_device
from simulator.workload.reading import load_workload

# Qwen2 7B: 28 layers of 3584 features (28 heads, 4 of keys, of 128) and 18944 inside, and a table of 152,064 tokens to
# choose from; half width is 2 bytes each.
LAYER = 3584 * (3584 + 2 * 512) + 3584 * 3584 + 3 * 3584 * 18944
BIASES = 28 * (3584 + 2 * 512)
DENSE_BYTES = 2 * (28 * LAYER + BIASES + 3584 * 152_064)


def row(metric: str, value: float, **fields: object) -> ServedRow:
    usual: dict[str, object] = {
        **{"id": "1", "workload": "qwen2_7b", "device": "h100-sxm5-80gb", "format": "fp16", "engine": "tensorrt-llm"},
        **{"devices": 1, "ways": 1, "stages": 1, "batch": 1, "prompt": 128, "output": 100},
        **{"year": 2025, "source": "", "note": ""},
    }
    return ServedRow(metric=metric, value=value, **{**usual, **fields})  # type: ignore[arg-type]


def test_the_weights_that_every_token_needs() -> None:
    workload = load_workload("qwen2_7b")
    tables = 3584 * 152_064  # of the embedding, which is looked up
    norms = 57 * 3584
    assert workload.parameters - tables - norms == DENSE_BYTES / 2


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize(
    ("metric", "batch", "of_token"),
    [
        ("tpot_s", 1, lambda token_s: token_s),
        ("e2e_latency_s", 1, lambda token_s: 100 * token_s),  # of 100 tokens
        ("decode_tok_s", 1, lambda token_s: 1 / token_s),
        ("decode_tok_s", 8, lambda token_s: 8 / token_s),  # of eight requests side by side
    ],
)
def test_no_token_is_made_before_all_memories_together_have_read_the_weights(
    metric: str, batch: int, of_token: object, devices: int
) -> None:
    assert callable(of_token)
    bandwidth = load_device("h100-sxm5-80gb").memory.bandwidth_byte_per_s
    least_s = ROUNDING * DENSE_BYTES / (devices * bandwidth)
    sizes = {"batch": batch, "devices": devices, "ways": devices}
    assert "faster than the device's memory" in doubt_of(row(metric, of_token(0.99 * least_s), **sizes))
    assert doubt_of(row(metric, of_token(1.01 * least_s), **sizes)) == ""


def test_figures_of_other_things_are_not_in_doubt() -> None:
    assert doubt_of(row("ttft_s", 1e-9)) == ""
    assert doubt_of(row("e2e_latency_s", 1e-9, output=1)) == ""
    assert doubt_of(row("decode_tok_s", 1e9, batch=0)) == ""
    assert doubt_of(row("tpot_s", 1e-9, workload="no such model")) == ""
