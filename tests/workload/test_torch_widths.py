"""What automatic mixed precision keeps in full width in traced networks: the rules, then networks against the zoo's."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.op.kernel import OpClass, Role
from simulator.op.kernels import Kernels
from simulator.workload.importers.torch import Tracing, from_torch
from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.widths import casts_first, gives_full_width
from simulator.workload.lowering import Software, lower
from simulator.workload.reading import read_workload

COMPUTED, OWN = 1, 2
"""Memory of what follows from the input, and of a parameter."""


def tensor(*shape: int, kind: Kind = Kind.ACTIVATION, storage: int = COMPUTED) -> Tensor:
    return Tensor(shape, 1, kind, storage, 0)


def gamma(*shape: int) -> Tensor:
    return tensor(*shape, kind=Kind.WEIGHT, storage=OWN)


def wide(name: str, *args: Any, output: Tensor | None = None) -> bool:
    call = Call(name, "", list(args), {}, (output or tensor(4, 8, storage=3),), "", 0, free=False)
    return gives_full_width(call, {COMPUTED: 0})


def test_norms_and_softmax_are_in_full_width_sums_of_two_activations_are_not() -> None:
    names = ("native_layer_norm", "_softmax", "pow", "gelu", "relu_", "convolution")
    assert [wide(name, tensor(4, 8)) for name in names] == [True, True, True, False, False, False]
    assert not wide("add", tensor(4, 8), tensor(4, 8))


def test_sums_in_full_width_read_what_they_sum_as_it_lies() -> None:
    calls = [
        Call(name, "", [], {}, (), "", 0, free=False) for name in ("linalg_vector_norm", "norm", "sum", "logsumexp")
    ]
    assert [casts_first(call) for call in calls] == [False, False, False, True]
    assert all(wide(name, tensor(4, 8)) for name in ("linalg_vector_norm", "norm", "sum", "logsumexp"))


def test_what_meets_a_parameter_becomes_as_wide() -> None:
    assert wide("mul", tensor(4, 8), gamma(8))
    assert wide("cat", [gamma(1, 8), tensor(4, 8)])
    assert not wide("mul", tensor(4, 8), gamma())  # a single number does not promote
    assert not wide("add_", tensor(4, 8), gamma(8), output=tensor(4, 8))  # in place: as wide as it was
    assert not wide("convolution", tensor(4, 8), gamma(8))  # cast to the products' width


def test_what_is_made_of_constants_is_in_full_width() -> None:
    assert wide("index", gamma(8, 8), tensor(4, kind=Kind.INDEX, storage=OWN))
    assert not wide("arange", 4, output=tensor(4, kind=Kind.INDEX, storage=3))


def test_only_norms_and_powers_are_cast_by_a_kernel_of_their_own() -> None:
    calls = [Call(name, "", [], {}, (), "", 0, free=False) for name in ("native_layer_norm", "exp_", "_softmax", "mul")]
    assert [casts_first(call) for call in calls] == [True, True, False, False]


@pytest.fixture(name="torch", scope="module")
def torch_module() -> Any:
    return pytest.importorskip("torch")


AMP = Software(autocast=True, master_weights=True)


def moved(kernels: Kernels) -> list[tuple[str, float, float, float, float]]:
    """(class, narrow read, wide read, narrow written, wide written) a sample of each launch, casts of weights aside."""
    table, found = kernels.distinct, []
    for row in kernels.row:
        sums = [
            float(each[role, 1, row]) for each in (table.read, table.write) for role in (Role.ACTIVATION, Role.WIDE)
        ]
        found.append((OpClass(table.op_class[row]).name.lower(), *sums))
    return [each for each in found if each[0] != "cast"]


def traced(torch: Any, module: Any, *shape: int) -> Any:
    return from_torch(module.eval(), torch.zeros(1, *shape), Tracing("n", training=False))


def test_a_traced_block_moves_what_the_zoos_moves(torch: Any) -> None:
    nn = torch.nn
    net = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())
    layers = [{"linear": {"out": 8}}, {"layer_norm": {}}, {"linear": {"out": 8}}, {"gelu": {}}]
    zoo = read_workload({"name": "n", "input": [4, 8], "layers": layers}, "n.yaml")
    mine = moved(lower(traced(torch, net, 4, 8), AMP, training=False))
    assert mine == moved(lower(zoo, AMP, training=False))
    assert ("normalization", 0, 32, 0, 32) in mine


def test_a_trained_scale_makes_the_residual_stream_wide(torch: Any) -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.gamma = torch.nn.Linear(8, 8), torch.nn.Parameter(torch.ones(8))

        def forward(self, x: Any) -> Any:
            x = self.inner(x)
            return x + self.gamma * self.inner(x)

    kernels = moved(lower(traced(torch, Scaled(), 4, 8), AMP, training=False))
    # the scale reads narrow values and writes wide ones; the sum reads one of each
    assert kernels[-2:] == [("elementwise", 32, 0, 0, 32), ("elementwise", 32, 32, 0, 32)]


def test_a_constant_is_cast_once_for_all_samples(torch: Any) -> None:
    class Standardised(torch.nn.Conv2d):
        def forward(self, x: Any) -> Any:
            return self._conv_forward(x, self.weight - self.weight.mean(), None)

    kernels = lower(traced(torch, Standardised(3, 5, 3), 3, 8, 8), AMP, training=False)
    wide_reads = kernels.distinct.read[Role.WIDE][:, kernels.row]
    assert wide_reads[1].sum() == 0  # none a sample
    assert 5 * 3 * 9 in wide_reads[0]  # the filters, once


def test_a_channel_wise_factor_in_full_width_does_not_widen_what_it_multiplies(torch: Any) -> None:
    # Gate: x * softmax(mean(x)): x is read narrow, 4 x 8 x 8 values, the 4 factors wide; the product is wide.
    class Gate(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            return torch.softmax(x.mean((2, 3), keepdim=True), 1) * x

    traced = from_torch(Gate().eval(), torch.zeros(1, 4, 8, 8), Tracing("n", training=False))
    kernels = lower(traced, Software(autocast=True), training=False)
    last = len(kernels) - 1
    read = kernels.read[:, 1, last]
    assert (read[Role.WIDE], read[Role.ACTIVATION], kernels.write[Role.WIDE, 1, last]) == (4, 256, 256)


def test_sums_of_few_values_are_loops_over_what_they_give(torch: Any) -> None:
    class Sums(torch.nn.Module):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            return x.sum(1), x.sum(2)

    traced = from_torch(Sums().eval(), torch.zeros(1, 8, 9), Tracing("n", training=False))
    kernels = lower(traced, training=False)
    assert [OpClass(kernels.distinct.op_class[row]) for row in kernels.row] == [OpClass.ELEMENTWISE, OpClass.REDUCTION]


def test_what_a_product_is_taken_apart_into_is_narrow(torch: Any) -> None:
    # A linear layer over positions of a transposed tensor copies it, multiplies and adds the bias, all in half width.
    class Mixer(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.tokens = torch.nn.LayerNorm(8), torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.tokens(self.norm(x).transpose(1, 2))

    traced = from_torch(Mixer().eval(), torch.zeros(1, 4, 8), Tracing("n", training=False))
    assert [(layer.op.kind, layer.op.narrows) for layer in traced.layers] == [
        ("native_layer_norm", False),
        ("clone", True),
        ("mm", True),
        ("add", True),
    ]
    kernels = lower(traced, Software(autocast=True), training=False)
    wide = kernels.read[Role.WIDE, 1] + kernels.write[Role.WIDE, 1]
    assert wide.tolist() == [32, 64, 32, 0, 0, 0]  # the cast before the norm, the norm, the cast before the copy
    compiled = lower(traced, Software(autocast=True, fuse=True, inline=True), training=False)
    assert not (compiled.read[Role.WIDE, 1] + compiled.write[Role.WIDE, 1]).any()  # all of it in one loop, narrow
