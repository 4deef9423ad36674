"""Optimizers by hand: what each keeps, moves and computes for a matrix of 64 x 128 with 64 biases."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.op.kernel import Engine, Phase, Role, once
from simulator.op.optimizer import OPTIMIZERS, Matrix
from simulator.pipeline import Options, simulate
from simulator.workload.lowering import optimizer_values, weight_matrices
from simulator.workload.reading import load_workload

WEIGHTS, BIASES = 64 * 128, 64
MATRICES = (Matrix(64, 128),)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sgd", 8256),
        ("adam", 2 * 8256),
        ("adamw", 2 * 8256),
        ("adam_unfused", 2 * 8256),
        ("adam8bit", 2 * 8256 * (1 / 4 + 1 / 256)),
        ("adafactor", 64 + 128 + 64),
        ("muon", 8192 + 2 * 64),
    ],
)
def test_state(name: str, values: float) -> None:
    assert OPTIMIZERS[name].state_values(WEIGHTS + BIASES, MATRICES) == values


def test_small_tensors_keep_full_moments() -> None:
    assert OPTIMIZERS["adam8bit"].state_values(4095, ()) == 2 * 4095


def test_adam_line_by_line() -> None:
    # Sixteen: norm 1, product 2, of all gradients and of each tensor's; mul 2, add 3, mul 2, addcmul 3; root 2, + e 2,
    # quotient 3; decay 2, + it 3; rate 2, sign 2, step 3.
    kernels = OPTIMIZERS["adam_unfused"].updates(10, (), master_weights=False)
    moved = [sum(count.fixed for _, count in (*kernel.read, *kernel.write)) / 10 for kernel in kernels]
    assert moved == [1, 2, 1, 2, 2, 3, 2, 3, 2, 2, 3, 2, 3, 2, 2, 3]
    assert [kernel.flops.fixed / 10 for kernel in kernels] == [2, 1, 2, 1, 1, 2, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1]
    (fused,) = OPTIMIZERS["adam"].updates(10, (), master_weights=False)
    assert sum(count.fixed for _, count in (*fused.read, *fused.write)) == 70
    assert sum(dict(kernel.write).get(Role.WEIGHT, once(0)).fixed for kernel in kernels) == 10


def test_muons_products() -> None:
    """Five times 64 x 64 x 128, 64 x 64 x 64 and 64 x 128 x 64: 5 x 2 x (2 m m n + m m m) FLOP."""
    kernels = OPTIMIZERS["muon"].updates(WEIGHTS + BIASES, MATRICES, master_weights=True)
    products = [kernel for kernel in kernels if kernel.engine is Engine.MATRIX]
    assert len(products) == 15
    assert all(kernel.phase is Phase.UPDATE for kernel in kernels)
    assert sum(kernel.flops.fixed for kernel in products) == 5 * 2 * (2 * 64 * 64 * 128 + 64**3)
    assert sum(kernel.flops.fixed for kernel in kernels if kernel.engine is Engine.VECTOR) == 8 * 8192 + 14 * 64


def test_adafactor_reads_gradients_twice() -> None:
    means, step = OPTIMIZERS["adafactor"].updates(WEIGHTS + BIASES, MATRICES, master_weights=False)
    read = [dict(kernel.read)[Role.WEIGHT_GRADIENT].fixed for kernel in (means, step)]
    assert read == [8256, 8256]
    assert dict(means.write)[Role.STATE].fixed == 256
    assert dict(step.write)[Role.WEIGHT].fixed == 8256


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_network_keeps_the_sum_of_its_layers(name: str) -> None:
    workload, optimizer = load_workload("resnet50"), OPTIMIZERS[name]
    answer = simulate(workload, load_device("v100"), Options(optimizer=name, batch=32))
    assert answer.memory.optimizer_bytes == pytest.approx(4 * optimizer_values(workload, optimizer))
    assert answer.step.update_s > 0
    alone = simulate(workload, load_device("v100"), Options(batch=32))
    assert answer.step.mfu * answer.step.time_s == pytest.approx(alone.step.mfu * alone.step.time_s)


def test_matrices_of_layers_are_their_weights() -> None:
    for layer in load_workload("resnet50").layers:
        if layer.op.kind in ("conv", "linear"):
            biases = layer.parameters - sum(matrix.size for matrix in weight_matrices(layer))
            assert biases in (0, 1000)


def test_states_of_llama() -> None:
    """Llama 3 8B: Adam keeps 16 bytes a parameter beside its weights; 8 bits a quarter; factored next to nothing."""
    workload = load_workload("llama3_8b")
    kept = {name: optimizer_values(workload, one) / workload.parameters for name, one in OPTIMIZERS.items()}
    assert kept["adam"] == 2
    assert kept["adam8bit"] == pytest.approx(0.508, abs=0.001)
    assert kept["adafactor"] < 0.1
    assert 1 < kept["muon"] < 1.2
