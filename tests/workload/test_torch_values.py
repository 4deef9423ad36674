"""The PyTorch tracer where networks ask for values, route among experts, infer alone, or hold what they never use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.errors import InputError, UnsupportedError
from simulator.execution.memory import footprint
from simulator.op.kernel import OpClass, Phase, Role
from simulator.op.optimizer import get_optimizer
from simulator.precision import get_precision
from simulator.workload.importers import Given, Request
from simulator.workload.importers.torch import Tracing, from_torch
from simulator.workload.importers.torch.calls import Call, Kind, Tensor
from simulator.workload.importers.torch.rules import Draft, find_rule
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload


@pytest.fixture(name="torch", scope="module")
def torch_module() -> Any:
    return pytest.importorskip("torch")


def tensor(*shape: int, kind: Kind = Kind.ACTIVATION) -> Tensor:
    size = 1
    for side in shape:
        size *= side
    return Tensor(shape, size, kind, 0, 0)


def drafts(name: str, args: list[Any], *outputs: Tensor) -> list[Draft]:
    rule = find_rule(name)
    assert rule is not None
    return rule(Call(name, "", args, {}, outputs, "", 0, free=False))


# ---- rules by hand


def test_a_fourier_transform_of_real_points() -> None:
    # 2 rows of 64 real points: 5 / 2 * 128 * 6 FLOP; 33 complex numbers a row come out
    (only,) = drafts("_fft_r2c", [tensor(2, 64), [1], 0, True], tensor(2, 33))
    assert only.flops == 1920
    # two sides of 8 x 8 complex points: 5 * 64 * (3 + 3), in two passes over memory
    first, second = drafts("_fft_c2c", [tensor(8, 8), [0, 1], 0, True], tensor(8, 8))
    assert (first.flops, second.flops) == (1920, 0)


def test_linear_algebra() -> None:
    square = tensor(5, 6, 6)
    assert drafts("linalg_cholesky_ex", [square], square)[0].flops == 5 * 72  # n^3 / 3
    assert drafts("linalg_inv_ex", [square], square)[0].flops == 5 * 432
    assert drafts("linalg_lu", [square], square)[0].flops == 5 * 144  # 2 / 3 n^3
    assert drafts("linalg_qr", [tensor(9, 3)], tensor(9, 3))[0].flops == 288  # 4 n^2 (m - n / 3)
    assert drafts("linalg_solve_triangular", [tensor(4, 4), tensor(4, 3)], tensor(4, 3))[0].flops == 48
    assert drafts("_linalg_solve_ex", [tensor(6, 6), tensor(6, 2)], tensor(6, 2))[0].flops == 144 + 2 * 12 * 6


def test_a_bag_of_rows_is_read_and_added() -> None:
    table, indices = tensor(10, 4, kind=Kind.WEIGHT), tensor(6, kind=Kind.INDEX)
    (forward,) = drafts("_embedding_bag", [table, indices, None], tensor(3, 4))
    assert (forward.flops, forward.read[0]) == (24, (Kind.WEIGHT, 24))
    clear, scatter = drafts("_embedding_bag_dense_backward", [tensor(3, 4), indices], tensor(10, 4))
    assert (sum(count for _, count in clear.write), scatter.flops) == (40, 24)
    assert scatter.phase is Phase.WEIGHT_GRADIENT


def test_products_by_expert_do_not_depend_on_the_routing() -> None:
    # 12 rows of 5 by 4 experts of 5 x 7: 12 * 5 * 7 MACs; their gradient 4 x (5 x 7) the same
    offsets = tensor(4, kind=Kind.INDEX)
    (forward,) = drafts("_grouped_mm", [tensor(12, 5), tensor(4, 5, 7), offsets], tensor(12, 7))
    (weights,) = drafts("_grouped_mm", [tensor(5, 12), tensor(12, 7), offsets], tensor(4, 5, 7))
    assert forward.flops == weights.flops == 2 * 420
    assert (forward.gemm, weights.gemm) == ((3, 7, 5, 4), (5, 7, 3, 4))
    assert forward.op_class is OpClass.GEMM


# ---- values


def test_positions_and_masks_have_values(torch: Any) -> None:
    class Packed(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 6)

        def forward(self, x: Any, mask: Any) -> Any:
            positions = torch.arange(x.shape[1], device=x.device)
            if bool((positions.diff() != 1).any()) or not bool(mask.all()):
                raise ValueError("packed sequences")
            chosen = x[:, positions[positions % 2 == 0]]
            return self.second(self.first(chosen))

    mask = torch.ones(1, 8, dtype=torch.bool)
    workload = from_torch(Packed(), {"x": torch.zeros(1, 8, 4), "mask": mask})
    assert workload.macs == 4 * (16 + 24)  # every second of 8 positions
    with pytest.raises(InputError, match="packed sequences"):
        from_torch(Packed(), [torch.zeros(1, 8, 4), ~mask])


def test_constants_that_a_module_writes_have_values(torch: Any) -> None:
    class Constant(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            sides = torch.tensor([2, 3], device=x.device)
            return self.linear(x.expand(int(sides.prod()), *x.shape).sum(0))

    workload = from_torch(Constant(), torch.zeros(1, 4))
    total = next(layer for layer in workload.layers if layer.op.kind == "sum")
    assert total.inputs == ((6, 4),)


def test_values_written_over_by_unknown_numbers_are_unknown(torch: Any) -> None:
    class Overwritten(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            kept = torch.zeros(4, device=x.device)
            view = kept[:2]
            kept.copy_(self.linear(x).detach()[0])
            return self.linear(x) if view.sum().item() > 0 else x

    with pytest.raises(UnsupportedError, match="--trace real"):
        from_torch(Overwritten(), torch.zeros(1, 4))


def test_experts_are_chosen_evenly(torch: Any) -> None:
    class Mixture(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.router = torch.nn.Linear(4, 4)
            self.experts = torch.nn.ModuleList([torch.nn.Linear(4, 4, bias=False) for _ in range(4)])

        def forward(self, x: Any) -> Any:
            rows = x.flatten(0, 1)
            weights, chosen = torch.topk(self.router(rows).softmax(-1), 2)
            mask = torch.nn.functional.one_hot(chosen, 4).permute(2, 1, 0)
            result = torch.zeros_like(rows)
            for number in mask.sum((1, 2)).nonzero()[:, 0].tolist():
                slot, row = torch.where(mask[number])
                result.index_add_(0, row, self.experts[number](rows[row]) * weights[row, slot, None])
            return result.view_as(x)

    workload = from_torch(Mixture(), torch.zeros(1, 8, 4))
    shares = [layer.op.macs for layer in workload.layers if layer.name.startswith("experts")]  # type: ignore[attr-defined]
    assert shares == [8 * 2 // 4 * 16] * 4  # each of 4 experts has 4 of 16 rows, 4 x 4 MACs a row
    assert workload.macs == 8 * 16 + 16 * 16


FILE = """
import torch
from torch import nn

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Embedding(9, 4), nn.Linear(3, 4)

    def forward(self, image, words=None):
        return self.right(image) + self.left(words)

class Nothing(nn.Module):
    def forward(self, x):
        return x @ x.transpose(1, 2)

class Asks(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        y = self.linear(x)
        return y if y.square().sum() >= 0 else self.linear(y)

class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, targets=None):
        if self.training and targets is None:
            raise ValueError("targets should not be none when in training mode")
        return self.linear(x)

class Finder(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Conv2d(1, 1, 1, bias=False), nn.Linear(4, 3, bias=False)

    def forward(self, images):
        features = self.backbone(torch.stack(list(images)))
        return [self.head(one[0][one[0].mean(1) > 0]) for one in features]
"""


@pytest.fixture(name="file")
def net_file(torch: Any, tmp_path: Path) -> Path:  # noqa: ARG001
    path = tmp_path / "net.py"
    path.write_text(FILE)
    return path


def test_several_inputs_with_types_and_names(file: Path) -> None:
    asked = ["--input", "words=int64:5", "--input", "5,3"]
    result = CliRunner().invoke(main, ["layers", f"torch:{file}:Two", *asked])
    assert result.exit_code == 0, result.output
    inputs = (Given((5,), "int64", "words"), Given((5, 3)))
    workload = load_workload(f"torch:{file}:Two", request=Request(inputs=inputs))
    assert workload.inputs == ((5, 3), (5,))
    assert (workload.macs, workload.parameters) == (5 * 12, 36 + 16)
    assert workload.changes["input"] == "words=int64:5 5,3"
    with pytest.raises(InputError, match="not a type of PyTorch"):
        load_workload(f"torch:{file}:Two", request=Request(inputs=(Given((5, 3), "int65"),)))
    with pytest.raises(InputError, match="for torch: and hf:"):
        load_workload("lenet5", request=Request(inputs=inputs))


def test_a_network_without_parameters_infers(file: Path) -> None:
    for training in (None, False):
        workload = load_workload(f"torch:{file}:Nothing", request=Request(input_shape=(6, 5), training=training))
        assert (workload.macs, workload.parameters) == (6 * 6 * 5, 0)
        assert "inference alone" in workload.description
    with pytest.raises(InputError, match="no output depends on a trained parameter"):
        load_workload(f"torch:{file}:Nothing", request=Request(input_shape=(6, 5), training=True))


def test_what_cannot_train_is_traced_in_evaluation_mode(file: Path) -> None:
    name, shape = f"torch:{file}:Detector", (4,)
    assert load_workload(name, request=Request(input_shape=shape, training=False)).macs == 16
    assert load_workload(name, request=Request(input_shape=shape)).macs == 16
    with pytest.raises(InputError, match="targets should not be none"):
        load_workload(name, request=Request(input_shape=shape, training=True))


def test_a_detector_is_counted_at_its_most(file: Path) -> None:
    name = f"torch:{file}:Finder"
    # an image of 6 x 4: 24 MACs of the backbone; 6 places of 4 x 3 at most, or two
    for boxes, places, words in ((None, 6, "all entries"), (2, 2, "2 entries at most")):
        workload = load_workload(name, request=Request(input_shape=(1, 6, 4), training=False, boxes=boxes))
        assert workload.macs == 24 + places * 12
        assert workload.inputs == ((1, 6, 4),)
        assert words in workload.description
        assert "one by one" in workload.description
        head = next(layer for layer in workload.layers if layer.name == "head")
        (kernel,) = head.op.forward(head.site(training=False))
        assert kernel.flops == (0, 2 * places * 12)
        assert dict(kernel.read)[Role.WEIGHT] == (12, 0)
    with pytest.raises(UnsupportedError, match="asks for values"):
        load_workload(name, request=Request(input_shape=(1, 6, 4), training=True))


def test_torchvision_detectors_have_their_published_counts(torch: Any) -> None:  # noqa: ARG001
    detection = pytest.importorskip("torchvision.models.detection")
    weights = detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1
    asked = Request(input_shape=(3, 800, 800), training=False)
    workload = load_workload("torch:torchvision.models.detection:retinanet_resnet50_fpn", request=asked)
    assert workload.macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=0.01)


def test_attention_of_more_sides_is_taken_apart(torch: Any) -> None:
    class Windows(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            x = self.linear(x)
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    # heads 2, windows 3, 4 tokens of 8: 24 * 64 for the layer, two products of 6 * 4 * 4 * 8
    workload = from_torch(Windows(), torch.zeros(1, 2, 3, 4, 8))
    assert workload.macs == 24 * 64 + 2 * 6 * 4 * 4 * 8
    assert not any("attention" in layer.op.kind for layer in workload.layers)


def test_what_a_module_keeps_from_its_first_run(torch: Any) -> None:
    class Keeps(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.table = torch.nn.Linear(4, 4), None

        def forward(self, x: Any) -> Any:
            if self.table is None:
                self.table = torch.zeros(4, device=x.device).add(1)
            return self.linear(x) + self.table

    workload = from_torch(Keeps(), torch.zeros(1, 4))
    assert [layer.op.kind for layer in workload.layers if not layer.op.loss] == ["addmm", "add"]


def test_control_flow_on_numbers_asks_for_a_real_trace(file: Path) -> None:
    name = f"torch:{file}:Asks"
    with pytest.raises(UnsupportedError, match="--trace real runs it once"):
        load_workload(name, request=Request(input_shape=(4,)))
    workload = load_workload(name, request=Request(input_shape=(4,), trace="real"))
    assert workload.macs == 16
    assert "random numbers" in workload.description


def test_memory_that_nobody_wrote_is_zero(torch: Any) -> None:
    """As the classes that a loss compares with, which must be classes whatever the memory held before."""

    class Reads(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return self.linear(x)[:, int(torch.empty(64, dtype=torch.long, device=x.device).sum()) :]

    for _ in range(3):
        del [torch.full((64,), 7) for _ in range(100)][:]
        workload = from_torch(Reads(), torch.zeros(1, 4), Tracing(real=True))
        assert workload.layers[0].output == (4,)
        assert len(workload.layers) > 2


def test_choices_by_value_are_bounded_from_python_too(torch: Any) -> None:
    class Chooses(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(8))

        def forward(self, x: Any) -> Any:
            return x[:, self.weight > 0].exp()

    def chosen(boxes: int | None) -> tuple[int, ...]:
        workload = from_torch(Chooses(), torch.zeros(1, 8), Tracing(training=False, boxes=boxes))
        return next(layer.output for layer in workload.layers if layer.op.kind == "exp")

    assert (chosen(None), chosen(5)) == ((8,), (5,))
    with pytest.raises(UnsupportedError, match="--trace real"):
        from_torch(Chooses(), torch.zeros(1, 8))


def test_modules_that_never_run_take_memory_and_no_time(torch: Any) -> None:
    class Idle(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.used, self.head = torch.nn.Linear(8, 2), torch.nn.Linear(8, 1000)

        def forward(self, x: Any) -> Any:
            return self.used(x)

    net = Idle()
    workload = from_torch(net, torch.zeros(1, 8))
    assert workload.parameters == 8 * 2 + 2 + 9000
    assert "9,000 parameters unused: head.weight, head.bias" in workload.description
    unused = [number for number, layer in enumerate(workload.layers) if layer.name.startswith("head")]
    assert len(unused) == 2
    assert not set(lower(workload, optimizer=get_optimizer("sgd")).layer.tolist()) & set(unused)


def test_a_rule_of_the_users_own(torch: Any) -> None:
    class Eigen(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            return torch.special.bessel_j0(self.linear(x).detach()) + self.linear(x)

    def bessel(call: Call) -> list[Draft]:
        size = call.outputs[0].distinct
        return [Draft(OpClass.ELEMENTWISE, 30 * size, ((Kind.ACTIVATION, size),), ((Kind.ACTIVATION, size),))]

    with pytest.raises(UnsupportedError, match="special_bessel_j0"):
        from_torch(Eigen(), torch.zeros(1, 4))
    workload = from_torch(Eigen(), torch.zeros(1, 4), rules={"special_bessel_j0": bessel})
    layer = next(layer for layer in workload.layers if "bessel" in layer.name)
    assert layer.op.counts(layer.site()).flops == 120


def test_embedding_bags_and_transforms_import(torch: Any) -> None:
    class Spectral(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.bag, self.linear = torch.nn.EmbeddingBag(20, 8, mode="sum"), torch.nn.Linear(8, 3)

        def forward(self, words: Any) -> Any:
            return self.linear(torch.fft.irfft(torch.fft.rfft(self.bag(words)), n=8))

    workload = from_torch(Spectral(), torch.ones(1, 5, dtype=torch.long))
    assert (workload.macs, workload.parameters) == (24, 160 + 27)
    kinds = {layer.op.kind for layer in workload.layers}
    assert {"embedding_bag", "fft_r2c", "fft_c2r"} <= kinds


def test_frozen_weights_are_parameters_without_gradient_and_state(torch: Any) -> None:
    """As where adapters are trained beside a base that stays: 8 x 4 frozen, 4 x 2 trained."""
    base, adapter = torch.nn.Linear(8, 4, bias=False), torch.nn.Linear(4, 2, bias=False)
    base.weight.requires_grad_(False)
    workload = from_torch(torch.nn.Sequential(base, adapter), torch.zeros(1, 8))
    assert (workload.parameters, workload.trained) == (40, 8)
    assert [layer.name for layer in workload.layers if layer.op.untrained] == ["0.weight (frozen)"]
    memory = footprint(workload, 1, get_precision("fp32"), 1e9, get_optimizer("adam"))
    assert memory.parameters_bytes == 40 * 4
    assert (memory.gradients_bytes, memory.optimizer_bytes) == (8 * 4, 2 * 8 * 4)
