"""ONNX files written here with `onnx.helper`, their weights left out, against the zoo and counts by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from simulator.errors import InputError, SimulatorError, UnsupportedError  # noqa: E402
from simulator.op.kernel import Phase  # noqa: E402
from simulator.op.kernels import at_batch  # noqa: E402
from simulator.workload.importers import Request, load  # noqa: E402
from simulator.workload.lowering import lower  # noqa: E402
from simulator.workload.reading import load_workload  # noqa: E402
from simulator.workload.workload import Workload  # noqa: E402


class Net:
    """A graph in the making; `weight` declares a tensor without its values, `numbers` one with them."""

    def __init__(self, *inputs: tuple[str, int, list[Any]]) -> None:
        self.inputs = [helper.make_tensor_value_info(*item) for item in inputs]
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, *dims: int, kind: int = TensorProto.FLOAT) -> str:
        tensor = TensorProto(name=f"w{len(self.weights)}", dims=dims, data_type=kind)
        self.weights.append(tensor)
        return str(tensor.name)

    def numbers(self, values: Any, dtype: str = "int64") -> str:
        name = f"n{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name

    def __call__(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        names = [f"{op.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        label = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), names, name=label, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def save(self, path: Path, *outputs: str, opset: int = 17, functions: Sequence[Any] = ()) -> Path:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, ends, self.weights)
        opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(f.domain, 1) for f in functions]
        model = helper.make_model(graph, opset_imports=opsets, functions=functions)
        path.write_bytes(model.SerializeToString())
        return path


IMAGE = ("x", TensorProto.FLOAT, ["N", 3, 224, 224])
TOKENS = ("ids", TensorProto.INT64, ["batch", "sequence"])


def imported(path: Path, **request: Any) -> Workload:
    return load("onnx", str(path), Request(**request))


def shapes(path: Path, **request: Any) -> dict[str, tuple[int, ...]]:
    return {layer.name: layer.output for layer in imported(path, **request).layers}


def traffic(workload: Workload, *phases: Phase) -> float:
    """Elements read and written at batch 32."""
    kernels = lower(workload)
    moved = at_batch(kernels.read, 32.0).sum(axis=0) + at_batch(kernels.write, 32.0).sum(axis=0)
    return float(moved[np.isin(kernels.phase, phases)].sum())


# ---- networks


def conv_bn(net: Net, x: str, sides: tuple[int, int, int], stride: int = 1, *, relu: bool = True) -> str:
    """Convolution of (in, out, kernel) channels, normalisation, ReLU."""
    channels, out, kernel = sides
    pads = [kernel // 2] * 4
    weight = net.weight(out, channels, kernel, kernel)
    y = net("Conv", x, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
    y = net("BatchNormalization", y, *(net.weight(out) for _ in range(4)))
    return net("Relu", y) if relu else y


def resnet50(net: Net, *, reshape: bool = False) -> str:
    """Version 1.5, as torchvision exports it."""
    x = net("MaxPool", conv_bn(net, "x", (3, 64, 7), 2), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        planes = 64 << stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            y = conv_bn(net, x, (width, planes, 1))
            y = conv_bn(net, conv_bn(net, y, (planes, planes, 3), stride), (planes, planes * 4, 1), relu=False)
            x = conv_bn(net, x, (width, planes * 4, 1), stride, relu=False) if not block else x
            width = planes * 4
            x = net("Relu", net("Add", y, x))
    x = net("GlobalAveragePool", x)
    x = net("Reshape", x, net.numbers([-1, 2048])) if reshape else net("Flatten", x)
    return str(net("Gemm", x, net.weight(1000, 2048), net.weight(1000), transB=1))


@pytest.mark.parametrize("batch", ["N", 1, 8], ids=["open", "one", "eight"])
@pytest.mark.parametrize("reshape", [False, True])
def test_resnet50_agrees_with_the_zoo(tmp_path: Path, batch: str | int, reshape: bool) -> None:
    net = Net(("x", TensorProto.FLOAT, [batch, 3, 224, 224]))
    ours = imported(net.save(tmp_path / "resnet50.onnx", resnet50(net, reshape=reshape)))
    zoo = load_workload("resnet50")
    assert (ours.macs, ours.parameters) == (zoo.macs, zoo.parameters) == (4_089_184_256, 25_557_032)
    assert ours.inputs == zoo.inputs == ((3, 224, 224),)
    for phases in ([Phase.FORWARD], [Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT]):
        assert traffic(ours, *phases) == pytest.approx(traffic(zoo, *phases), rel=0.02)


def test_an_image_size_replaces_the_files(tmp_path: Path) -> None:
    net = Net(IMAGE)
    path = net.save(tmp_path / "net.onnx", resnet50(net))
    assert imported(path, image_size=448).layers[0].output == (64, 224, 224)


def linear(net: Net, x: str, sides: tuple[int, int]) -> str:
    """A product and a bias, as exporters write a fully connected layer over positions."""
    return str(net("Add", net("MatMul", x, net.weight(*sides)), net.weight(sides[1])))


def layer_norm(net: Net, x: str, width: int) -> str:
    """Written out, as before operator set 17."""
    d = net("Sub", x, net("ReduceMean", x, axes=[-1]))
    variance = net("ReduceMean", net("Pow", d, net.numbers(2.0, "float32")), axes=[-1])
    deviation = net("Sqrt", net("Add", variance, net.numbers(1e-5, "float32")))
    return str(net("Add", net("Mul", net("Div", d, deviation), net.weight(width)), net.weight(width)))


def gelu(net: Net, x: str) -> str:
    erf = net("Erf", net("Div", x, net.numbers(2**0.5, "float32")))
    return str(net("Mul", net("Mul", x, net("Add", erf, net.numbers(1.0, "float32"))), net.numbers(0.5, "float32")))


def attention(net: Net, x: str, width: int, heads: int) -> str:
    """Written out, with its shapes computed from the input's as exporters do."""
    sides = net("Shape", x)
    batch, length = (net("Gather", sides, net.numbers(i)) for i in (0, 1))
    batch, length = (net("Unsqueeze", part, net.numbers([0])) for part in (batch, length))
    split = net("Concat", batch, length, net.numbers([heads]), net.numbers([width // heads]), axis=0)
    q, k, v = (net("Reshape", linear(net, x, (width, width)), split) for _ in range(3))
    q, v = (net("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))
    k = net("Transpose", k, perm=[0, 2, 3, 1])
    scores = net("Div", net("MatMul", q, k), net.numbers((width // heads) ** 0.5, "float32"))
    y = net("Transpose", net("MatMul", net("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    joined = net("Concat", batch, length, net.numbers([width]), axis=0)
    return linear(net, net("Reshape", y, joined), (width, width))


def transformer(net: Net, layers: int = 2, width: int = 64, heads: int = 4, vocabulary: int = 1000) -> str:
    """A small decoder whose head shares the table of the embedding."""
    table = net.weight(vocabulary, width)
    positions = net("Slice", net.weight(1, 512, width), net.numbers([0]), _length(net), net.numbers([1]))
    x = net("Add", net("Gather", table, "ids"), positions)
    for _ in range(layers):
        x = net("Add", x, attention(net, layer_norm(net, x, width), width, heads))
        y = linear(net, layer_norm(net, x, width), (width, 4 * width))
        x = net("Add", x, linear(net, gelu(net, y), (4 * width, width)))
    return str(net("MatMul", layer_norm(net, x, width), net("Transpose", table, perm=[1, 0])))


def _length(net: Net) -> str:
    return str(net("Slice", net("Shape", "ids"), net.numbers([1]), net.numbers([2])))


@pytest.mark.parametrize("length", [128, 100])
def test_a_transformer_counts_by_hand(tmp_path: Path, length: int) -> None:
    net = Net(TOKENS)
    ours = imported(net.save(tmp_path / "gpt.onnx", transformer(net)), sequence=length)
    width, vocabulary = 64, 1000
    # A layer: four square products, two of four times the width, and two products of scores (length x length x width).
    block = 12 * length * width**2 + 2 * length**2 * width
    assert ours.macs == 2 * block + length * width * vocabulary
    # A layer: 12 width^2 weights, 4 + 4 + 1 = 9 widths of biases, 4 of norms; table, positions, last norm.
    assert ours.parameters == 2 * (12 * width**2 + 13 * width) + (vocabulary + 512) * width + 2 * width
    assert ours.layers[-2].output == (length, vocabulary)
    assert ours.inputs == ((length,),)


def test_an_open_sequence_must_be_given(tmp_path: Path) -> None:
    net = Net(TOKENS)
    path = net.save(tmp_path / "gpt.onnx", transformer(net))
    with pytest.raises(InputError, match="'sequence' of the input 'ids' is open: --sequence gives it"):
        imported(path)


def test_a_fixed_file_equals_an_open_one(tmp_path: Path) -> None:
    opened, fixed = Net(TOKENS), Net(("ids", TensorProto.INT64, [4, 128]))
    a = imported(opened.save(tmp_path / "a.onnx", transformer(opened)), sequence=128)
    b = imported(fixed.save(tmp_path / "b.onnx", transformer(fixed)))
    assert (a.macs, a.parameters, a.inputs) == (b.macs, b.parameters, b.inputs)
    assert [layer.output for layer in a.layers] == [layer.output for layer in b.layers]


def quantized(net: Net, x: str, kind: int = TensorProto.INT8) -> str:
    zero = net.weight(kind=kind)
    q = net("QuantizeLinear", x, net.numbers(0.1, "float32"), zero)
    return str(net("DequantizeLinear", q, net.numbers(0.1, "float32"), zero))


def stored(net: Net, *dims: int, kind: int = TensorProto.INT8) -> str:
    weight = net.weight(*dims, kind=kind)
    return str(net("DequantizeLinear", weight, net.numbers(0.1, "float32")))


def test_pairs_of_quantisation_cost_nothing(tmp_path: Path) -> None:
    plain, pairs = Net(IMAGE), Net(IMAGE)
    outputs = []
    for net, wrap in ((plain, False), (pairs, True)):
        x = "x"
        for channels, out in ((3, 8), (8, 16)):
            x = quantized(net, x) if wrap else x
            weight = stored(net, out, channels, 3, 3) if wrap else net.weight(out, channels, 3, 3)
            bias = stored(net, out, kind=TensorProto.INT32) if wrap else net.weight(out)
            x = net("Relu", net("Conv", x, weight, bias, kernel_shape=[3, 3], pads=[1] * 4))
        outputs.append(x)
    a = imported(plain.save(tmp_path / "a.onnx", outputs[0]))
    b = imported(pairs.save(tmp_path / "b.onnx", outputs[1]))
    assert a.parameters == b.parameters == 3 * 8 * 9 + 8 + 8 * 16 * 9 + 16
    assert (a.macs, [layer.op for layer in a.layers]) == (b.macs, [layer.op for layer in b.layers])


def test_operators_on_integers(tmp_path: Path) -> None:
    net = Net(IMAGE)
    scale, zero = net.numbers(0.1, "float32"), net.weight(kind=TensorProto.UINT8)
    x = net("QuantizeLinear", "x", scale, zero)
    w = net.weight(8, 3, 3, 3, kind=TensorProto.INT8)
    bias = net.weight(8, kind=TensorProto.INT32)
    x = net("QLinearConv", x, scale, zero, w, scale, zero, scale, zero, bias, kernel_shape=[3, 3])
    x = net("ConvInteger", x, net.weight(4, 8, 1, 1, kind=TensorProto.INT8))
    x = net("MatMulInteger", net("Flatten", x), net.weight(4 * 222 * 222, 10, kind=TensorProto.INT8))
    ours = imported(net.save(tmp_path / "q.onnx", x))
    assert ours.macs == 222 * 222 * (27 * 8 + 8 * 4 + 4 * 10)
    assert ours.parameters == 27 * 8 + 8 + 32 + 4 * 222 * 222 * 10
    assert [layer.op.kind for layer in ours.layers] == ["unary", "conv", "conv", "linear"]


# ---- operators, one by one


def single(tmp_path: Path, sides: list[Any], build: Any, opset: int = 17) -> Workload:
    net = Net(("x", TensorProto.FLOAT, sides))
    return imported(net.save(tmp_path / "one.onnx", build(net), opset=opset))


IMAGE_SIDES = ["N", 8, 16, 16]
OPERATORS: dict[str, tuple[list[Any], Any, tuple[int, ...], int]] = {
    # name: input, graph, output of one sample, MACs
    "grouped": (IMAGE_SIDES, lambda n: n("Conv", "x", n.weight(16, 2, 3, 3), group=4), (16, 14, 14), 16 * 196 * 18),
    "dilated": (
        IMAGE_SIDES,
        lambda n: n("Conv", "x", n.weight(4, 8, 3, 3), dilations=[2, 2]),
        (4, 12, 12),
        4 * 144 * 72,
    ),
    "same": (
        ["N", 8, 15, 15],
        lambda n: n("Conv", "x", n.weight(4, 8, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
        (4, 8, 8),
        4 * 64 * 72,
    ),
    "row": (["N", 8, 20], lambda n: n("Conv", "x", n.weight(4, 8, 5)), (4, 1, 16), 4 * 16 * 40),
    "volume": (["N", 2, 6, 6, 6], lambda n: n("Conv", "x", n.weight(4, 2, 3, 3, 3)), (4, 16, 4), 4 * 64 * 54),
    "transposed": (
        IMAGE_SIDES,
        lambda n: n("ConvTranspose", "x", n.weight(8, 4, 2, 2), n.weight(4), strides=[2, 2]),
        (4, 32, 32),
        256 * 8 * 16,
    ),
    "ceil": (
        ["N", 8, 112, 112],
        lambda n: n("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        (8, 56, 56),
        0,
    ),
    "prelu": (IMAGE_SIDES, lambda n: n("PRelu", "x", n.weight(8, 1, 1)), (8, 16, 16), 0),
    "clip": (IMAGE_SIDES, lambda n: n("Clip", "x", n.numbers(0, "float32"), n.numbers(6, "float32")), (8, 16, 16), 0),
    "upsample": (
        IMAGE_SIDES,
        lambda n: n("Resize", "x", "", n.numbers([1, 1, 2, 2], "float32"), mode="linear"),
        (8, 32, 32),
        0,
    ),
    "sizes": (IMAGE_SIDES, lambda n: n("Resize", "x", "", "", n.numbers([1, 8, 24, 20])), (8, 24, 20), 0),
    "pad": (IMAGE_SIDES, lambda n: n("Pad", "x", n.numbers([0, 0, 1, 2, 0, 0, 3, 4])), (8, 20, 22), 0),
    "depth": (IMAGE_SIDES, lambda n: n("DepthToSpace", "x", blocksize=2), (2, 32, 32), 0),
    "mean": (IMAGE_SIDES, lambda n: n("ReduceMean", "x", axes=[2, 3], keepdims=0), (8, 1, 1), 0),
    "sum": (IMAGE_SIDES, lambda n: n("ReduceSum", "x", n.numbers([1]), keepdims=0), (16, 16), 0),
    "slice": (
        IMAGE_SIDES,
        lambda n: n("Slice", "x", n.numbers([0]), n.numbers([2**62]), n.numbers([2]), n.numbers([2])),
        (8, 8, 16),
        0,
    ),
    "tile": (IMAGE_SIDES, lambda n: n("Tile", "x", n.numbers([1, 2, 1, 3])), (16, 16, 48), 0),
    "expand": (["N", 8, 1, 1], lambda n: n("Expand", "x", n.numbers([8, 4, 4])), (8, 4, 4), 0),
    "group_norm": (
        IMAGE_SIDES,
        lambda n: n("InstanceNormalization", n("Reshape", "x", n.numbers([0, 2, -1])), n.weight(2), n.weight(2)),
        (2, 1, 1024),
        0,
    ),
    "excite": (IMAGE_SIDES, lambda n: n("Mul", "x", n("Sigmoid", n("GlobalAveragePool", "x"))), (8, 16, 16), 0),
    "where": (
        IMAGE_SIDES,
        lambda n: n("Where", n("Greater", "x", n.numbers(0, "float32")), "x", n.numbers(1, "float32")),
        (8, 16, 16),
        0,
    ),
    "einsum": (["N", 10, 12], lambda n: n("Einsum", "x", n.weight(12, 3), equation="bij,jk->bik"), (10, 3), 360),
    "scores": (["N", 4, 10, 12], lambda n: n("Einsum", "x", "x", equation="bhid,bhjd->bhij"), (4, 10, 10), 4800),
    "experts": (["N", 4, 10, 12], lambda n: n("MatMul", "x", n.weight(4, 12, 3)), (4, 10, 3), 4 * 10 * 12 * 3),
    "mixer": (["N", 10, 12], lambda n: n("MatMul", n.weight(5, 10), "x"), (12, 5), 5 * 10 * 12),
    "folded": (
        ["N", 6, 12],
        lambda n: n("MatMul", n("Reshape", "x", n.numbers([-1, 12])), n.weight(12, 5)),
        (6, 5),
        360,
    ),
    "windows": (
        ["N", 16, 16, 12],
        lambda n: n("MatMul", n("Reshape", "x", n.numbers([-1, 64, 12])), n.weight(12, 5)),
        (256, 5),
        256 * 60,
    ),
    "layer_norm": (
        ["N", 10, 12],
        lambda n: n("LayerNormalization", "x", n.weight(12), n.weight(12), axis=-1),
        (10, 12),
        0,
    ),
    "cut_in_two": (IMAGE_SIDES, lambda n: n("Mul", *n("Split", "x", outputs=2, axis=1)), (4, 16, 16), 0),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator(tmp_path: Path, name: str) -> None:
    sides, build, output, macs = OPERATORS[name]
    last = [layer for layer in single(tmp_path, sides, build).layers if layer.name != "loss"][-1]
    workload = single(tmp_path, sides, build)
    assert (last.output, workload.macs) == (output, macs)
    assert np.isfinite(at_batch(lower(workload).flops, 2.0)).all()


@pytest.mark.parametrize(("cell", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_recurrent_layer_counts_each_position(tmp_path: Path, cell: str, gates: int) -> None:
    def build(net: Net) -> str:
        rows = gates * 32
        weights = net.weight(2, rows, 24), net.weight(2, rows, 32), net.weight(2, 2 * rows)
        turned = net("Transpose", "x", perm=[1, 0, 2])
        outputs = net(cell, turned, *weights, outputs=2, hidden_size=32, direction="bidirectional")
        return str(outputs[0])

    workload = single(tmp_path, ["N", 10, 24], build)
    assert workload.macs == 2 * 10 * gates * 32 * (24 + 32)
    assert workload.parameters == 2 * gates * 32 * (24 + 32 + 2)


@pytest.mark.parametrize("style", ["eager", "fused"])
def test_the_attention_operator(tmp_path: Path, style: str) -> None:
    net = Net(*((name, TensorProto.FLOAT, ["N", 4, 10, 16]) for name in "qkv"))
    path = net.save(tmp_path / "a.onnx", net("Attention", "q", "k", "v", is_causal=1), opset=23)
    workload = imported(path, attention=style)
    assert workload.macs == 2 * 4 * 10 * 10 * 16
    assert workload.inputs == ((4, 10, 16),) * 3


def test_old_operator_sets(tmp_path: Path) -> None:
    def build(net: Net) -> str:
        x = net("Slice", "x", starts=[1], ends=[5], axes=[1])
        x = net("Clip", net("Upsample", x, net.numbers([1, 1, 2, 2], "float32")), min=0.0, max=6.0)
        x = net("Pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 1])
        return str(net("Squeeze", net("Unsqueeze", net("Dropout", x, ratio=0.1), axes=[0]), axes=[0]))

    kinds = [(layer.op.kind, layer.output) for layer in single(tmp_path, IMAGE_SIDES, build, opset=9).layers]
    image = (4, 32, 32)
    end = (4, 34, 34)
    assert kinds == [("cut", (4, 16, 16)), ("upsample", image), ("relu6", image), ("move", end), ("dropout", end)]


def test_a_function_of_the_file_is_entered(tmp_path: Path) -> None:
    body = [
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["a", "s"], ["b"]),
    ]
    swish = helper.make_function("own", "Swish", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    net = Net(IMAGE)
    path = net.save(tmp_path / "f.onnx", net("Swish", "x", domain="own"), functions=[swish])
    assert [layer.op.kind for layer in imported(path).layers] == ["sigmoid", "binary"]


def test_a_known_branch_is_taken(tmp_path: Path) -> None:
    net = Net(IMAGE)
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["x"], [f"{op}_out"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{op}_out", 1, None)],
        )
        for name, op in (("then_branch", "Relu"), ("else_branch", "Tanh"))
    }
    y = net("If", net("Equal", net("Size", "x"), net.numbers(0)), **branches)
    assert [layer.op.kind for layer in imported(net.save(tmp_path / "if.onnx", y)).layers] == ["tanh"]


# ---- parameters


def test_a_shared_weight_counts_once(tmp_path: Path) -> None:
    def build(net: Net) -> str:
        weight = net.weight(8, 8, 3, 3)
        return str(net("Conv", net("Conv", "x", weight), weight))

    workload = single(tmp_path, IMAGE_SIDES, build)
    assert workload.parameters == 8 * 8 * 9
    assert [layer.parameters for layer in workload.layers] == [576, 0]


def test_shapes_and_statistics_are_no_parameters(tmp_path: Path) -> None:
    def build(net: Net) -> str:
        x = net("BatchNormalization", "x", *(net.weight(8) for _ in range(4)))
        return str(net("Mul", net("Reshape", x, net.numbers([0, -1])), net.numbers(0.5, "float32")))

    assert single(tmp_path, IMAGE_SIDES, build).parameters == 16


def test_a_bias_written_as_a_sum_belongs_to_its_product(tmp_path: Path) -> None:
    workload = single(tmp_path, ["N", 10, 12], lambda net: linear(net, "x", (12, 5)))
    assert [(layer.op.kind, layer.parameters) for layer in workload.layers[:1]] == [("linear", 65)]
    assert len(workload.layers) == 2  # and the loss


# ---- what has no rule


def test_operators_without_a_rule_are_named_and_counted(tmp_path: Path) -> None:
    net = Net(IMAGE)
    x = net("Relu", net("Foo", net("Foo", net("ImageDecoder", "x"), domain="own"), domain="own"))
    path = net.save(tmp_path / "u.onnx", x)
    with pytest.raises(UnsupportedError, match=r"own\.Foo \(2\), ImageDecoder \(1\)"):
        imported(path)


def test_unknown_operators_are_kept_if_allowed(tmp_path: Path) -> None:
    net = Net(IMAGE)
    y = net("RegexFullMatch", "x", pattern="a*")
    workload = imported(net.save(tmp_path / "u.onnx", net("Relu", y), opset=20), allow_unknown=True)
    assert workload.unknown == ("RegexFullMatch_0",)
    assert workload.layers[-1].output == (3, 224, 224)


def test_without_the_library_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    net = Net(IMAGE)
    path = net.save(tmp_path / "u.onnx", net("RegexFullMatch", "x", pattern="a*"), opset=20)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnsupportedError, match=r"pip install roofline-simulator\[onnx\]"):
        imported(path, allow_unknown=True)


def test_an_ordinary_file_needs_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    net = Net(IMAGE)
    path = net.save(tmp_path / "r.onnx", resnet50(net))
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert imported(path).macs == 4_089_184_256


def test_shapes_agree_with_the_library(tmp_path: Path) -> None:
    """Where ONNX's own inference knows a shape, ours has as many elements."""
    net = Net(("ids", TensorProto.INT64, [2, 128]))
    path = net.save(tmp_path / "gpt.onnx", transformer(net))
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    known = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in inferred.value_info}
    outputs = {node.name: node.output[0] for node in inferred.node}
    checked = 0
    for layer in imported(path).layers:
        sides = known.get(outputs.get(layer.name, ""), [0])
        if all(sides):
            assert 2 * int(np.prod(layer.output)) == int(np.prod(sides)), layer.name
            checked += 1
    assert checked > 40


# ---- files that cannot be read


def test_weights_beside_the_file_are_never_opened(tmp_path: Path) -> None:
    net = Net(IMAGE)
    output = resnet50(net)
    for tensor in net.weights:
        if not tensor.raw_data:
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="missing.bin")
    assert imported(net.save(tmp_path / "r.onnx", output)).parameters == 25_557_032


def bad(tmp_path: Path, sides: list[Any], build: Any) -> str:
    with pytest.raises(InputError) as caught:
        single(tmp_path, sides, build)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(tmp_path))
    return text


def test_errors_name_the_node(tmp_path: Path) -> None:
    text = bad(tmp_path, IMAGE_SIDES, lambda n: n("Conv", "x", n.weight(4, 9, 3, 3)))
    assert "node 'Conv_0'" in text
    assert "node 'Relu_0'" in bad(tmp_path, IMAGE_SIDES, lambda n: n("Relu", "nobody"))
    assert "own" not in bad(tmp_path, IMAGE_SIDES, lambda n: n("Conv", "x", n.weight(4, 8, 99, 99)))
    assert "larger than any memory" in bad(tmp_path, IMAGE_SIDES, lambda n: n("Conv", "x", n.weight(10**10, 8, 3, 3)))
    assert "cannot become" in bad(tmp_path, IMAGE_SIDES, lambda n: n("Reshape", "x", n.numbers([7, -1, 5])))
    bad(tmp_path, ["N", -3, 8], lambda n: n("Relu", "x"))


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 1000, b"hello world", b"\x3a\xff\xff\xff\xff\x0f"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.onnx"):
        imported(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            imported(path)


def test_a_function_that_calls_itself_ends(tmp_path: Path) -> None:
    body = [helper.make_node("F", ["a"], ["c"], domain="own"), helper.make_node("F", ["c"], ["b"], domain="own")]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("own", 1)])
    net = Net(IMAGE)
    path = net.save(tmp_path / "f.onnx", net("F", "x", domain="own"), functions=[function])
    with pytest.raises(InputError, match="nested deeper"):
        imported(path)


def fuzzed(content: bytes, seed: int) -> bytes:
    """A few bytes changed, or the file cut."""
    rng = np.random.default_rng(seed)
    data = bytearray(content)
    if seed % 4 == 0:
        return bytes(data[: rng.integers(len(data))])
    for place in rng.integers(len(data), size=int(rng.integers(1, 12))):
        data[place] = int(rng.integers(256))
    return bytes(data)


def outcome(path: Path, *, allow_unknown: bool) -> str:
    """The error's text, or nothing where the file is still a network of finite work."""
    try:
        workload = imported(path, sequence=16, allow_unknown=allow_unknown)
    except SimulatorError as error:
        return str(error)
    assert np.isfinite(at_batch(lower(workload).flops, 2.0)).all()
    return ""


@pytest.mark.parametrize("block", range(10))
def test_damaged_files_give_a_result_or_one_line(tmp_path: Path, block: int) -> None:
    nets = []
    for build in (transformer, lambda net: net("Relu", quantized(net, conv_bn(net, "x", (3, 8, 3))))):
        net = Net(TOKENS) if build is transformer else Net(IMAGE)
        nets.append(net.save(tmp_path / "whole.onnx", build(net)).read_bytes())
    path = tmp_path / "damaged.onnx"
    for seed in range(block * 30, block * 30 + 30):
        path.write_bytes(fuzzed(nets[seed % 2], seed))
        assert "\n" not in outcome(path, allow_unknown=seed % 3 == 0)


def test_allow_unknown_is_not_advised_where_it_would_fail(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    make, float_ = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [make.make_node("Foo", ["x"], ["a"], domain="custom"), make.make_node("Relu", ["a"], ["y"])]
    shape = [1, 3, 8, 8]
    ends = [make.make_tensor_value_info(name, float_, shape) for name in "xy"]
    sets = [make.make_opsetid("", 17), make.make_opsetid("custom", 1)]
    for stated, said in ((False, "does not state the shapes"), (True, "--allow-unknown leaves them uncounted")):
        inner = [make.make_tensor_value_info("a", float_, shape)] if stated else []
        graph = make.make_graph(nodes, "g", ends[:1], ends[1:], value_info=inner)
        path = tmp_path / "net.onnx"
        onnx.save(make.make_model(graph, opset_imports=sets), path)
        with pytest.raises(UnsupportedError, match=said):
            load_workload(f"onnx:{path}")
