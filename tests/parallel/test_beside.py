"""Exchange beside what it belongs to: what nothing hides, by hand and by law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.device.system import usual_cluster
from simulator.errors import InputError
from simulator.op.transfer import Transfer
from simulator.parallel.beside import WorkBeside, exposed, in_pieces
from simulator.parallel.bound import PlanBound
from simulator.parallel.plan import Plan
from simulator.parallel.shard import shard
from simulator.pipeline import Options
from simulator.planned import Planned, simulate_plan
from simulator.workload.reading import load_workload

SECONDS = st.floats(0, 1)


@pytest.mark.parametrize(
    ("exchange_s", "product_s", "added_s"),
    [(4e-3, 8e-3, 1e-3), (8e-3, 4e-3, 5e-3), (0.0, 8e-3, 0.0), (4e-3, 0.0, 4e-3)],
)
def test_pieces_by_hand(exchange_s: float, product_s: float, added_s: float) -> None:
    # In 4 pieces: one piece of the exchange is before the product; or one of the product is after the exchange.
    assert in_pieces(exchange_s, product_s, 4) == pytest.approx(added_s)


@given(SECONDS, SECONDS, st.integers(2, 64))
def test_pieces_hide_no_more_than_the_product_lasts(exchange_s: float, product_s: float, ways: int) -> None:
    added = in_pieces(exchange_s, product_s, ways)
    assert max(exchange_s - product_s, exchange_s / ways) - 1e-12 <= added <= exchange_s + 1e-12


def test_what_is_beside_a_product_by_hand() -> None:
    # LLaMA 3 8B over 4 ranks: of each block, gathers before its two column products' groups and scatters after its two
    # row products; the scatter after the embedding and the gather before the vocabulary have no product beside them.
    share = shard(load_workload("llama3_8b"), 4, 1, 1, sequence=True)
    layers = len(share.layers)
    moved = np.array([float(isinstance(layer.op, Transfer)) for layer in share.layers])
    work = WorkBeside(np.full(layers, 10.0), np.full(layers, 10.0))
    sent, returned = exposed(share, (moved, moved), work, 4)
    names = {layer.name: place for place, layer in enumerate(share.layers)}
    hidden = [name for name, place in names.items() if moved[place] and sent[place] == 0.25]
    whole = [name for name, place in names.items() if moved[place] and sent[place] == 1.0]
    assert len(hidden) == 4 * 32
    assert len(whole) == 2
    np.testing.assert_array_equal(sent, returned)
    alone, _ = exposed(share, (moved, moved), work, 1)
    np.testing.assert_array_equal(alone, moved)


def step(**more: object) -> Planned:
    device = load_device("h100-sxm5-80gb")
    options = Options(precision="bf16", optimizer="adam", framework="megatron", ignore_memory=True)
    plan = Plan(tensor=8, microbatch=1, sequence=True, **more)  # type: ignore[arg-type]
    return simulate_plan(load_workload("llama3_8b"), device, options, usual_cluster(device, 8), plan, 4)


def test_a_pipelined_step_waits_less_and_computes_the_same() -> None:
    usual, pieces = step(), step(pipelined=True)
    assert pieces.step.seconds[PlanBound.COMPUTE] == usual.step.seconds[PlanBound.COMPUTE]
    assert 0 < pieces.step.seconds[PlanBound.EXCHANGE] < 0.7 * usual.step.seconds[PlanBound.EXCHANGE]


def test_pieces_need_shared_positions() -> None:
    with pytest.raises(InputError, match="--sequence-parallel"):
        Plan(tensor=8, pipelined=True)
