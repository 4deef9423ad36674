"""The PyTorch tracer: cost rules worked by hand, then networks built by hand against the zoo's and against arithmetic.

What the zoo counts for ResNet-50, and the trace must find: convolutions, batch normalisation in two passes forward and
two backward, ReLU, the residual addition, pooling, the classifier, the loss, and one sum of gradients at each fan-out.
The two differ by the loss alone (one fused kernel there, log-softmax and look-up here): a thousandth of a percent.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError, SimulatorError, UnsupportedError
from simulator.execution.memory import footprint
from simulator.op.base import Site
from simulator.op.fused_attention import FusedAttention
from simulator.op.kernel import Phase, Role, each
from simulator.op.kernels import at_batch
from simulator.op.optimizer import get_optimizer
from simulator.precision import get_precision
from simulator.workload.importers import Request
from simulator.workload.importers import torch as importer
from simulator.workload.importers.torch import Tracing, from_torch
from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.norms import keeps_statistics
from simulator.workload.importers.torch.rules import When, find_rule, rules
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload

# ---- cost rules, which need no PyTorch


def tensor(*shape: int, kind: Kind = Kind.ACTIVATION) -> Tensor:
    return Tensor(shape, int(np.prod(shape)), kind, 0, 0)


def call(name: str, args: list[Any], *outputs: Tensor) -> Call:
    return Call(name, "", args, {}, outputs, "", 0, free=False)


def drafts(name: str, args: list[Any], *outputs: Tensor) -> list[Any]:
    rule = find_rule(name)
    assert rule is not None
    return rule(call(name, args, *outputs))


def test_grouped_convolution_and_its_gradients_do_the_same_macs() -> None:
    # 8 -> 12 channels in 4 groups, 3x3, 6x6 -> 4x4: 2 * 12 * 16 outputs of 2 * 9 products = 6912 MACs at batch 2
    x, w, y = tensor(2, 8, 6, 6), tensor(12, 2, 3, 3, kind=Kind.WEIGHT), tensor(2, 12, 4, 4)
    geometry = [[1, 1], [0, 0], [1, 1], False, [0, 0], 4]
    (forward,) = drafts("convolution", [x, w, None, *geometry], y)
    grads = (tensor(*x.shape), tensor(*w.shape), tensor(12))
    backward = drafts("convolution_backward", [y, x, w, [12], *geometry, [True, True, True]], *grads)
    assert [draft.flops for draft in (forward, *backward)] == [2 * 6912, 2 * 6912, 2 * 6912, 2 * 12 * 16]
    assert all(2 * np.prod(draft.gemm) == draft.flops for draft in (forward, *backward[:2]))
    assert forward.gemm == (2 * 16, 3, 18, 4)
    assert forward.read == ((Kind.ACTIVATION, 576), (Kind.WEIGHT, 216))


def test_convolution_backward_leaves_out_what_is_not_asked_for() -> None:
    x, w, y = tensor(2, 3, 6, 6), tensor(4, 3, 3, 3), tensor(2, 4, 4, 4)
    geometry = [[1, 1], [0, 0], [1, 1], False, [0, 0], 1]
    (only,) = drafts("convolution_backward", [y, x, w, None, *geometry, [False, True, False]], tensor(4, 3, 3, 3))
    assert only.write == ((Kind.ACTIVATION, 108),)


def test_transposed_convolution_pairs_every_input_with_its_weights() -> None:
    # 8 -> 4 channels in 2 groups, 3x3: 8 * 25 inputs, each with 2 * 9 weights = 3600 MACs
    x, w, y = tensor(1, 8, 5, 5), tensor(8, 2, 3, 3), tensor(1, 4, 11, 11)
    (draft,) = drafts("convolution", [x, w, None, [2, 2], [0, 0], [1, 1], True, [0, 0], 2], y)
    assert draft.flops == 2 * 3600 == 2 * np.prod(draft.gemm)


def test_products() -> None:
    (batched,) = drafts("bmm", [tensor(6, 4, 5), tensor(6, 5, 7)], tensor(6, 4, 7))
    assert (batched.flops, batched.gemm) == (2 * 6 * 4 * 5 * 7, (4, 7, 5, 6))
    (added,) = drafts("addmm", [tensor(7), tensor(4, 5), tensor(5, 7)], tensor(4, 7))
    assert added.flops == 2 * 4 * 5 * 7
    assert sum(count for _, count in added.read) == 7 + 20 + 35


def test_layer_norm_reads_a_long_row_twice() -> None:
    for features, passes in ((1024, 1), (2**15, 2)):
        x = tensor(2, features)
        training, inference = drafts("native_layer_norm", [x, [features], None, None, 1e-5], x, tensor(2), tensor(2))
        assert training.read == ((Kind.ACTIVATION, 2 * features),) * passes
        assert sum(count for _, count in training.write) == 2 * features + 4
        assert inference.write == ((Kind.ACTIVATION, 2 * features),)


def test_instance_normalisation_is_no_scale_and_shift_at_inference() -> None:
    x = tensor(1, 8, 4, 4)
    args = [x, None, None, None, None, True, 0.1, 1e-5]
    assert not keeps_statistics(call("native_batch_norm", args, x))
    assert [draft.when for draft in drafts("native_batch_norm", args, x)] == [When.ALWAYS, When.ALWAYS]
    args[3] = tensor(8)
    assert [draft.when for draft in drafts("native_batch_norm", args, x)] == [When.TRAINING, When.ALWAYS]
    assert keeps_statistics(call("native_batch_norm", args, x))


def test_a_repeated_operand_is_read_once() -> None:
    wide = Tensor((4, 8), 8, Kind.ACTIVATION, 0, 0)
    (draft,) = drafts("add_", [tensor(4, 8), wide], tensor(4, 8))
    assert [count for _, count in draft.read] == [32, 8]
    assert draft.flops == 32


def test_many_functions_have_a_rule() -> None:
    assert len(rules()) > 300
    assert find_rule("linalg_svd") is None


def test_without_pytorch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnsupportedError, match=r"pip install roofline-simulator\[torch\]"):
        importer.load("package:net", Request(input_shape=(3, 8, 8)))


# ---- networks


@pytest.fixture(name="torch")
def torch_module() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture(name="nets")
def networks(torch: Any, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ARG001
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import torch_networks

    return torch_networks


def on_meta(torch: Any, make: Any) -> Any:
    with torch.device("meta"):
        return make()


def traffic(workload: Workload, phases: tuple[Phase, ...], batch: int = 32) -> float:
    kernels = lower(workload)
    wanted = np.isin(kernels.phase, phases)
    return float(at_batch(kernels.read + kernels.write, batch).sum(0)[wanted].sum())


def flops(workload: Workload, *phases: Phase) -> float:
    kernels = lower(workload)
    return float(at_batch(kernels.flops, 1.0)[np.isin(kernels.phase, phases)].sum())


BACKWARD = (Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT)


def resnext() -> Workload:
    content = {"name": "resnext50", "family": "resnet", "blocks": [3, 4, 6, 3], "groups": 32, "base_width": 4}
    return read_workload({**content, "input": [3, 224, 224]}, "test")


CASES = [
    ("ResNet-50", lambda nets: nets.ResNet(), lambda: load_workload("resnet50"), 4_089_184_256, 25_557_032),
    ("ResNeXt-50", lambda nets: nets.ResNet(32, 4), resnext, 4_230_479_872, 25_028_904),
    ("MobileNetV2", lambda nets: nets.mobilenet_v2(), lambda: load_workload("mobilenet_v2"), 300_774_272, 3_504_872),
]
"""Name, network, the zoo's, MACs and parameters (torchvision's models, counted from their traces)."""


@pytest.mark.parametrize(("name", "make", "zoo", "macs", "parameters"), CASES, ids=[case[0] for case in CASES])
def test_agrees_with_the_zoo(torch: Any, nets: Any, name: str, make: Any, zoo: Any, macs: int, parameters: int) -> None:
    traced = from_torch(on_meta(torch, lambda: make(nets)), torch.empty(1, 3, 224, 224, device="meta"))
    known = zoo()
    assert (traced.macs, traced.parameters) == (known.macs, known.parameters) == (macs, parameters), name
    for phases in ((Phase.FORWARD,), BACKWARD, (Phase.UPDATE,)):
        assert traffic(traced, phases) == pytest.approx(traffic(known, phases), rel=0.02)
    for phase in (Phase.FORWARD, *BACKWARD):
        assert flops(traced, phase) == pytest.approx(flops(known, phase), rel=0.02)
    assert len(lower(traced, training=False)) == len(lower(known, training=False))


def test_layers_are_named_by_module_and_match_the_zoo_one_by_one(torch: Any, nets: Any) -> None:
    traced = from_torch(on_meta(torch, nets.ResNet), torch.empty(1, 3, 224, 224, device="meta"))
    known = load_workload("resnet50")
    theirs = {layer.name: (layer.output, layer.parameters) for layer in known.layers if layer.parameters}
    ours = {layer.name: (layer.output, layer.parameters) for layer in traced.layers if layer.parameters}
    assert ours == theirs
    assert {"layer1.0.relu", "layer1.0.relu_2", "layer1.0.add"} <= {layer.name for layer in traced.layers}


def test_what_autograd_keeps_is_what_the_zoo_keeps(torch: Any, nets: Any) -> None:
    traced = from_torch(on_meta(torch, nets.ResNet), torch.empty(1, 3, 224, 224, device="meta"))
    sizes = [
        footprint(net, 32, get_precision("fp32"), 1e12, optimizer).activations_bytes
        for net in (traced, load_workload("resnet50"))
        for optimizer in (get_optimizer("sgd"), None)
    ]
    assert sizes[:2] == pytest.approx(sizes[2:], rel=1e-3)


def test_transformer_with_eager_and_fused_attention(torch: Any, nets: Any) -> None:
    tokens = torch.zeros(1, 32, dtype=torch.long)
    eager, fused = (from_torch(nets.Transformer(eager=eager), tokens) for eager in (True, False))
    # 2 blocks: 32 positions * 12 * 32 * 32 in linear layers, 2 * 32 * 32 * 32 in attention; head 32 * 32 * 100
    macs = 2 * (32 * 12 * 32 * 32 + 2 * 32 * 32 * 32) + 32 * 32 * 100
    # the head's table is the tokens'; 12 * 32 * 32 weights, 9 * 32 biases and 4 * 32 of two norms a block; last norm
    parameters = 100 * 32 + 32 * 32 + 2 * (12 * 32 * 32 + 13 * 32) + 64
    assert (eager.macs, fused.macs) == (macs, macs)
    assert (eager.parameters, fused.parameters) == (parameters, parameters)
    assert traffic(fused, (Phase.FORWARD,)) < traffic(eager, (Phase.FORWARD,))
    apart = from_torch(nets.Transformer(eager=False), tokens, Tracing(attention="eager"))
    assert apart.macs == macs
    assert not any("attention" in layer.op.kind for layer in apart.layers)


def test_a_workload_is_traced_by_keywords_as_by_a_record(torch: Any, nets: Any) -> None:
    net, tokens = nets.Transformer(eager=False), torch.zeros(1, 32, dtype=torch.long)
    by_keywords = Workload.from_torch(net, tokens, attention="eager", training=False, trace="meta", rules=None)
    by_record = from_torch(net, tokens, Tracing(attention="eager", training=False))
    assert by_keywords.counts == by_record.counts
    with pytest.raises(InputError, match='trace is "meta" or "real", not \'fake\''):
        Workload.from_torch(net, tokens, trace="fake")
    with pytest.raises(TypeError, match="losses"):
        Workload.from_torch(net, tokens, losses=1)


def test_fused_attention_is_the_zoos(torch: Any, nets: Any) -> None:
    workload = from_torch(nets.Transformer(eager=False), torch.zeros(1, 32, dtype=torch.long))
    layer = next(layer for layer in workload.layers if "attention" in layer.op.kind)
    ours = [*layer.op.forward(layer.site()), *layer.op.backward(layer.site())]
    op, site = FusedAttention(heads=4, causal=True), Site(((32, 96),), (32, 32))
    for mine, theirs in zip(ours, [*op.forward(site), *op.backward(site)], strict=True):
        assert (mine.op_class, mine.phase, mine.flops, mine.gemm) == (
            theirs.op_class,
            theirs.phase,
            theirs.flops,
            theirs.gemm,
        )
        for moved in ("read", "write"):
            assert _by_role(getattr(mine, moved)) == _by_role(getattr(theirs, moved))


def _by_role(moved: Any) -> dict[Role, float]:
    table: dict[Role, float] = {}
    for role, count in moved:
        assert count == each(count.per_sample)
        table[role] = table.get(role, 0) + count.per_sample
    return table


def test_key_heads_shared_by_query_heads(torch: Any) -> None:
    class Grouped(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = torch.nn.Linear(16, 16), torch.nn.Linear(16, 8)

        def forward(self, x: Any) -> Any:
            q, k = self.query(x).view(-1, 6, 4, 4).transpose(1, 2), self.key(x).view(-1, 6, 2, 4).transpose(1, 2)
            return torch.nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    workload = from_torch(Grouped(), torch.zeros(1, 6, 16))
    (kernel,) = next(layer for layer in workload.layers if "attention" in layer.op.kind).op.forward_kernels
    assert _by_role(kernel.read) == {Role.ACTIVATION: 6 * 16 + 2 * 6 * 8}
    assert workload.macs == 6 * 16 * (16 + 8) + 2 * 4 * 6 * 6 * 4


def test_an_lstm_is_one_call_of_the_library(torch: Any) -> None:
    net = torch.nn.LSTM(4, 5, batch_first=True)
    workload = from_torch(net, torch.zeros(1, 3, 4), Tracing(loss=lambda output: output[0].sum()))
    assert workload.macs == 3 * 4 * 5 * (4 + 5)
    assert workload.parameters == 4 * 5 * (4 + 5 + 2)
    assert [layer.op.kind for layer in workload.layers].count("cudnn_rnn") == 1


def test_counts_are_affine_in_the_batch(torch: Any, nets: Any) -> None:
    """Predicted from batches 2 and 3, seen at batch 5."""
    from simulator.workload.importers.torch.run import record

    model, image = on_meta(torch, nets.mobilenet_v2), torch.empty(1, 3, 32, 32, device="meta")
    workload = from_torch(model, image)
    recording = record(model, [image], 5, importer.Tracing())
    last = recording.forward[-1]  # the loss, a number
    counted = [one for one in recording.forward if not one.free and one.outputs[0].shape]  # no counters of batches
    seen = [draft for one in counted for draft in find_rule(one.name)(one)]
    expected = sum(draft.flops for draft in seen) + sum(draft.flops for draft in find_rule(last.name)(last))
    kernels = lower(workload)
    assert at_batch(kernels.flops, 5.0)[kernels.phase == Phase.FORWARD].sum() == expected


def test_functional_calls_views_and_constants(torch: Any) -> None:
    class Mixed(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(4, 3, 3, 3))
            self.mask = torch.ones(1, 4, 1, 1)

        def forward(self, x: Any) -> Any:
            x = torch.nn.functional.conv2d(x, self.weight, padding=1) * self.mask
            left, right = x.chunk(2, dim=1)
            joined = torch.cat([left.sigmoid(), torch.roll(right, 1, 2)], dim=1)
            return torch.nn.functional.interpolate(joined, scale_factor=2).mean((2, 3))

    workload = from_torch(Mixed(), torch.zeros(2, 3, 8, 8))
    assert workload.macs == 4 * 64 * 27
    assert workload.parameters == 108
    assert workload.batch == 2
    kinds = [layer.op.kind for layer in workload.layers]
    assert {"convolution", "mul", "split", "sigmoid", "roll", "cat", "upsample_nearest2d", "mean"} <= set(kinds)
    split = workload.layers[kinds.index("split")]
    assert split.op.view
    assert split.output == (2, 8, 8)


def test_the_module_is_left_as_it_was(torch: Any) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    from_torch(net, torch.zeros(1, 3, 8, 8))
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None and parameter.device.type == "cpu" for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_frozen_weights_are_counted_and_not_differentiated(torch: Any) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 3))
    net[0].requires_grad_(requires_grad=False)
    workload = from_torch(net, torch.zeros(1, 4))
    assert (workload.parameters, workload.trained) == (27 + 40, 27)
    assert not workload.layers[0].op.backward(workload.layers[0].site())
    with pytest.raises(InputError, match="no output depends on a trained parameter"):
        from_torch(net.requires_grad_(requires_grad=False), torch.zeros(1, 4))


def test_what_checkpointing_computes_again_is_part_of_the_backward_pass(torch: Any) -> None:
    from torch.utils.checkpoint import checkpoint

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, *, again: bool) -> None:
            super().__init__()
            self.again, self.first, self.second = again, torch.nn.Linear(4, 4), torch.nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            x = self.first(x)
            return checkpoint(self.rest, x, use_reentrant=False) if self.again else self.rest(x)

        def rest(self, x: Any) -> Any:
            return torch.relu(self.second(x))

    plain, again = (from_torch(Net(again=again), torch.zeros(1, 4)) for again in (False, True))
    assert plain.macs == again.macs == 28
    assert flops(again, *BACKWARD) - flops(plain, *BACKWARD) == 2 * 12 + 3  # the product and its ReLU


class Bessel:
    """Makes a network with an operation that has no rule."""

    def __new__(cls, torch: Any) -> Any:
        class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.linear = torch.nn.Linear(4, 4)

            def forward(self, x: Any) -> Any:
                return torch.special.i1(self.linear(x))

        return Net()


def test_an_operation_without_a_rule_is_named(torch: Any) -> None:
    with pytest.raises(UnsupportedError, match="aten::special_i1"):
        from_torch(Bessel(torch), torch.zeros(1, 4, 4))
    workload = from_torch(Bessel(torch), torch.zeros(1, 4, 4), Tracing(allow_unknown=True))
    assert "special_i1" in workload.unknown
    assert workload.coverage < 1
    assert workload.macs == 64


def test_pairs_of_samples_are_counted_as_in_a_common_batch(torch: Any) -> None:
    class Similar(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            near = self.linear(x) @ self.linear(x).T
            return near @ near if self.cubed else near

        cubed = False

    workload = from_torch(Similar(), torch.zeros(1, 4))
    # two of 4 x 4 a sample, 4 for each of the 32 that it meets
    assert workload.macs == 2 * 16 + 4 * 32
    assert "counted as in a batch of 32" in workload.description
    Similar.cubed = True
    with pytest.raises(UnsupportedError, match="samples that meet"):
        from_torch(Similar(), torch.zeros(1, 4))


# ---- files and modules

FILE = """
import torch
from torch import nn
import helper_of_net

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, helper_of_net.CLASSES))

def words():
    return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))

def wrong():
    raise ValueError("two\\nlines")

ready = net()
number = 3
"""


@pytest.fixture(name="file")
def net_file(torch: Any, tmp_path: Path) -> Path:  # noqa: ARG001
    (tmp_path / "helper_of_net.py").write_text("CLASSES = 5\n")
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


def test_from_a_file(file: Path) -> None:
    for name in ("net", "ready"):
        workload = load_workload(f"torch:{file}:{name}", request=Request(input_shape=(3, 8, 8)))
        assert workload.macs == 4 * 36 * 27 + 4 * 36 * 5
        assert workload.inputs == ((3, 8, 8),)


def test_tokens_where_a_model_starts_with_an_embedding(file: Path) -> None:
    workload = load_workload(f"torch:{file}:words", request=Request(sequence=5))
    assert (workload.macs, workload.parameters) == (60, 36 + 63)
    assert workload.layers[0].op.kind == "embedding"


@pytest.mark.parametrize(
    ("location", "shape", "words"),
    [
        ("net.py:nett", (3, 8, 8), "did you mean 'net'"),
        ("net.py:wrong", (3, 8, 8), "ValueError: two lines"),
        ("net.py:number", (3, 8, 8), "expected an nn.Module"),
        ("net.py:net", (3, 9, 8), "RuntimeError: "),
        ("net.py:net", None, "--input 3,224,224"),
        ("net.py", (3, 8, 8), "torch:path/to/file.py:callable"),
        ("other.py:net", (3, 8, 8), "no such file"),
    ],
)
def test_errors_of_the_user_are_one_line(file: Path, location: str, shape: Any, words: str) -> None:
    with pytest.raises(SimulatorError, match=words) as caught:
        importer.load(f"{file.parent}/{location}", Request(input_shape=shape))
    assert "\n" not in str(caught.value)


def test_a_module_that_cannot_be_imported(torch: Any) -> None:  # noqa: ARG001
    with pytest.raises(InputError, match="ModuleNotFoundError"):
        importer.load("no_such_package.module:net", Request(input_shape=(3, 8, 8)))


def test_weights_that_the_network_works_out_are_weights(torch: Any) -> None:
    class Standardised(torch.nn.Conv2d):  # type: ignore[misc,name-defined]
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), None)

    workload = from_torch(Standardised(2, 4, 3, bias=False), torch.zeros(1, 2, 8, 8), Tracing("n", training=False))
    (kernel,) = workload.layers[-1].op.inference_kernels
    assert [(role, sum(count)) for role, count in kernel.read] == [(Role.ACTIVATION, 128), (Role.WEIGHT, 72)]


def test_a_softmax_says_how_long_its_rows_are() -> None:
    scores = tensor(2, 8, 512, 2048)
    for name, args in (("_softmax", [scores, -1, False]), ("_softmax_backward_data", [scores, scores, -1, None])):
        (one,) = drafts(name, args, scores)
        assert one.window.kernel == (1, 2048), name
    (across,) = drafts("_softmax", [scores, 2, False], scores)
    assert across.window.kernel == (1, 512)
    (masked,) = drafts("_masked_softmax", [scores, scores], scores)
    assert masked.window.kernel == (1, 2048)
