"""Automatic mixed precision: what stays in full width, and the casts around it."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.kernels import Kernels
from simulator.pipeline import Options, kernels_of
from simulator.workload.lowering import Software, lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload

SIZE = 4 * 8
NARROW, WIDE = (Role.ACTIVATION, Role.GRADIENT), (Role.WIDE,)


def net(*layers: Any) -> Workload:
    return read_workload({"name": "n", "input": [4, 8], "layers": list(layers)}, "n.yaml")


def linear(name: str, **fields: Any) -> dict[str, Any]:
    return {"linear": {"name": name, "out": 8, "bias": False} | fields}


def moved(kernels: Kernels, phase: Phase = Phase.FORWARD) -> list[tuple[str, float, float, float, float]]:
    """(class, narrow read, wide read, narrow written, wide written) of each launch of a phase, in tensors of `SIZE`."""
    found = []
    for row in kernels.row[kernels.phase == phase]:
        tables = (kernels.distinct.read, kernels.distinct.write)
        sums = [
            sum(float(table[role, 1, row]) for role in roles) / SIZE for table in tables for roles in (NARROW, WIDE)
        ]
        found.append((OpClass(kernels.distinct.op_class[row]).name.lower(), *sums))
    return found


def test_a_layer_norm_between_products_is_cast_and_cast_back() -> None:
    layers = net(linear("a"), {"layer_norm": {"name": "norm"}}, linear("b"))
    assert moved(lower(layers, Software(autocast=True), training=False)) == [
        ("gemm", 1, 0, 1, 0),
        ("elementwise", 1, 0, 0, 1),
        ("normalization", 0, 1, 0, 1),
        ("elementwise", 0, 1, 1, 0),
        ("gemm", 1, 0, 1, 0),
    ]


def test_a_compiler_casts_as_it_reads_and_writes() -> None:
    layers = net(linear("a"), {"layer_norm": {"name": "norm"}}, linear("b"))
    assert moved(lower(layers, Software(autocast=True, fuse=True), training=False)) == [
        ("gemm", 1, 0, 1, 0),
        ("elementwise", 1, 0, 1, 0),
        ("gemm", 1, 0, 1, 0),
    ]


def test_a_residual_stream_stays_wide_once_something_wide_is_added() -> None:
    layers = net(
        {"layer_norm": {"name": "norm"}},
        linear("branch"),
        {"add": {"name": "sum", "from": ["norm", "branch"]}},
        {"gelu": {"name": "act"}},
    )
    assert moved(lower(layers, Software(autocast=True), training=False))[-2:] == [
        ("elementwise", 1, 1, 0, 1),
        ("elementwise", 0, 1, 0, 1),
    ]


@pytest.mark.parametrize(("fuse", "casts"), [(False, 3), (True, 1)])
def test_a_compiler_casts_once_for_all_readers(fuse: bool, casts: int) -> None:
    readers = [linear(name, **{"from": "norm"}) for name in "qkv"]
    layers = net(linear("a"), {"layer_norm": {"name": "norm"}}, *readers)
    kernels = lower(layers, Software(autocast=True, fuse=fuse), training=False)
    # Written narrow by what is no product; the norm takes the first cast in, each product keeps its call.
    assert sum(name != "gemm" and narrow > 0 for name, _, _, narrow, _ in moved(kernels)) == casts
    calls = kernels.dispatch[kernels.distinct.op_class[kernels.row] == OpClass.GEMM]
    assert calls.tolist() == [True, fuse, fuse, fuse]


def test_gradients_are_cast_where_activations_were() -> None:
    layers = net(linear("a"), {"layer_norm": {"name": "norm"}}, linear("b"))
    backward = moved(lower(layers, Software(autocast=True)), Phase.INPUT_GRADIENT)
    assert [(name, reads, wide) for name, reads, wide, *_ in backward] == [
        ("gemm", 1, 0),
        ("elementwise", 1, 0),
        ("normalization", 0, 2.25),
        ("elementwise", 0, 1),
    ]


def test_the_softmax_of_eager_attention_runs_wide() -> None:
    heads = 2
    layers = net(linear("qkv", out=24), {"attention": {"name": "scores", "heads": heads}})
    scores = heads * 4 * 4 / SIZE
    kernels = moved(lower(layers, Software(autocast=True), training=False))
    softmax = [name for name, *_ in kernels].index("softmax")
    assert kernels[softmax : softmax + 2] == [("softmax", scores, 0, 0, scores), ("elementwise", 0, scores, scores, 0)]


def test_scores_with_a_trained_bias_are_wide_before_the_softmax() -> None:
    heads = 2
    layers = net(linear("qkv", out=24), {"attention": {"name": "scores", "heads": heads, "relative_positions": 7}})
    scores = heads * 4 * 4 / SIZE
    kernels = moved(lower(layers, Software(autocast=True), training=False))
    softmax = [name for name, *_ in kernels].index("softmax")
    assert kernels[softmax - 1][-1] == scores
    assert kernels[softmax : softmax + 2] == [("softmax", 0, scores, 0, scores), ("elementwise", 0, scores, scores, 0)]


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "mobilenet_v2"])
def test_networks_of_convolutions_and_batch_norm_stay_narrow(name: str) -> None:
    kernels = lower(load_workload(name), Software(autocast=True), training=False)
    assert not kernels.distinct.read[Role.WIDE].any()
    assert not kernels.distinct.write[Role.WIDE].any()


@pytest.mark.parametrize(
    ("framework", "precision", "wide"),
    [
        *(("pytorch", "amp", True), ("pytorch", "fp16", False), ("pytorch", "fp32", False)),
        *(("pytorch-apex", "amp", False), ("tensorflow", "amp", False), ("tensorflow-xla", "amp", True)),
    ],
)
def test_who_promotes_in_mixed_precision_alone(framework: str, precision: str, wide: bool) -> None:
    kernels = kernels_of(load_workload("vit_b_16"), Options(framework=framework, precision=precision))
    assert bool(kernels.distinct.write[Role.WIDE].any()) is wide
