"""The shipped classics: totals exact to the integer, and layer by layer against traces of other people's networks."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from simulator.op.base import elements
from simulator.op.kernel import Engine, Phase
from simulator.op.kernels import at_batch
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload
from simulator.workload.table import layer_table

TRUTH = Path(__file__).resolve().parents[2].parent / "shared" / "facts" / "layer_truth"

TOTALS = {
    # name: (trained values, multiply-accumulates of one forward pass of one sample)
    "lenet5": (431_080, 2_293_000),  # BVLC Caffe, examples/mnist
    "alexnet": (60_965_224, 724_406_816),  # BVLC Caffe, bvlc_alexnet
    "alexnet_torchvision": (61_100_840, 714_188_480),  # torchvision 0.29.1, traced
    "vgg16": (138_357_544, 15_470_264_320),  # torchvision 0.29.1, traced
    "googlenet": (6_998_552, 1_582_671_872),  # BVLC Caffe, bvlc_googlenet
    "resnet50": (25_557_032, 4_089_184_256),  # torchvision 0.29.1, traced
    "se_resnet50": (28_088_024, 3_860_488_192),  # the authors' Caffe network
    "senet154": (115_088_984, 20_688_363_520),  # the authors' Caffe network
    "mobilenet_v2": (3_504_872, 300_774_272),  # torchvision 0.29.1, traced
}

TRACES = {
    "lenet5": "caffe_lenet5",
    "alexnet": "alexnet_caffe_bvlc",
    "alexnet_torchvision": "alexnet_torchvision",
    "vgg16": "vgg16_torchvision",
    "googlenet": "googlenet_caffe_bvlc",
    "resnet50": "resnet50",
    "se_resnet50": "se_resnet50",
    "senet154": "senet154",
    "mobilenet_v2": "mobilenet_v2",
}

by_name = pytest.mark.parametrize("name", TOTALS)


@by_name
def test_totals_are_exact(name: str) -> None:
    workload = load_workload(name)
    assert (workload.parameters, workload.macs) == TOTALS[name]


@by_name
def test_kernels_do_the_macs_that_are_stated(name: str) -> None:
    """Twice the MACs forward on the matrix engine, twice that backward but for the first layer's input gradient."""
    workload = load_workload(name)
    kernels = lower(workload)
    flops = at_batch(kernels.flops, 1.0) * (kernels.engine == Engine.MATRIX)
    forward = float(flops[kernels.phase == Phase.FORWARD].sum())
    backward = float(flops[kernels.phase != Phase.FORWARD].sum())
    first = next(count.macs for count in workload.counts if count.macs)
    assert forward == 2 * workload.macs
    assert backward == 2 * (2 * workload.macs - first)


@by_name
def test_the_table_sums_to_the_totals(name: str) -> None:
    workload = load_workload(name)
    rows = layer_table(workload)
    assert sum(row.parameters for row in rows) == workload.parameters
    assert sum(row.macs for row in rows) == workload.macs
    assert all(row.flops >= 2 * row.macs for row in rows)


def table(name: str) -> list[dict[str, str]]:
    """The rows of a trace, where the tables of traces lie beside this checkout."""
    path = TRUTH / f"{TRACES[name]}.csv"
    if not path.is_file():
        pytest.skip("the tables of traces are not beside this checkout")
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def traced(name: str) -> dict[str, tuple[tuple[int, ...], int, int]]:
    """Name -> (output shape, trained values, MACs) of the layers that compute products."""
    found = {}
    for row in table(name):
        if int(row["macs_forward"]):
            shape = tuple(int(side) for side in row["output_shape"].split("x"))[1:]
            trained = int(row["params"]) - int(row.get("stat_params") or 0)
            found[row["layer_name"]] = (shape, trained, int(row["macs_forward"]))
    return found


@by_name
def test_every_layer_with_macs_is_exact(name: str) -> None:
    workload = load_workload(name)
    ours = {
        layer.name: (layer.output, layer.parameters, count.macs)
        for layer, count in zip(workload.layers, workload.counts, strict=True)
        if count.macs
    }
    theirs = traced(name)
    assert set(ours) == set(theirs)
    for layer, (shape, trained, macs) in ours.items():
        their_shape, *rest = theirs[layer]
        assert (trained, macs) == tuple(rest), layer
        assert [side for side in shape if side > 1] == [side for side in their_shape if side > 1], layer


@by_name
def test_every_normalisation_is_exact(name: str) -> None:
    """Shapes of batch and local response normalisation, as multisets, since frameworks name them differently."""
    kinds = {"native_batch_norm": "batch_norm", "LRN": "lrn"}
    theirs = sorted(
        (kinds[row["op_type"]], math.prod(int(side) for side in row["output_shape"].split("x")))
        for row in table(name)
        if row["op_type"] in kinds
    )
    ours = sorted(
        (layer.op.kind, elements(layer.output))
        for layer in load_workload(name).layers
        if layer.op.kind in kinds.values()
    )
    assert ours == theirs


def test_se_adds_what_the_paper_says() -> None:
    """Two 1x1 layers a block: no more MACs than weights, since the maps are 1 x 1."""
    plain, squeezed = load_workload("resnet50"), load_workload("se_resnet50")
    assert squeezed.parameters - plain.parameters == 2_530_992
    gates = [
        (layer.parameters, count.macs)
        for layer, count in zip(squeezed.layers, squeezed.counts, strict=True)
        if ".se_module.fc" in layer.name
    ]
    assert len(gates) == 32
    assert sum(parameters for parameters, _ in gates) == 2_530_992
    assert sum(macs for _, macs in gates) == 2_514_944


@pytest.mark.parametrize("variant", [1, 2])
def test_an_alias_is_the_same_network(variant: int) -> None:
    name, alias = {1: ("senet154", "senet"), 2: ("googlenet", "inception_v1")}[variant]
    assert load_workload(alias).name == name
