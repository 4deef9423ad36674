"""Recurrent modules of PyTorch, traced: as many kernels and as much work as the zoo's layers, in one call."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Kernels
from simulator.workload.importers.torch import Tracing, from_torch
from simulator.workload.lowering import lower
from simulator.workload.reading import read_workload
from simulator.workload.workload import Workload

POSITIONS, FEATURES, HIDDEN = 6, 10, 8


@pytest.fixture(name="torch", scope="module")
def torch_module() -> Any:
    return pytest.importorskip("torch")


def traced(torch: Any, module: Any, *, training: bool) -> Workload:
    """Positions first, as the library takes them; the second side is the batch."""

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any) -> Any:
            return self.module(x.transpose(0, 1))[0].transpose(0, 1)

    options = Tracing("n", training=training, loss=lambda output: output.sum())
    return from_torch(Net(), torch.zeros(1, POSITIONS, FEATURES), options)


def zoo(cell: str, layers: int, directions: int) -> Workload:
    each = {"cell": cell, "hidden": HIDDEN, "directions": directions}
    rows = [{"recurrent": {"name": f"r{number}", **each}} for number in range(layers)]
    return read_workload({"name": "n", "input": [POSITIONS, FEATURES], "layers": rows}, "n.yaml")


def work(kernels: Kernels, op_class: OpClass) -> list[tuple[int, float, float, float]]:
    """(phase, FLOP, read, written) of each kernel of a class, for one sample and all, sorted."""
    moved = kernels.read.sum(axis=0), kernels.write.sum(axis=0)
    chosen = kernels.distinct.op_class[kernels.row] == op_class
    found = [
        (int(kernels.phase[at]), *(float(count[:, at].sum()) for count in (kernels.flops, *moved)))
        for at in range(len(kernels))
        if chosen[at]
    ]
    return sorted(found)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(("layers", "directions"), [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("training", [False, True])
def test_a_trace_launches_what_the_zoos_layers_do(
    torch: Any, cell: str, layers: int, directions: int, training: bool
) -> None:
    make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    module = make(FEATURES, HIDDEN, layers, bidirectional=directions == 2)
    own, found = zoo(cell, layers, directions), traced(torch, module, training=training)
    assert (found.parameters, found.macs) == (own.parameters, own.macs)
    ours, theirs = (lower(workload, training=training) for workload in (own, found))
    assert work(theirs, OpClass.GEMM) == work(ours, OpClass.GEMM)
    cells = [one for one in work(theirs, OpClass.ELEMENTWISE) if one[1] > HIDDEN]
    assert len(cells) >= POSITIONS * directions * layers
    assert set(work(ours, OpClass.ELEMENTWISE)) <= set(cells)


def test_positions_are_put_first_by_a_copy(torch: Any) -> None:
    module = torch.nn.LSTM(FEATURES, HIDDEN, batch_first=True)
    workload = from_torch(module.eval(), torch.zeros(1, POSITIONS, FEATURES), Tracing("n", training=False))
    kernels = lower(workload, training=False)
    copies = kernels.distinct.op_class[kernels.row] == OpClass.COPY
    assert sorted(kernels.write[:, 1, copies].sum(axis=0).tolist()) == [HIDDEN, HIDDEN, POSITIONS * FEATURES]


def test_projected_states_are_taken_apart(torch: Any) -> None:
    module = torch.nn.LSTM(FEATURES, HIDDEN, proj_size=4)
    found = traced(torch, module, training=False)
    assert "cudnn_rnn" not in [layer.op.kind for layer in found.layers]
    assert found.macs == POSITIONS * (4 * HIDDEN * (FEATURES + 4) + 4 * HIDDEN)


def test_training_keeps_gates_and_states(torch: Any) -> None:
    module = torch.nn.LSTM(FEATURES, HIDDEN)
    workload = traced(torch, module, training=True)
    layer = next(one for one in workload.layers if one.op.kind == "cudnn_rnn")
    kept = sum(count.per_sample for _, count in layer.op.saved(layer.site(training=True)))
    assert kept >= POSITIONS * (4 * HIDDEN + HIDDEN)
    kernels = lower(workload)
    assert {int(phase) for phase in kernels.phase} >= {Phase.FORWARD, Phase.WEIGHT_GRADIENT}
