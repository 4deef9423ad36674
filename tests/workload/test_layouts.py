"""Which convolutions find channels innermost: by hand, in families, and as PyTorch lays tensors out."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.op.kernel import OpClass, Phase, Role
from simulator.pipeline import kernels_of
from simulator.pipeline.options import Options
from simulator.workload.importers.torch import Tracing, from_torch
from simulator.workload.layouts import channels_last
from simulator.workload.lowering import Software, lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload


def net(*layers: Any) -> Workload:
    return read_workload({"name": "n", "input": [4, 8, 8], "layers": list(layers)}, "n.yaml")


def conv(name: str) -> dict[str, Any]:
    return {"conv": {"name": name, "out": 4, "kernel": 7, "padding": 3, "groups": 4}}


def test_a_norm_over_the_channels_of_each_pixel_leaves_them_innermost() -> None:
    network = net(conv("a"), "layer_norm", conv("b"), "relu", conv("c"), "global_pool", "flatten")
    assert channels_last(network.layers) == [False, True, True, True, True, False, False]
    kernels = lower(network, training=True)
    columns = kernels.distinct
    found = {
        (network.layers[layer].name, Phase(int(phase))): bool(columns.last[row])
        for layer, row, phase in zip(kernels.layer, kernels.row, kernels.phase, strict=True)
        if columns.op_class[row] == OpClass.CONVOLUTION
    }
    first = {("a", phase) for phase in (Phase.FORWARD, Phase.WEIGHT_GRADIENT)}
    assert {key for key, last in found.items() if not last} == first
    assert {key for key, last in found.items() if last} == {
        (name, phase) for name in "bc" for phase in (Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT)
    }


def test_depthwise_biases_of_images_with_channels_innermost_are_added_by_kernels_of_their_own() -> None:
    network = net(conv("a"), "layer_norm", conv("b"))
    kernels = lower(network, Software(biases=("convolutions",)), training=False)
    names = [network.layers[layer].name for layer in kernels.layer]
    assert (names.count("a"), names.count("b")) == (1, 2)


def test_convnexts_run_with_channels_innermost_but_for_the_stem() -> None:
    kernels = kernels_of(load_workload("convnext_tiny"), Options(framework="pytorch", task="infer"))
    columns = kernels.distinct
    convolutions = columns.op_class == OpClass.CONVOLUTION
    assert (columns.window[0][convolutions & ~columns.last] == 4).all()
    assert columns.last[convolutions & (columns.groups > 1)].all()


def test_a_trace_sees_how_images_lie_and_copies_slices_of_channels() -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.part = (torch.nn.Conv2d(n, n, 7, padding=3, groups=n) for n in (8, 4))
            self.norm, self.last = torch.nn.LayerNorm(8), torch.nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: Any) -> Any:
            """Channels first; half of them; channels last, also behind a pooling."""
            x = self.first(x)
            x = torch.cat([self.part(x[:, :4]), x[:, 4:]], 1)
            x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return self.last(torch.nn.functional.max_pool2d(self.last(x), 2))

    traced = from_torch(Net(), torch.zeros(1, 8, 16, 16), Tracing(training=False))
    kernels = [list(layer.op.forward(layer.site(training=False))) for layer in traced.layers]
    convolutions = [one for one in kernels if one and one[-1].op_class is OpClass.CONVOLUTION]
    assert [one[-1].last for one in convolutions] == [False, False, True, True]
    assert [len(one) for one in convolutions] == [1, 2, 1, 1]
    copy = convolutions[1][0]
    assert copy.op_class is OpClass.COPY
    assert dict(copy.read)[Role.ACTIVATION].per_sample == dict(copy.write)[Role.ACTIVATION].per_sample == 4 * 16 * 16
