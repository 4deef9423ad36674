"""Layers to kernels: what is added between operations, what folds away, what the first layer spares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.op.kernel import Gemm, Kernel, OpClass, Phase, Role, each, once
from simulator.op.kernels import Kernels, at_batch
from simulator.op.optimizer import OPTIMIZERS
from simulator.op.traced import Traced
from simulator.pipeline import kernels_of
from simulator.pipeline.options import Options
from simulator.workload.biases import biased_product, with_biases
from simulator.workload.importers import Request
from simulator.workload.lowering import Software, folded_layers, lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.table import layer_table, receptive_fields
from simulator.workload.workload import Layer, Workload

SGD = OPTIMIZERS["sgd"]


def net(*layers: Any, side: int = 4) -> Workload:
    return read_workload({"name": "n", "input": [2, side, side], "layers": list(layers)}, "n.yaml")


def conv(name: str, **fields: Any) -> dict[str, Any]:
    """A 1x1 convolution from two channels to two."""
    return {"conv": {"name": name, "out": 2, "kernel": 1} | fields}


def op_class(kernels: Kernels) -> Any:
    """Class of each launch."""
    return kernels.distinct.op_class[kernels.row]


def test_a_framework_adds_biases_in_kernels_of_their_own() -> None:
    # The convolution writes 2 x 4 x 4 values, which are read and written once more; the linear layer's are 3.
    layers = conv("a"), conv("b", bias=False), {"linear": {"name": "l", "out": 3}}
    whose = ("convolutions", "products")
    plain, added = (lower(net(*layers), Software(biases=biases), training=False) for biases in ((), whose))
    assert rows(net(*layers), added) == [(name, Phase.FORWARD) for name in ("a", "a", "b", "l", "l")]
    assert len(plain) == 3
    extra = [number for number, what in enumerate(op_class(added)) if what == OpClass.ELEMENTWISE]
    columns = added.distinct
    for number, size in zip(extra, (32, 3), strict=True):
        row = added.row[number]
        assert at_batch(columns.read[Role.ACTIVATION], 2.0)[row] == 2 * size
        assert at_batch(columns.write[Role.ACTIVATION], 2.0)[row] == 2 * size
        assert at_batch(columns.flops, 2.0)[row] == 2 * size
        assert not added.dispatch[number]


def test_depthwise_biases_are_told_from_others() -> None:
    # Two groups of the two input channels are depthwise, whatever they yield; of four channels they are not.
    layers = (
        conv("a"),
        conv("depthwise", groups=2, out=4),
        conv("groups", groups=2),
        {"linear": {"name": "l", "out": 3}},
    )
    network = net(*layers)
    assert [biased_product(layer) for layer in network.layers] == [
        "convolutions", "depthwise", "convolutions", "products"
    ]  # fmt: skip
    depthwise = lower(network, Software(biases=("depthwise",)), training=False)
    assert [name for name, _ in rows(network, depthwise)] == ["a", "depthwise", "depthwise", "groups", "l"]


def test_a_traced_convolution_shows_its_bias() -> None:
    def traced(*weights: int, groups: int = 1) -> Layer:
        read = ((Role.ACTIVATION, each(16)), *((Role.WEIGHT, once(size)) for size in weights))
        gemm = Gemm(each(4), once(4 / groups), once(4 / groups), groups)
        kernel = Kernel(OpClass.CONVOLUTION, Phase.FORWARD, each(128), read, ((Role.ACTIVATION, each(16)),), gemm)
        op = Traced(kind="convolution", shape=(4, 2, 2), forward_kernels=(kernel,), inference_kernels=(kernel,))
        return Layer("c", op, (-1,), ((4, 2, 2),), (4, 2, 2), sum(weights))

    layers = traced(16, 4), traced(16), traced(4, 4, groups=4)
    assert [biased_product(layer) for layer in layers] == ["convolutions", None, "depthwise"]
    (kernel,) = layers[0].op.forward(layers[0].site())
    (with_bias,) = with_biases(layers[:1], [(kernel,)], ("convolutions",))
    assert [one.op_class for one in with_bias] == [OpClass.CONVOLUTION, OpClass.ELEMENTWISE]
    assert with_bias[1].read == with_bias[1].write == ((Role.ACTIVATION, each(16)),)


def test_processors_and_apple_add_biases_within_their_convolutions() -> None:
    network = net(conv("a"))
    launches = {
        name: len(kernels_of(network, Options(framework="pytorch", task="infer"), load_device(name)))
        for name in ("v100-sxm2-16gb", "m1-max", "xeon-platinum-8280")
    }
    assert launches == {"v100-sxm2-16gb": 2, "m1-max": 1, "xeon-platinum-8280": 1}


def rows(workload: Workload, kernels: Kernels) -> list[tuple[str, Phase]]:
    """(layer, phase) of each kernel, in order."""
    names = [layer.name for layer in workload.layers]
    return [
        (names[layer], Phase(phase))
        for layer, phase in zip(kernels.layer.tolist(), kernels.phase.tolist(), strict=True)
    ]


def test_order_of_a_step() -> None:
    workload = net(conv("a", bias=False), {"relu": {"name": "r"}}, conv("b", bias=False))
    assert rows(workload, lower(workload, optimizer=SGD)) == [
        ("a", Phase.FORWARD),
        ("r", Phase.FORWARD),
        ("b", Phase.FORWARD),
        ("b", Phase.INPUT_GRADIENT),
        ("b", Phase.WEIGHT_GRADIENT),
        ("r", Phase.INPUT_GRADIENT),
        ("a", Phase.WEIGHT_GRADIENT),  # the image needs no gradient
        ("a", Phase.UPDATE),
        ("b", Phase.UPDATE),
    ]


def test_inference_is_the_forward_pass_alone() -> None:
    workload = net(conv("a"), "relu", conv("b"), "dropout", {"linear": {"out": 3}}, "loss")
    kernels = lower(workload, training=False)
    assert set(kernels.phase.tolist()) == {Phase.FORWARD}
    assert [name for name, _ in rows(workload, kernels)] == ["a", "relu1", "b", "linear1"]


def test_nothing_flows_back_before_the_first_weights() -> None:
    workload = net("relu", {"max_pool": {"kernel": 2}}, conv("a", bias=False), "relu")
    backward = [row for row in rows(workload, lower(workload)) if row[1] is not Phase.FORWARD]
    assert backward == [("relu2", Phase.INPUT_GRADIENT), ("a", Phase.WEIGHT_GRADIENT)]


def test_gradients_of_an_output_with_three_readers_are_added_twice() -> None:
    # a is read by b, c and the sum: two additions of 2 * 4 * 4 = 32 elements, each reading 64 and writing 32.
    workload = net(
        conv("a"), conv("b", **{"from": "a"}), conv("c", **{"from": "a"}), {"add": {"from": ["a", "b", "c"]}}
    )
    kernels = lower(workload)
    sums = (op_class(kernels) == OpClass.ELEMENTWISE) & (kernels.phase == Phase.INPUT_GRADIENT)
    assert not kernels.dispatch[sums].any()
    assert kernels.layer[sums].tolist() == [0, 0]
    assert kernels.flops[1, sums].tolist() == [32, 32]
    assert kernels.read[Role.GRADIENT, 1, sums].tolist() == [64, 64]
    assert kernels.write[Role.GRADIENT, 1, sums].tolist() == [32, 32]


@pytest.mark.parametrize("split", [False, True])
def test_gradients_of_a_split_are_put_side_by_side(split: bool) -> None:
    """A tensor of 32 values whose halves go two ways: one addition of 32, or one copy of 32 that replaces it."""
    halves = [
        {"channel_slice": {"name": name, "start": start, "stop": start + 1, "from": "a", "split": split}}
        for start, name in enumerate("bc")
    ]
    kernels = lower(net(conv("a"), *halves, {"add": {"name": "d", "from": ["b", "c"]}}), optimizer=SGD)
    of_a = (kernels.layer == 0) & (kernels.phase == Phase.INPUT_GRADIENT)
    assert (op_class(kernels)[of_a] == (OpClass.COPY if split else OpClass.ELEMENTWISE)).all()
    assert kernels.read[Role.GRADIENT, 1, of_a].tolist() == [32 if split else 64]
    assert kernels.write[Role.GRADIENT, 1, of_a].tolist() == [32]
    assert kernels.dispatch[of_a].tolist() == [split]


def test_gradients_of_a_scan_are_placed_beside_each_other() -> None:
    """The projection that convolution and scan read needs no sum; the values that four layers read need three."""
    workload = read_workload(
        {
            "name": "n",
            "input": [10],
            "layers": [
                {"embedding": {"vocabulary": 9, "features": 4}},
                {"linear": {"name": "wide", "out": 12}},
                {"causal_convolution": {"name": "values", "heads": 6}},
                {"linear": {"name": "steps", "out": 6, "from": "values"}},
                {"linear": {"name": "b", "out": 5, "from": "values"}},
                {"linear": {"name": "c", "out": 5, "from": "values"}},
                {
                    "selective_scan": {
                        "name": "scan",
                        "heads": 6,
                        "state": 5,
                        "from": ["values", "steps", "b", "c", "wide"],
                    }
                },
                {"linear": {"out": 9}},
                "loss",
            ],
        },
        "n.yaml",
    )
    kernels = lower(workload, optimizer=SGD)
    sums = ~kernels.dispatch & (kernels.phase == Phase.INPUT_GRADIENT) & (op_class(kernels) == OpClass.ELEMENTWISE)
    names = [workload.layers[place].name for place in kernels.layer[sums]]
    assert names == ["values"] * 3
    assert kernels.flops[1, sums].tolist() == [60] * 3


def test_an_input_with_two_readers_needs_no_sum() -> None:
    workload = net(conv("a"), conv("b", **{"from": "input"}), {"add": {"from": ["a", "b"]}})
    kernels = lower(workload)
    assert not ((op_class(kernels) == OpClass.ELEMENTWISE) & (kernels.phase == Phase.INPUT_GRADIENT)).any()


def test_resnet_sums_one_gradient_a_block() -> None:
    # Each of 16 blocks' inputs is read by the branch and the shortcut.
    workload = load_workload("resnet50")
    kernels = lower(workload)
    reads, writes = kernels.read[Role.GRADIENT, 1], kernels.write[Role.GRADIENT, 1]
    adds = (op_class(kernels) == OpClass.ELEMENTWISE) & (reads == 2 * writes) & (writes > 0)
    assert adds.sum() == 16


def test_scale_and_shift_fold_into_the_layer_before() -> None:
    workload = net(conv("a"), "batch_norm", "relu", {"linear": {"name": "l", "out": 3}}, "batch_norm")
    assert list(folded_layers(workload.layers)) == [1, 4]
    assert [name for name, _ in rows(workload, lower(workload, training=False))] == ["a", "relu1", "l"]
    assert "batch_norm1" in [name for name, _ in rows(workload, lower(workload))]


@pytest.mark.parametrize(
    "layers",
    [
        ["relu", "batch_norm"],  # nothing to fold into
        ["batch_norm"],  # nothing before it
        # The convolution's own output is read by another layer too.
        [conv("a"), {"batch_norm": {"name": "b"}}, {"add": {"from": ["a", "b"]}}],
    ],
)
def test_a_norm_that_cannot_fold_stays(layers: list[Any]) -> None:
    workload = net(*layers)
    assert list(folded_layers(workload.layers)) == []
    assert [name for name, _ in rows(workload, lower(workload, training=False))] == [
        layer.name for layer in workload.layers
    ]


def test_update_covers_every_trained_value_once() -> None:
    workload = load_workload("senet154")
    kernels = lower(workload, optimizer=SGD)
    updates = kernels.phase == Phase.UPDATE
    assert kernels.write[Role.WEIGHT, 0, updates].sum() == workload.parameters
    assert kernels.flops[0, updates].sum() == 6 * workload.parameters
    assert not kernels.flops[1, updates].any()


def test_mixed_precision_casts_every_operand_of_a_product_down_and_its_gradient_up() -> None:
    """Scales and shifts of batch normalisation stay in full width: 2 x 26,560 of ResNet-50's values."""
    workload = load_workload("resnet50")
    operands = workload.parameters - 2 * 26_560
    kernels = lower(workload, Software(master_weights=True), optimizer=SGD)
    casts = op_class(kernels) == OpClass.CAST
    forward, backward = casts & (kernels.phase == Phase.FORWARD), casts & (kernels.phase == Phase.WEIGHT_GRADIENT)
    for down, up in ((Role.STATE, Role.WEIGHT),):
        assert kernels.read[down, 0, forward].sum() == kernels.write[up, 0, forward].sum() == operands
    assert kernels.read[Role.WEIGHT_GRADIENT, 0, backward].sum() == operands
    assert kernels.write[Role.STATE, 0, backward].sum() == operands
    assert not (op_class(lower(workload, optimizer=SGD)) == OpClass.CAST).any()


def test_lowering_is_kept() -> None:
    workload = load_workload("lenet5")
    assert lower(workload) is lower(workload)
    assert lower(workload) is not lower(load_workload("lenet5"))


@given(st.sampled_from(["lenet5", "googlenet", "se_resnet50"]), st.integers(1, 10**6), st.integers(1, 10**6))
def test_counts_are_affine_in_the_batch(name: str, one: int, other: int) -> None:
    kernels = KERNELS[name]
    columns = kernels.distinct
    for count in (columns.flops, columns.read, columns.write, columns.gemm, columns.streamed):
        slope = at_batch(count, float(one + other)) - at_batch(count, float(one))
        assert np.array_equal(slope, count[..., 1, :] * other)


KERNELS = {name: lower(load_workload(name), optimizer=SGD) for name in ("lenet5", "googlenet", "se_resnet50")}


def test_a_batch_column_broadcasts() -> None:
    kernels = KERNELS["lenet5"]
    column = at_batch(kernels.read, np.array([[1.0], [2.0], [5.0]]))
    assert column.shape == (len(Role), 3, len(kernels))
    assert np.array_equal(column[:, 2], at_batch(kernels.read, 5.0))


# ---- the table of layers, which needs no device


def test_receptive_fields_of_a_chain() -> None:
    # 3x3 stride 2: 3; 3x3: 3 + 2 * 2 = 7; dilation 2: 7 + 2 * 2 * 2 = 15; 2x2 stride 2: 15 + 2 = 17; stride 4 in all.
    workload = net(
        conv("a", kernel=3, stride=2),
        conv("b", kernel=3),
        conv("c", kernel=3, dilation=2),
        {"max_pool": {"kernel": 2}},
        side=64,
    )
    assert receptive_fields(workload.layers) == [((n, n), (s, s)) for n, s in ((3, 2), (7, 2), (15, 2), (17, 4))]


def test_the_widest_branch_counts() -> None:
    workload = net(
        conv("a", kernel=5, padding=2),
        conv("b", kernel=3, padding=1, **{"from": "input"}),
        {"add": {"from": ["a", "b"]}},
    )
    assert receptive_fields(workload.layers)[-1] == ((5, 5), (1, 1))


def test_height_and_width_are_apart() -> None:
    workload = net(conv("a", kernel=[1, 3], stride=[1, 2]), side=8)
    assert receptive_fields(workload.layers) == [((1, 3), (1, 2))]


def test_a_row_of_the_table() -> None:
    # LeNet's conv1: 20 * 25 weights, 20 biases, 288,000 MACs; backward: the weights' gradient 576,000 FLOP and the
    # biases' 11,520, no input gradient.
    row = layer_table(load_workload("lenet5"))[0]
    assert (row.parameters, row.weights, row.macs, row.flops) == (520, 500, 288_000, 576_000)
    assert row.backward_flops == 576_000 + 11_520
    assert row.activations == 20 * 24 * 24
    assert row.macs_per_weight == 576
    assert layer_table(load_workload("lenet5"), "articles")[0].macs == 288_000 + 11_520


def test_without_fused_attention_its_parts_run_one_by_one() -> None:
    fused = load_workload("vit_b_16")
    apart = lower(fused, Software(eager_attention=True), training=False)
    assert not (apart.distinct.op_class == OpClass.ATTENTION).any()
    assert (apart.distinct.op_class == OpClass.SOFTMAX).any()
    assert len(apart) - len(lower(fused, training=False)) == 12 * 3
    eager = load_workload("vit_b_16", request=Request(attention="eager"))
    assert lower(eager, training=False).flops.sum() == apart.flops.sum()


def test_eager_software_runs_line_by_line_what_compilers_join() -> None:
    # A layer of GPT-2: eight kernels of its GELU and two of its scores' shift where there is one each; its result is
    # copied, and so are, where heads do not lie in place, queries, keys and values.
    network = load_workload("gpt2", request=Request(attention="eager"))
    whole = lower(network, training=False)
    assert len(lower(network, Software(pieces=True), training=False)) - len(whole) == 12 * (7 + 1 + 1)
    assert len(lower(network, Software(copies_heads=True), training=False)) - len(whole) == 12 * 4


def test_gradients_that_are_added_to() -> None:
    # 32 x 3 weights and 3 biases: 99 zeros written, and 99 sums of two.
    network = net({"linear": {"name": "l", "out": 3}})
    kernels = lower(network, Software(adds_gradients=True))
    more = np.flatnonzero(op_class(kernels) == OpClass.UPDATE)
    read, written = kernels.read[Role.WEIGHT_GRADIENT, 0, more], kernels.write[Role.WEIGHT_GRADIENT, 0, more]
    assert (read.tolist(), written.tolist()) == ([0, 198], [99, 99])
    assert len(kernels) == len(lower(network)) + 2
    assert kernels.dispatch.sum() == lower(network).dispatch.sum()
    assert len(lower(network, Software(adds_gradients=True), training=False)) == len(lower(network, training=False))


@pytest.mark.parametrize(
    ("framework", "pieces", "copies"),
    [("pytorch", True, True), ("pytorch-compiled", False, True), ("megatron", False, False), ("jax", False, False)],
)
def test_which_software_joins_and_copies(framework: str, pieces: bool, copies: bool) -> None:
    network = load_workload("gpt2", request=Request(attention="eager"))
    options = Options(framework=framework, precision="fp32", task="infer")
    kernels, software = kernels_of(network, options), Software(pieces=pieces, copies_heads=copies, fuse=not pieces)
    assert len(kernels) == len(lower(network, software, training=False))
    bound = replace(options, fidelity="roofline")
    assert len(kernels_of(network, bound)) == len(lower(network, training=False))
