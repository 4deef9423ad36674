"""Caffe's networks: parameters and work against counts made by others, blobs and memory against Caffe's own log."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError, SimulatorError, UnknownNameError, UnsupportedError
from simulator.op.kernel import Phase
from simulator.workload.importers import Request
from simulator.workload.importers.caffe import caffe_log, load, workload_of
from simulator.workload.importers.caffe.blobs import place
from simulator.workload.importers.caffe.definition import parse_definition
from simulator.workload.importers.caffe.log import log_lines
from simulator.workload.importers.caffe.prototext import parse
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

OWN = Path(__file__).parent / "caffe"
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
PUBLISHED = sorted((SHARED / "caffe").glob("*.prototxt"))
NETWORKS = [path for path in PUBLISHED if "solver" not in path.name]
PLAIN = Request()
PAIRS = Request(input_shape=(2, 28, 28))

needs_published = pytest.mark.skipif(not PUBLISHED, reason="the published networks are not here")


def own(name: str, request: Request = PLAIN) -> Workload:
    return load(str(OWN / name), request)


def read(text: str, request: Request = PLAIN) -> Workload:
    return workload_of(parse_definition(text, "net.prototxt"), request)


def layer(kind: str, rest: str = "", bottom: str = "data", top: str = "top") -> str:
    return f'layer {{ name: "{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {rest} }}\n'


SHAPE = "shape { dim: 2 dim: 6 dim: 8 dim: 8 }"
INPUT = f'name: "net" layer {{ name: "data" type: "Input" top: "data" input_param {{ {SHAPE} }} }}\n'


# ---- Caffe's log

# Lines of Caffe 1.0 for its LeNet, phase TRAIN, batch 64.
LENET_SHAPES = [
    ("mnist", ["64 1 28 28 (50176)", "64 (64)"], 200960),
    ("conv1", ["64 20 24 24 (737280)"], 3150080),
    ("pool1", ["64 20 12 12 (184320)"], 3887360),
    ("conv2", ["64 50 8 8 (204800)"], 4706560),
    ("pool2", ["64 50 4 4 (51200)"], 4911360),
    ("ip1", ["64 500 (32000)"], 5039360),
    ("relu1", ["64 500 (32000)"], 5167360),
    ("ip2", ["64 10 (640)"], 5169920),
    ("loss", ["(1)"], 5169924),
]
LENET_WIRES = {
    "mnist": ["mnist -> data", "mnist -> label"],
    "relu1": ["relu1 <- ip1", "relu1 -> ip1 (in-place)"],
    "conv1": ["conv1 <- data", "conv1 -> conv1"],
    "pool1": ["pool1 <- conv1", "pool1 -> pool1"],
    "conv2": ["conv2 <- pool1", "conv2 -> conv2"],
    "pool2": ["pool2 <- conv2", "pool2 -> pool2"],
    "ip1": ["ip1 <- pool2", "ip1 -> ip1"],
    "ip2": ["ip2 <- ip1", "ip2 -> ip2"],
    "loss": ["loss <- ip2", "loss <- label", "loss -> loss"],
}


def lenet_log() -> Iterator[str]:
    for name, shapes, memory in LENET_SHAPES:
        yield f"Creating Layer {name}"
        yield from LENET_WIRES[name]
        yield f"Setting up {name}"
        for shape in shapes:
            yield f"Top shape: {shape}"
        if name == "loss":
            yield "    with loss weight 1"
        yield f"Memory required for data: {memory}"
    for name, _, _ in reversed(LENET_SHAPES[1:]):
        yield f"{name} needs backward computation."
    yield "mnist does not need backward computation."
    yield "This network produces output loss"
    yield "Network initialization done."


def test_the_log_of_lenet_is_caffes_own() -> None:
    assert caffe_log(str(OWN / "lenet.prototxt"), "TRAIN") == list(lenet_log())


def test_the_log_of_the_test_phase_splits_what_two_layers_read() -> None:
    log = caffe_log(f"{OWN / 'lenet.prototxt'}@TEST")
    start = log.index("Creating Layer label_mnist_1_split")
    assert log[start : start + 8] == [
        "Creating Layer label_mnist_1_split",
        "label_mnist_1_split <- label",
        "label_mnist_1_split -> label_mnist_1_split_0",
        "label_mnist_1_split -> label_mnist_1_split_1",
        "Setting up label_mnist_1_split",
        "Top shape: 100 (100)",
        "Top shape: 100 (100)",
        "Memory required for data: 314800",
    ]
    assert log[-16:] == [
        "Memory required for data: 8086808",
        "loss needs backward computation.",
        "accuracy does not need backward computation.",
        *(f"{name} needs backward computation." for name in ("ip2_ip2_0_split", "ip2", "relu1", "ip1")),
        *(f"{name} needs backward computation." for name in ("pool2", "conv2", "pool1", "conv1")),
        "label_mnist_1_split does not need backward computation.",
        "mnist does not need backward computation.",
        "This network produces output accuracy",
        "This network produces output loss",
        "Network initialization done.",
    ]


def test_shared_parameters_are_named_in_the_log() -> None:
    log = caffe_log(str(OWN / "siamese.prototxt"), request=PAIRS)
    assert "Sharing parameters 'conv_b' owned by layer 'conv', param index 1" in log
    assert "pairs does not need backward computation." in log
    assert "cut does not need backward computation." in log


def test_a_loss_without_a_top_and_a_weighed_one() -> None:
    """Caffe makes the top itself; a weight hands a copy of the top to the loss."""
    text = INPUT + 'layer { name: "l" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'
    text += layer("InnerProduct", "loss_weight: 0.5 inner_product_param { num_output: 3 }", top="fc")
    text += 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" }'
    log = _log(text)
    assert log[log.index("loss -> (automatic)") :][:4] == [
        "loss -> (automatic)",
        "Setting up loss",
        "Top shape: (1)",
        "    with loss weight 1",
    ]
    assert "loss <- fc_fc_0_split_1" in log
    assert "This network produces output fc_fc_0_split_0" in log
    assert log.count("    with loss weight 0.5") == 1


def _log(text: str) -> list[str]:
    return log_lines(place(parse_definition(text, "net.prototxt"), PLAIN))


@needs_published
@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("lenet_train_test.prototxt@TRAIN", 5169924),
        ("lenet_train_test.prototxt@TEST", 8086808),
        ("bvlc_reference_caffenet_train_val.prototxt@TRAIN", 1757220868),
        ("bvlc_reference_caffenet_deploy.prototxt", 68681400),
        ("bvlc_alexnet_deploy.prototxt", 83232440),
    ],
)
def test_memory_required_is_what_caffe_logged(name: str, total: int) -> None:
    memory = [line for line in caffe_log(str(SHARED / "caffe" / name)) if line.startswith("Memory required")]
    assert memory[-1] == f"Memory required for data: {total}"


@needs_published
def test_the_published_lenet_logs_as_ours() -> None:
    assert caffe_log(str(SHARED / "caffe" / "lenet_train_test.prototxt")) == list(lenet_log())


# ---- counts


def test_lenet_by_hand() -> None:
    """conv1 25*20*24*24, conv2 25*20*50*8*8, ip1 800*500, ip2 500*10."""
    lenet = own("lenet.prototxt")
    assert [count.macs for count in lenet.counts if count.macs] == [288_000, 1_600_000, 400_000, 5_000]
    assert [layer.parameters for layer in lenet.layers if layer.parameters] == [520, 25_050, 400_500, 5_010]
    assert (lenet.inputs, lenet.batch, lenet.dataset.name) == (((1, 28, 28),), 64, "mnist")
    assert load(f"{OWN / 'lenet.prototxt'}@TEST", PLAIN).batch == 100


def test_lenet_is_the_zoos_in_every_kernel() -> None:
    assert _moved(own("lenet.prototxt")) == _moved(load_workload("lenet5"))


def test_a_batch_norm_and_its_scale_are_one_layer() -> None:
    """conv 16*8; two a channel; conv 2*2*9*16 (4 of 16 channels a group, 3x3); 16*2+2, 2*16+16."""
    block = own("squeeze_excite_block.prototxt")
    parameters = {layer.name: layer.parameters for layer in block.layers if layer.parameters}
    assert parameters == {"conv1": 128, "conv1/bn": 16, "conv2": 288, "conv2/bn": 32, "down": 34, "up": 48}
    assert [layer.op.kind for layer in block.layers if layer.name.startswith("axpy")] == ["scale", "add", "relu"]
    assert block.layers[-1].output == (16, 5, 5)


def test_shared_parameters_count_once() -> None:
    """conv 25*6+6; feature 6*12*12*4+4; the twins add nothing but work."""
    twins = own("siamese.prototxt", PAIRS)
    assert {layer.name: layer.parameters for layer in twins.layers} == {
        "cut/0": 0,
        "cut/1": 0,
        "conv": 156,
        "feature": 3460,
        "conv_p": 0,
        "feature_p": 0,
        "loss": 0,
    }
    assert [count.macs for count in twins.counts] == [0, 0, 21600, 3456, 21600, 3456, 0]


@pytest.mark.parametrize(
    ("name", "parameters"), [("version1.prototxt", 1176 + 8 + 1960 + 5), ("version0.prototxt", 1176 + 2560 + 5)]
)
def test_the_older_syntaxes(name: str, parameters: int) -> None:
    """conv 7*7*3*8 (+8), sides 14 and 7; or, padded by 2 and without bias, 16 and 8; fc 8*7*7*5+5 or 8*8*8*5+5."""
    old = own(name)
    assert old.parameters == parameters
    assert (old.batch, old.layers[-1].output) == (10, (5,))


def test_one_of_each_rarer_layer() -> None:
    rare = own("menagerie.prototxt")
    shapes = {layer.name: layer.output for layer in rare.layers}
    assert shapes["dilated"] == (8, 12, 10)  # 12 + 2*2 - 2*2, 10 + 0 - 0
    assert shapes["deconv"] == (8, 12, 10)  # 2*5 + 4 - 2, 2*4 + 4 - 2
    assert shapes["shape"] == (120, 4)
    assert shapes["rowwise"] == (120, 3)
    assert rare.macs == 8 * 3 * 8 * 120 + 8 * 16 * 30 + 120 * 4 * 3 + 720 * 6
    assert _lowers(rare)


@pytest.mark.parametrize(
    ("size", "window", "side"),
    [
        (112, "kernel_size: 3 stride: 2", 56),  # (112 - 3) / 2 = 54.5, up to 55
        (55, "kernel_size: 3 stride: 2", 27),
        (8, "kernel_size: 2 stride: 2 pad: 1", 5),
        (7, "kernel_size: 2 stride: 2 pad: 1", 4),  # 5 by rounding up, but the last would start in the padding
        (8, "kernel_size: 1 stride: 2", 5),  # rounded up, with no padding to look at
        (8, "kernel_size: 3 stride: 2 round_mode: FLOOR", 3),
        (8, "kernel_size: 3 stride: 2 ceil_mode: false", 3),
        (9, "global_pooling: true", 1),
    ],
)
def test_pooling_rounds_as_caffe_does(size: int, window: str, side: int) -> None:
    text = f'input: "data" input_shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }}'
    net = read(text + layer("Pooling", f"pooling_param {{ pool: MAX {window} }}"))
    assert net.layers[0].output == (3, side, side)


COUNTED = {
    "alexnet_caffe_bvlc": "bvlc_alexnet_deploy",
    "alexnet_caffenet": "bvlc_reference_caffenet_deploy",
    "caffe_lenet5_train_b64": "lenet_train_test",
    "googlenet_caffe_bvlc": "bvlc_googlenet_deploy",
    "inception_v3_caffe": "soeaver_deploy_inception-v3",
    "mobilenet_v1_caffe": "mobilenet_v1_deploy",
    "mobilenet_v2_caffe_shicai": "mobilenet_v2_deploy",
    "resnet101_caffe_v1": "ResNet-101-deploy",
    "resnet152_caffe_v1": "ResNet-152-deploy",
    "resnet50_caffe_v1": "ResNet-50-deploy",
    "resnext50_32x4d_caffe": "soeaver_deploy_resnext50-32x4d",
    "se_resnet101_caffe": "SE-ResNet-101",
    "se_resnet152_caffe": "SE-ResNet-152",
    "se_resnet50_caffe": "SE-ResNet-50",
    "se_resnext50_32x4d_caffe": "SE-ResNeXt-50",
    "senet154_caffe": "SENet-154",
    "squeezenet1_0_caffe": "squeezenet_v1.0_deploy",
    "vgg13_caffe": "soeaver_deploy_vgg13-pytorch",
    "vgg16_caffe": "soeaver_deploy_vgg16-pytorch",
    "vgg19_caffe": "soeaver_deploy_vgg19-pytorch",
}


@needs_published
@pytest.mark.parametrize(("truth", "name"), COUNTED.items())
def test_every_layer_counts_as_others_counted_it(truth: str, name: str) -> None:
    workload = load(str(SHARED / "caffe" / f"{name}.prototxt"), PLAIN)
    with (SHARED / "facts" / "layer_truth" / f"{truth}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    batch = workload.batch if truth.endswith("b64") else 1
    expected = [
        (row["layer_name"], int(row["weight_params"]) + int(row["bias_params"]), int(row["macs_forward"]) // batch)
        for row in rows
        if row["op_type"] in ("Convolution", "InnerProduct")
    ]
    counted = list(zip(workload.layers, workload.counts, strict=True))
    found = [(each.name, each.parameters, count.macs) for each, count in counted if count.macs]
    assert found == expected
    trained = sum(int(row["weight_params"]) + int(row["bias_params"]) for row in rows)
    assert workload.parameters == trained


# Parameters and MACs of networks as their papers' authors published them, batch norm's statistics not counted.
TOTALS = {
    "bvlc_alexnet_train_val": (60_965_224, 724_406_816),
    "bvlc_googlenet_deploy": (6_998_552, 1_582_671_872),
    "ResNet-50-deploy": (25_557_096, 3_857_973_248),
    "SE-ResNet-50": (28_088_024, 3_860_488_192),
    "SENet-154": (115_088_984, 20_688_363_520),
    "mobilenet_v1_deploy": (4_231_976, 568_740_352),
    "soeaver_deploy_vgg16-tf": (138_357_544, 15_470_264_320),
}


@needs_published
@pytest.mark.parametrize("path", NETWORKS, ids=[path.stem for path in NETWORKS])
def test_every_published_network_loads_and_lowers(path: Path) -> None:
    workload = load(str(path), PLAIN)
    assert _lowers(workload)
    assert workload.coverage == 1
    if path.stem in TOTALS:
        assert (workload.parameters, workload.macs) == TOTALS[path.stem]


# ---- the zoo's networks are the same

SAME = {
    "alexnet": ("bvlc_alexnet_train_val", 0),
    "googlenet": ("bvlc_googlenet_deploy", 0),
    "lenet5": ("lenet_train_test", 0),
    "resnet50_v1": ("ResNet-50-deploy", 64),  # its first convolution has a bias
    "se_resnet50": ("SE-ResNet-50", 0),
    "senet154": ("SENet-154", 0),
    "vgg16": ("soeaver_deploy_vgg16-pytorch", 0),
}


@needs_published
@pytest.mark.parametrize(("zoo", "published"), SAME.items())
def test_the_zoo_agrees(zoo: str, published: tuple[str, int]) -> None:
    ours, theirs = load_workload(zoo), load(str(SHARED / "caffe" / f"{published[0]}.prototxt"), PLAIN)
    assert theirs.macs == ours.macs
    assert theirs.parameters == ours.parameters + published[1]
    for found, expected in zip(_moved(theirs), _moved(ours), strict=True):
        assert found == pytest.approx(expected, rel=0.02)


def _moved(workload: Workload) -> tuple[float, float]:
    """Elements moved at batch 8, forward and backward."""
    kernels = lower(workload)
    fixed, each = (kernels.read + kernels.write).sum(axis=0)
    total = fixed + 8 * each
    forward = kernels.phase == Phase.FORWARD
    return float(total[forward].sum()), float(total[~forward].sum())


def _lowers(workload: Workload) -> bool:
    return len(lower(workload)) > len(lower(workload, training=False)) > 0


# ---- inputs, phases, requests


def test_data_without_a_shape_says_what_to_pass() -> None:
    text = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 8 } }\n'
    with pytest.raises(InputError, match=r"line 1.*--input 3,227,227"):
        read(text + layer("ReLU"))
    assert read(text + layer("ReLU"), Request(input_shape=(3, 40, 40))).inputs == ((3, 40, 40),)
    assert read(text.replace('"x"', '"cifar10_train"') + layer("ReLU")).inputs == ((3, 32, 32),)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ('type: "Data" transform_param { crop_size: 227 } data_param { batch_size: 4 }', (3, 227, 227)),
        ('type: "ImageData" image_data_param { batch_size: 4 new_height: 20 new_width: 30 }', (3, 20, 30)),
        (
            'type: "ImageData" transform_param { crop_size: 9 force_gray: true } image_data_param { batch_size: 4 }',
            (1, 9, 9),
        ),
        ('type: "MemoryData" memory_data_param { batch_size: 4 channels: 2 height: 5 width: 6 }', (2, 5, 6)),
        ('type: "DummyData" dummy_data_param { num: 4 channels: 2 height: 5 width: 6 }', (2, 5, 6)),
        ('type: "DummyData" dummy_data_param { shape { dim: 4 dim: 7 } }', (7,)),
        ('type: "WindowData" window_data_param { batch_size: 4 crop_size: 11 }', (3, 11, 11)),
    ],
)
def test_where_a_sample_s_shape_comes_from(data: str, shape: tuple[int, ...]) -> None:
    net = read(f'layer {{ name: "d" top: "data" {data} }}\n' + layer("ReLU"))
    assert (net.inputs, net.batch) == ((shape,), 4)


def test_an_image_size_can_be_asked_for() -> None:
    net = read(
        INPUT + layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }"), Request(image_size=20)
    )
    assert net.layers[0].output == (4, 18, 18)


def test_phases_stages_and_levels() -> None:
    text = (
        INPUT
        + layer("ReLU", 'include { phase: TEST stage: "deploy" }', top="a")
        + layer("ReLU", 'include { phase: TRAIN } include { not_stage: "deploy" phase: TEST }', top="b")
        + layer("ReLU", "exclude { min_level: 1 }", top="c")
    )
    names = {
        words: [each.name for each in parse_definition(text, "net", words.split(",")).layers]
        for words in ("TRAIN", "TEST", "TEST,deploy")
    }
    assert names == {"TRAIN": ["data", "b", "c"], "TEST": ["data", "b", "c"], "TEST,deploy": ["data", "a", "c"]}
    assert parse_definition(text, "net").state.phase == "TEST"
    assert parse_definition(SEEDS[0], "net").state.phase == "TRAIN"
    with pytest.raises(UnknownNameError, match="did you mean 'TRAIN'"):
        load(f"{OWN / 'lenet.prototxt'}@TRIAN", PLAIN)


def test_a_layer_without_a_rule_is_an_error_until_allowed() -> None:
    text = INPUT + layer("Mystery") + layer("ReLU", bottom="top", top="end")
    with pytest.raises(UnsupportedError, match=r"line 2: layer 'top'.*'Mystery'"):
        read(text)
    allowed = read(text, replace(PLAIN, allow_unknown=True))
    assert allowed.unknown == ("top",)


# ---- the text format


def test_the_text_format() -> None:
    message = parse('a: 1 a: [2, 3] b { c: \'x"y\' "z" } # b { d: 1\nd < e: -1.5e3f > f: true g: NAME;', "text")
    assert message.integers("a") == [1, 2, 3]
    assert message.message("b").text("c") == 'x"yz'
    assert message.message("d").number("e") == -1500
    assert message.flag("f")
    assert message.choice("g", ("OTHER", "NAME")) == "NAME"
    assert set(message.fields) == {"a", "b", "d", "f", "g"}


CONV = "convolution_param { num_output: 4 kernel_size: 3 }"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: the file is empty"),
        ("layer {\n name: 'x'", "line 1: this block is not closed"),
        ("layer { name: 'x' >", "'>' closes nothing"),
        ("}", "'}' closes nothing"),
        ('name: "net"\n\n ?', "line 3: expected `field: value`"),
        ("name: 5", "must be a text in quotes"),
        ("nmae: 'x'", "did you mean 'name'"),
        ("a {" * 40, "nested deeper"),
        ("name: 'x'", "no layers"),
        ("base_lr: 0.1 net: 'a.prototxt'", "this is a solver, not a network; its network is 'a.prototxt'"),
        (INPUT + "layer { name: 'x' }", "line 2: a layer needs a type"),
        (INPUT + layer("ReLU", bottom="dtaa"), "line 2: layer 'top': unknown bottom blob 'dtaa'"),
        (INPUT + layer("ReLU", bottom="top"), "unknown bottom blob 'top'"),
        (INPUT + layer("ReLU") + layer("TanH"), "top blob 'top' is written by several layers"),
        (INPUT + layer("Convolution", CONV.replace("kernel_size", "kernel_sze")), "did you mean 'kernel_size'"),
        (INPUT + layer("Convolution", CONV.replace("4", "-4")), "`num_output` must be a whole number"),
        (INPUT + layer("Convolution", CONV.replace("4", "9999999999999")), "`num_output` must be a whole number"),
        (INPUT + layer("Convolution", CONV.replace("4", "4 group: 5")), "do not divide into 5 groups"),
        (INPUT + layer("Convolution", CONV.replace("3", "30")), "has a side below one"),
        (INPUT + layer("Convolution", CONV.replace("3", "0")), "must be at least 1"),
        (INPUT + layer("Deconvolution", CONV.replace("3", "2000000000")), "larger than any memory"),
        (INPUT + layer("InnerProduct", "inner_product_param { num_output: 4 axis: 7 }"), "axis 7 is not among the 4"),
        (INPUT + layer("Concat", "bottom: 'data' concat_param { axis: 9 }"), "axis 9"),
        (INPUT + layer("Reshape", "reshape_param { shape { dim: 0 dim: 5 dim: -1 } }"), "does not reshape"),
        (INPUT + layer("Reshape", "reshape_param { shape { dim: -1 dim: 6 } }"), "mixes the samples"),
        (INPUT + layer("Slice", "slice_param { slice_point: 3 }"), "do not cut 6 into 1 tops"),
        (INPUT + layer("Eltwise"), "two or more bottoms"),
        (INPUT + layer("Axpy"), "Axpy needs"),
        (INPUT + layer("Scale", "bottom: 'data' scale_param { bias_term: maybe }"), "must be true or false"),
        (INPUT + layer("ReLU", "include { phase: TRAIN } exclude { phase: TEST }"), "not both"),
        (INPUT + layer("ReLU") + "layers { type: RELU }", "not both"),
        ("input: 'data' input_dim: 1 input_dim: 3 " + layer("ReLU"), "four `input_dim`"),
        ("input: 'data'" + layer("ReLU"), "pass --input"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(SimulatorError) as caught:
        read(text)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("net.prototxt")
    assert "\n" not in str(caught.value)


# ---- hostile files

SEEDS = [path.read_text(encoding="utf-8") for path in sorted(OWN.glob("*.prototxt"))]
PIECES = [
    "{",
    "}",
    "dim: 0",
    "dim: 1000000000",
    "axis: -3",
    "stride: 0",
    'bottom: "data"',
    'top: "data"',
    '"',
    "#",
    ":",
]
SECONDS = 1.0


def _survives(text: str, seconds: float = SECONDS) -> None:
    """A result or a one-line SimulatorError, soon."""
    start = time.process_time()
    complaint = _complaint(text)
    assert time.process_time() - start < seconds
    assert "\n" not in complaint
    assert len(complaint) < 600


def _complaint(text: str) -> str:
    try:
        workload = read(text)
        lower(workload)
    except SimulatorError as error:
        return str(error)
    assert workload.macs >= 0
    return ""


@given(st.sampled_from(SEEDS), st.integers(min_value=0), st.integers(min_value=1, max_value=6))
def test_mutated_networks_end_well(text: str, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    for _ in range(changes):
        start = chance.randrange(len(text))
        stop = min(len(text), start + chance.choice((0, 1, 3, 40)))
        new = chance.choice(
            [*PIECES, "", str(chance.randrange(-9, 99)), chr(chance.randrange(1, 0x2FF)), text[stop : stop + 60]]
        )
        text = text[:start] + new + text[stop:]
    _survives(text)


@given(st.text(alphabet='layerinputdm:{}<>[]"\\# \n019-.,', max_size=200))
def test_random_text_ends_well(text: str) -> None:
    _survives(text)


@pytest.mark.parametrize(
    "text",
    [
        "a { " * 100_000,
        "#" * 1_000_000,
        '"' * 1_000_000,
        "name: " + '"\\' * 500_000,
        "a: [" + "1," * 300_000,
        "a:1 " * 300_000,
        INPUT + layer("ReLU", top="a") * 15_000,
        INPUT + layer("ReLU", top="a") + layer("ReLU", bottom="a", top="a") * 15_000,
        INPUT + "".join(layer("ReLU", bottom="data", top=f"t{number}") for number in range(3_000)),
    ],
    ids=["deep", "comment", "quotes", "escapes", "list", "fields", "twins", "chain", "fan"],
)
def test_large_hostile_texts_end_soon(text: str) -> None:
    _survives(text, 10 * SECONDS)


def test_files_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="cannot be read"):
        load(str(path), PLAIN)
    path.write_bytes(b" " * (8 * 2**20 + 1))
    with pytest.raises(InputError, match="larger than"):
        load(str(path), PLAIN)
    with pytest.raises(InputError, match="not a file"):
        load(str(tmp_path / "absent.prototxt"), PLAIN)


@needs_published
def test_a_large_file_is_read_in_milliseconds() -> None:
    """SENet-154's 930 layers in about 50 ms on a laptop core; twenty times as much would be a wrong algorithm."""
    path = str(SHARED / "caffe" / "SENet-154.prototxt")
    load(path, PLAIN)
    start = time.process_time()
    load(path, PLAIN)
    assert time.process_time() - start < SECONDS
