"""Fusion: which kernels a compiler runs as one, and what then stays on the chip."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.device.device import load_device
from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.kernels import Kernels
from simulator.pipeline import Options, kernels_of
from simulator.workload.lowering import Software, lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload

SIZE = 2 * 4 * 4


def net(*layers: Any) -> Workload:
    return read_workload({"name": "n", "input": [2, 4, 4], "layers": list(layers)}, "n.yaml")


def conv(name: str, **fields: Any) -> dict[str, Any]:
    return {"conv": {"name": name, "out": 2, "kernel": 1, "bias": False} | fields}


def moved(kernels: Kernels, role: Role, phase: Phase) -> list[tuple[str, int, int]]:
    """(class, read, written) of a role for one sample, of each launch of a phase but products."""
    found = []
    for launch in range(len(kernels)):
        op_class, column = OpClass(kernels.distinct.op_class[kernels.row[launch]]), kernels.row[launch]
        if kernels.phase[launch] == phase and op_class is not OpClass.CONVOLUTION:
            read, write = (table[role, 1, column] for table in (kernels.distinct.read, kernels.distinct.write))
            found.append((op_class.name.lower(), int(read), int(write)))
    return found


BLOCK = (conv("c"), {"batch_norm": {"name": "n"}}, {"relu": {"name": "r"}})


def test_a_chain_at_inference_reads_and_writes_once() -> None:
    plain, fused = (lower(net(*BLOCK), Software(fold=False, fuse=fuse), training=False) for fuse in (False, True))
    assert moved(plain, Role.ACTIVATION, Phase.FORWARD) == [
        ("normalization", SIZE, SIZE),
        ("elementwise", SIZE, SIZE),
    ]
    assert moved(fused, Role.ACTIVATION, Phase.FORWARD) == [("elementwise", SIZE, SIZE)]
    assert fused.distinct.flops.sum() == plain.distinct.flops.sum()


def test_batch_statistics_stay_a_pass_of_their_own() -> None:
    kernels = lower(net(*BLOCK), Software(fuse=True))
    assert moved(kernels, Role.ACTIVATION, Phase.FORWARD) == [("normalization", SIZE, 0), ("elementwise", SIZE, SIZE)]


def test_both_branches_run_in_the_sum_that_joins_them() -> None:
    layers = (
        conv("a"),
        {"batch_norm": {"name": "an"}},
        conv("b", **{"from": "a"}),
        {"batch_norm": {"name": "bn"}},
        {"add": {"name": "sum", "from": ["an", "bn"]}},
        {"relu": {"name": "r"}},
    )
    kernels = lower(net(*layers), Software(fold=False, fuse=True), training=False)
    assert moved(kernels, Role.ACTIVATION, Phase.FORWARD) == [("elementwise", 2 * SIZE, SIZE)]


def test_what_others_read_too_is_written_still() -> None:
    layers = (
        conv("a"),
        {"relu": {"name": "r"}},
        {"sigmoid": {"name": "s"}},
        {"conv": {"out": 2, "from": "r"} | {"kernel": 1}},
    )
    kernels = lower(net(*layers), Software(fuse=True), training=False)
    assert moved(kernels, Role.ACTIVATION, Phase.FORWARD) == [("elementwise", SIZE, 2 * SIZE)]


def test_gradients_fuse_backwards() -> None:
    # ReLU: output and gradient in, gradient out. The statistics' sums read gradient and input, then the gradient pass
    # reads both again: fused, the ReLU's gradient is written for that pass, but not read by the sums.
    plain, fused = (lower(net(*BLOCK, conv("d")), Software(fuse=fuse)) for fuse in (False, True))
    vector = {Phase.INPUT_GRADIENT: [("elementwise", SIZE, SIZE), ("normalization", SIZE, SIZE)]}
    assert moved(plain, Role.GRADIENT, Phase.INPUT_GRADIENT) == vector[Phase.INPUT_GRADIENT]
    assert moved(plain, Role.GRADIENT, Phase.WEIGHT_GRADIENT) == [("normalization", SIZE, 0)]
    assert moved(fused, Role.GRADIENT, Phase.INPUT_GRADIENT) == [("normalization", SIZE, SIZE)]
    assert moved(fused, Role.GRADIENT, Phase.WEIGHT_GRADIENT) == [("normalization", SIZE, SIZE)]


def test_libraries_calls_are_not_fused() -> None:
    layers = (conv("a"), {"max_pool": {"kernel": 2}}, {"relu": {"name": "r"}}, {"linear": {"out": 3}})
    plain, fused = (lower(net(*layers), Software(fuse=fuse), training=False) for fuse in (False, True))
    assert len(plain) == len(fused)


def test_frameworks_that_compile_move_less() -> None:
    workload = load_workload("resnet18")
    eager, compiled = (
        kernels_of(workload, Options(batch=8, framework=framework)) for framework in ("pytorch", "pytorch-compiled")
    )
    assert len(compiled) < len(eager)
    on_tpu = kernels_of(workload, Options(batch=8), load_device("tpu-v4"))
    assert len(on_tpu) == len(compiled)
    assert len(kernels_of(workload, Options(batch=8), load_device("t4"))) == len(eager)
    for role in (Role.ACTIVATION, Role.GRADIENT):
        assert compiled.read[role].sum() < eager.read[role].sum()
    assert compiled.flops.sum() == eager.flops.sum()
    bounds = [
        kernels_of(workload, Options(fidelity="roofline", framework=framework))
        for framework in ("pytorch", "pytorch-compiled")
    ]
    assert bounds[0] is bounds[1]


def test_a_library_joins_normalisation_with_what_follows_it_and_no_more() -> None:
    joined, plain = (lower(net(*BLOCK), Software(join=join)) for join in (True, False))
    assert moved(joined, Role.ACTIVATION, Phase.FORWARD) == [("normalization", SIZE, 0), ("elementwise", SIZE, SIZE)]
    assert moved(plain, Role.ACTIVATION, Phase.FORWARD)[-1] == ("elementwise", SIZE, SIZE)
    assert len(joined) == len(plain) - 2  # the ReLU's kernel, and its gradient's
    # Nor what stands before a normalisation or around pooling.
    before = (
        conv("c"),
        {"relu": {"name": "r"}},
        {"batch_norm": {"name": "n"}},
        {"max_pool": {"name": "p", "kernel": 2}},
    )
    forward = [
        moved(lower(net(*before), Software(join=join)), Role.ACTIVATION, Phase.FORWARD) for join in (True, False)
    ]
    assert forward[0] == forward[1]


def test_at_inference_normalisation_and_activation_are_one_pass() -> None:
    joined = lower(net(*BLOCK), Software(fold=False, join=True), training=False)
    assert moved(joined, Role.ACTIVATION, Phase.FORWARD) == [("normalization", SIZE, SIZE)]
    apart = lower(net(*BLOCK), Software(fold=False), training=False)
    assert moved(apart, Role.ACTIVATION, Phase.FORWARD) == [("normalization", SIZE, SIZE), ("elementwise", SIZE, SIZE)]


@pytest.mark.parametrize(
    ("name", "joins"),
    [
        ("tensorflow", True),
        ("tensorflow-cuda-11", True),
        ("tensorflow-2", True),
        ("tensorflow-2017", False),
        ("mxnet", False),
    ],
)
def test_graphs_join_at_inference_since_1_14(name: str, joins: bool) -> None:
    network = load_workload("resnet50")
    counts = {
        task: len(kernels_of(network, Options(framework=name, task=task)))
        - len(kernels_of(network, Options(framework="torch7", task=task)))
        for task in ("train", "infer")
    }
    # The last layer's bias has a kernel; each of 53 normalisations in training has one for two, forward and backward.
    passes = 0 if name == "tensorflow-2017" else 2 * 53
    # The 49 activations run in what stands before them, and 16 additions in a normalisation; in 4 of these the other
    # operand is normalised too, by a kernel of its own.
    assert counts == {"train": 1 - passes, "infer": 1 - (49 + 16 if joins else 0)}


def test_tensorflow_2_joins_in_training_on_half_width_values_alone() -> None:
    network = load_workload("resnet50")
    joined, apart = (
        [
            len(kernels_of(network, Options(framework=name, precision=precision)))
            for precision in ("fp16", "tf32", "amp")
        ]
        for name in ("tensorflow-2", "tensorflow")
    )
    fewer = [before - after for before, after in zip(apart, joined, strict=True)]
    # 49 activations and 16 + 4 normalisations before additions, and the gradients of the 33 activations of one source.
    assert fewer[0] == fewer[2] > 69 > fewer[1] == 0


def test_a_processors_library_adds_biases_and_has_none_of_cudnns_kernels() -> None:
    network = load_workload("vgg16")
    counts = [
        len(kernels_of(network, Options(framework="mxnet"), load_device(name))) for name in ("v100", "xeon-gold-6142")
    ]
    assert counts[0] - counts[1] == 16  # a bias each
    counts = [
        len(kernels_of(load_workload("resnet18"), Options(framework="mxnet"), load_device(name)))
        for name in ("xeon-gold-6142", "v100")
    ]
    assert counts[0] - counts[1] == 2 * 20 - 1  # two more passes of each normalisation, one bias less


def test_nvidias_mxnet_joins_in_mixed_precision_alone() -> None:
    network = load_workload("resnet50")
    for precision, fewer in (("amp", True), ("fp32", False)):
        counts = [
            len(kernels_of(network, Options(precision=precision, framework=name))) for name in ("mxnet-2020", "mxnet")
        ]
        assert (counts[0] < counts[1]) is fewer
