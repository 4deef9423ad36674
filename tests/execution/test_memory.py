"""Memory footprint of a step: a small network by hand, and laws on the shipped ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.framework import Reserve
from simulator.errors import OutOfMemoryError
from simulator.execution.memory import Footprint, check_fits, footprint
from simulator.execution.saved import passing_by_layer, saved_by_layer
from simulator.op.optimizer import OPTIMIZERS
from simulator.precision import PRECISIONS, get_precision
from simulator.workload.reading import load_workload, read_workload

SGD, ADAM = OPTIMIZERS["sgd"], OPTIMIZERS["adam"]
FP32, AMP = get_precision("fp32"), get_precision("amp")
ZOO = ("lenet5", "alexnet", "vgg16", "googlenet", "resnet50", "senet154", "mobilenet_v2")

SMALL = read_workload(
    {
        "name": "small",
        "input": [2, 4, 4],
        "layers": [
            {"conv": {"name": "a", "out": 3, "kernel": 1}},  # 2 * 3 + 3 = 9 values, output 48
            "relu",
            "flatten",
            {"linear": {"out": 5}},  # 48 * 5 + 5 = 245 values
            "loss",
        ],
    },
    "small.yaml",
)
# Kept for the backward pass: the image (32) for the convolution, the ReLU's output (48) for itself and, through the
# view, for the linear layer, the logits (5) for the loss. The convolution's output is overwritten by the ReLU. With the
# gradients alive beside them: the loss 85 and 15 (its logits held, and two tensors of their size), the linear layer 80
# and 5 + 48, the ReLU 80 and 48 + 48, the convolution 32 and 48. The fullest is the ReLU's, when the linear layer's 245
# gradients are there.
KEPT, WIDEST, VALUES, MADE = 80, 96, 254, 245


def test_a_small_network_in_fp32() -> None:
    found = footprint(SMALL, 10, FP32, 1e9, SGD)
    assert found.parameters_bytes == 4 * VALUES
    assert found.gradients_bytes == 4 * MADE
    assert found.optimizer_bytes == 4 * VALUES
    assert found.activations_per_sample_bytes == 4 * (KEPT + WIDEST)
    assert found.activations_bytes == 10 * 4 * (KEPT + WIDEST)
    assert found.total_bytes == 4 * (2 * VALUES + MADE) + 10 * 4 * (KEPT + WIDEST)
    assert found.cached_bytes == 4 * (VALUES - MADE)


def test_the_backward_pass_gives_up_activations_as_it_makes_gradients() -> None:
    # The convolution has less left than the ReLU, but all gradients: the fullest moment of a network of few samples.
    found = footprint(SMALL, 10, FP32, 1e9, SGD)
    assert found.moments == ((4 * (KEPT + WIDEST), 4 * MADE), (4 * 80, 4 * VALUES))
    kept = footprint(SMALL, 10, FP32, 1e9, SGD, Reserve(keeps=("gradients",)))
    assert kept.moments == ((4 * (KEPT + WIDEST), 4 * VALUES),)


def test_a_sum_hands_its_gradient_on() -> None:
    # A residual block of 4 values: product, ReLU, product, sum. Its gradients while each runs: the sum's own, which the
    # second product's is too; at the second product that and its input's; at the ReLU the stream's, its output's and
    # its input's; at the first product the stream's, its output's, and a new one of what it read, added there.
    layers = [
        {"linear": {"name": "enter", "out": 4}},
        {"linear": {"name": "a", "out": 4}},
        "relu",
        {"linear": {"name": "b", "out": 4}},
        {"add": {"from": ["b", "enter"]}},
        "loss",
    ]
    network = read_workload({"name": "block", "input": [4], "layers": layers}, "block.yaml")
    assert passing_by_layer(network, 1.0, 0).tolist() == [4, 12, 12, 8, 4, 4]


def test_what_the_framework_holds_counts_too() -> None:
    # 1000 + 500 bytes, and a tenth of 10 x 4 x 176 = 7040 bytes of activations.
    reserve = Reserve(context_bytes=1000, workspace_bytes=500, fragmentation=0.1)
    found = footprint(SMALL, 10, FP32, 12_350, SGD, reserve)
    assert found.reserved_bytes == pytest.approx(1500 + 704)
    assert found.total_bytes == pytest.approx(4 * (2 * VALUES + MADE) + 7040 + 2204)
    assert found.headroom_bytes == pytest.approx(12_350 - found.total_bytes)
    assert found.at_the_edge  # 94 bytes of 12,350 are 0.8 %
    # (12,350 - 3,012 - 1,500) / (704 x 1.1) = 10.1 samples
    assert found.largest_batch == 10
    assert footprint(SMALL, 10, FP32, 12_350, SGD, reserve).fits
    assert not footprint(SMALL, 11, FP32, 12_350, SGD, reserve).fits


def test_adam_keeps_two_moments() -> None:
    assert footprint(SMALL, 1, FP32, 1e9, ADAM).optimizer_bytes == 2 * 4 * VALUES


def test_mixed_precision_keeps_master_weights() -> None:
    # Two bytes for the kernels and four for the optimizer; gradients widened for the update; activations halved.
    found = footprint(SMALL, 10, AMP, 1e9, SGD)
    assert found.parameters_bytes == (2 + 4) * VALUES
    assert found.gradients_bytes == 4 * MADE
    assert found.optimizer_bytes == 4 * VALUES
    assert found.activations_bytes == 10 * 2 * (KEPT + WIDEST)


def test_a_loss_is_taken_in_full_width() -> None:
    # 1,000 logits of 10 features: kept are the image (10 x 2) and the logarithms (1,000 x 4); beside them the gradient
    # of the logarithms that were chosen and that of the logits, 1,000 x 4 each, and the logits themselves, 1,000 x 2.
    # Where it overwrites the logarithms, the gradient is narrowed for the layer before, 1,000 x 2.
    layers = [{"linear": {"out": 1000}}, "loss"]
    network = read_workload({"name": "wide", "input": [10], "layers": layers}, "wide.yaml")
    apart = footprint(network, 1, AMP, 1e9, SGD).moments[0][0]
    in_place = footprint(network, 1, AMP, 1e9, SGD, Reserve(loss_in_place=True)).moments[0][0]
    assert apart == 20 + 4000 + 8000 + 2000
    assert in_place == 20 + 4000 + 2000


def test_inference_keeps_what_is_alive() -> None:
    # The ReLU's input and output, 48 + 48, or less where it is computed in place: never less than image and output, 80.
    found = footprint(SMALL, 10, FP32, 1e9, None)
    assert found.parameters_bytes == 4 * VALUES
    assert found.gradients_bytes == found.optimizer_bytes == 0
    assert 4 * 80 <= found.activations_per_sample_bytes <= 4 * 96


@pytest.mark.parametrize(
    ("layers", "held"),
    [
        # On 2 x 4 x 4 = 32 elements of 4 bytes: what is kept, and the output's gradient, 32 elements.
        (["batch_norm"], 4 * (32 + 32)),  # keeps its input
        (["sigmoid"], 4 * (32 + 32)),  # keeps its output
        (["dropout"], 32 + 4 * 32),  # keeps a mask of one byte an element
        ([{"lrn": {"size": 3}}], 4 * (96 + 32)),  # keeps input, output and denominators
        # Keeps its input and 8 positions of 8 bytes; the gradient of 8 outputs.
        ([{"max_pool": {"kernel": 2}}], 4 * 32 + 8 * 8 + 4 * 8),
        # The sum keeps nothing, the ReLU its output; the sum's gradient is the ReLU's too.
        ([{"relu": {"name": "r"}}, {"add": {"from": ["r", "input"]}}], 4 * (32 + 32)),
    ],
)
def test_what_each_kind_holds(layers: list[object], held: int) -> None:
    workload = read_workload({"name": "n", "input": [2, 4, 4], "layers": layers}, "n.yaml")
    assert footprint(workload, 1, FP32, 1e9, SGD).activations_bytes == held


def test_an_activation_that_is_fused_into_a_product_of_two_is_computed_again() -> None:
    # 32 elements of 4 bytes: the SiLU keeps its input, which the product reads too, and the product the SiLU's output,
    # unless that is computed again. What comes before the activation is kept either way.
    layers: list[object] = [{"silu": {"name": "s"}}, {"multiply": {"from": ["s", "input"]}}]
    workload = read_workload({"name": "n", "input": [2, 4, 4], "layers": layers}, "n.yaml")
    assert saved_by_layer(workload, FP32) == (4 * 32, 4 * 32)
    assert saved_by_layer(workload, FP32, fused=True) == (4 * 32, 0)


def test_what_lies_unused_decides_which_moment_is_the_fullest() -> None:
    # 64 values, a product of 4, a ReLU and one of 2: 304 bytes of a sample beside the last product's gradients, or 272
    # beside all 270. From 32.5 samples on the first is fuller; ten samples, and as many again that lie unused, are 20.
    layers = [{"linear": {"out": 4}}, "relu", {"linear": {"out": 2}}, "loss"]
    workload = read_workload({"name": "n", "input": [64], "layers": layers}, "n.yaml")
    unused = Reserve(fragmentation=1.0)
    for batch, fullest in ((10, (272, 1080)), (16, (272, 1080)), (17, (304, 40))):
        found = footprint(workload, batch, FP32, 1e9, SGD, unused)
        assert (found.activations_per_sample_bytes, found.gradients_bytes) == fullest
        assert found.at(batch) == found == footprint(workload, 1, FP32, 1e9, SGD, unused).at(batch)


def test_an_input_that_is_only_seen_otherwise_stays_as_long_as_it_is_read() -> None:
    # Flattened, an image of 32 values is the same memory, which the product needs beside its 5 results.
    workload = read_workload({"name": "n", "input": [2, 4, 4], "layers": ["flatten", {"linear": {"out": 5}}]}, "n.yaml")
    assert footprint(workload, 1, FP32, 1e9, None).activations_bytes == 4 * (32 + 5)


def test_as_many_samples_as_one_likes_fit_where_none_takes_any_memory() -> None:
    nothing = Footprint(100, 50, 0, 0, 0, 150)
    assert nothing.largest_batch == 2**31
    assert Footprint(100, 51, 0, 0, 0, 150).largest_batch == 0


@given(st.sampled_from(ZOO), st.floats(1e8, 1e12), st.sampled_from(["fp32", "amp"]), st.sampled_from([SGD, ADAM, None]))
def test_the_largest_batch_fits_and_the_next_does_not(
    name: str, capacity: float, precision: str, optimizer: object
) -> None:
    workload = load_workload(name)

    def at(batch: int) -> Footprint:
        return footprint(workload, batch, get_precision(precision), capacity, optimizer)  # type: ignore[arg-type]

    largest = at(1).largest_batch
    assert at(1).largest_batch == at(1000).largest_batch
    if largest:
        assert at(largest).fits
    assert not at(largest + 1).fits


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("precision", sorted(PRECISIONS))
def test_the_total_is_the_sum_of_the_components(name: str, precision: str) -> None:
    optimizer = None if PRECISIONS[precision].inference_only else SGD
    found = footprint(load_workload(name), 32, PRECISIONS[precision], 1e10, optimizer)
    parts = (found.parameters_bytes, found.gradients_bytes, found.optimizer_bytes, found.activations_bytes)
    assert found.total_bytes == sum(parts)
    assert all(part >= 0 for part in parts)


@pytest.mark.parametrize("name", ZOO)
def test_training_holds_more_than_inference(name: str) -> None:
    workload = load_workload(name)
    assert footprint(workload, 32, FP32, 1e10, SGD).total_bytes > footprint(workload, 32, FP32, 1e10, None).total_bytes


def test_what_does_not_fit_is_told_with_a_way_out() -> None:
    workload = load_workload("senet154")
    found = footprint(workload, 4096, FP32, 16 * 2**30, SGD)
    with pytest.raises(OutOfMemoryError) as caught:
        check_fits(found, workload, "v100", 4096)
    message = str(caught.value)
    for part in ("parameters", "gradients", "optimizer", "activations", "--ignore-memory", "of the 16.0 GiB of v100"):
        assert part in message
    assert f"the largest batch that fits is {found.largest_batch}" in message
    assert "\n" not in message


def test_not_even_one_sample() -> None:
    workload = load_workload("senet154")
    found = footprint(workload, 1, FP32, 1e6, SGD)
    with pytest.raises(OutOfMemoryError, match="not even one sample fits"):
        check_fits(found, workload, "tiny", 1)
