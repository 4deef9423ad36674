"""Every convolutional network against counts that others published or measured, and its kernels against each other."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from simulator import catalog
from simulator.errors import InputError
from simulator.op.base import elements
from simulator.op.kernel import Engine, Phase
from simulator.op.kernels import Kernels
from simulator.workload.importers import Request
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import INPUT, Workload

TRUTH = Path(__file__).parents[2] / ".." / "shared" / "facts" / "layer_truth"

# Trained parameters and multiply-accumulates of convolutions and linear layers, one image. Source, where none is named:
# operators recorded while torchvision 0.29.1 and timm 1.0.31 ran the networks without data (batch 1, evaluation).
NETWORKS: dict[str, tuple[int, int]] = {
    "alexnet": (60_965_224, 724_406_816),  # BVLC Caffe, bvlc_alexnet deploy.prototxt
    # By hand: convolutions of 54, 26 and three times 12 positions a side, 6400 x 4096, 4096 x 4096 and 4096 x 1000.
    "alexnet_mxnet": (50_844_008, 1_009_945_728),
    # torchvision's, and 128 channels more in the fourth convolution, 13 x 13 positions.
    "alexnet_tensorflow": (61_838_248, 838_788_800),
    "alexnet_torchvision": (61_100_840, 714_188_480),
    "convnext_base": (88_591_464, 15_354_729_472),
    "convnext_large": (197_767_336, 34_361_433_600),
    "convnext_small": (50_223_688, 8_683_712_256),
    "convnext_tiny": (28_589_128, 4_455_531_264),
    "densenet121": (7_978_856, 2_834_161_664),
    "densenet161": (28_681_000, 7_727_907_072),
    "densenet169": (14_149_480, 3_359_843_328),
    "densenet201": (20_013_928, 4_291_365_888),
    "efficientnet_b0": (5_288_548, 385_814_752),
    "efficientnet_b1": (7_794_184, 686_802_832),
    "efficientnet_b2": (9_109_994, 1_087_529_456),
    "efficientnet_b3": (12_233_232, 1_827_141_392),
    "efficientnet_b4": (19_341_616, 4_393_771_024),
    "efficientnet_b5": (30_389_784, 10_266_384_752),
    "efficientnet_b6": (43_040_704, 19_067_593_536),
    "efficientnet_b7": (66_347_960, 37_745_884_192),
    "googlenet": (6_998_552, 1_582_671_872),  # BVLC Caffe, bvlc_googlenet deploy.prototxt
    "googlenet_torchvision": (6_624_904, 1_498_376_192),
    "inception_bn": (11_295_240, 2_032_600_064),  # parameters: imgclsmob; MACs: ours, see below
    "inception_v3": (23_834_568, 5_713_216_096),
    "inception_v4": (42_679_816, 12_253_974_624),
    "lenet5": (431_080, 2_293_000),  # BVLC Caffe, lenet.prototxt
    "mnasnet0_5": (2_218_512, 104_455_968),
    "mnasnet0_75": (3_170_208, 215_493_104),
    "mnasnet1_0": (4_383_312, 314_415_872),
    "mnasnet1_3": (6_282_256, 526_362_432),
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "mobilenet_v3_small": (2_542_856, 56_510_400),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet200": (64_673_832, 15_007_481_856),  # ours, see below
    "resnet50_v1": (25_557_032, 3_857_973_248),  # the authors' Caffe network, without the stem's 64 biases
    "resnet101_v1": (44_549_160, 7_570_194_432),  # the authors' Caffe network
    "resnet152_v1": (60_192_808, 11_282_415_616),  # the authors' Caffe network
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "resnext101_32x4d": (44_177_704, 7_969_996_800),
    "resnext101_32x8d": (88_791_336, 16_414_015_488),
    "resnext101_64x4d": (83_455_272, 15_460_270_080),
    "resnext152_32x4d": (59_951_400, 11_709_513_728),  # pycls, X-152-32x4d: 11,709,514,728 with 1000 biases
    "se_resnet50": (28_088_024, 3_860_488_192),
    "se_resnet101": (49_326_872, 7_574_937_600),
    "se_resnet152": (66_821_848, 11_288_993_792),
    "se_resnext50_32x4d": (27_559_896, 4_232_994_816),
    "se_resnext101_32x4d": (48_955_416, 7_974_739_968),
    "senet154": (115_088_984, 20_688_363_520),
    "shufflenet_v2_x0_5": (1_366_792, 40_476_448),
    "shufflenet_v2_x1_0": (2_278_604, 144_907_992),
    "shufflenet_v2_x1_5": (3_503_624, 295_759_392),
    "shufflenet_v2_x2_0": (7_393_996, 583_253_464),
    "squeezenet1_0": (1_248_424, 818_924_576),
    "squeezenet1_1": (1_235_496, 349_151_936),
    "unet": (31_037_698, 192_686_325_760),  # milesial/Pytorch-UNet, run likewise
    "unet_bilinear": (17_263_042, 159_937_200_128),  # milesial/Pytorch-UNet, run likewise
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg11_bn": (132_868_840, 7_609_090_048),
    "vgg13": (133_047_848, 11_308_466_176),
    "vgg13_bn": (133_053_736, 11_308_466_176),
    "vgg13_timm": (133_047_848, 11_308_466_176),  # the linear layers' work
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg16_bn": (138_365_992, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
    "vgg19_timm": (143_667_240, 19_632_062_464),
    "vgg19_bn": (143_678_248, 19_632_062_464),
    "wide_resnet50_2": (68_883_240, 11_398_021_120),
    "wide_resnet101_2": (126_886_696, 22_753_050_624),
}

# Parameters, MACs with one more for each biased output, and outputs of convolutions and linear layers.
# Source: facebookresearch/pycls, dev/model_complexity.json, configs/dds_baselines/regnet{x,y} ("flops", "acts").
REGNETS: dict[str, tuple[int, int, int]] = {
    "regnetx_200mf": (2_684_792, 199_040_872, 2_164_056),
    "regnetx_400mf": (5_157_512, 397_678_568, 3_143_272),
    "regnetx_600mf": (6_196_040, 600_891_112, 3_975_096),
    "regnetx_800mf": (7_259_656, 799_700_712, 5_148_744),
    "regnetx_1.6gf": (9_190_136, 1_602_850_792, 7_933_512),
    "regnetx_3.2gf": (15_296_552, 3_176_622_952, 11_367_432),
    "regnetx_4.0gf": (22_118_248, 3_964_499_816, 12_201_608),
    "regnetx_6.4gf": (26_209_256, 6_460_292_264, 16_369_744),
    "regnetx_8.0gf": (39_572_648, 7_995_133_416, 14_059_688),
    "regnetx_12gf": (46_106_056, 12_086_679_016, 21_366_568),
    "regnetx_16gf": (54_278_536, 15_940_756_456, 25_515_496),
    "regnetx_32gf": (107_811_560, 31_735_930_792, 36_302_160),
    "regnety_200mf": (3_162_996, 199_519_076, 2_168_052),
    "regnety_400mf": (4_344_144, 401_849_056, 3_892_496),
    "regnety_600mf": (6_055_160, 601_227_608, 4_334_296),
    "regnety_800mf": (6_263_168, 797_183_328, 5_249_888),
    "regnety_1.6gf": (11_202_430, 1_612_087_326, 8_044_814),
    "regnety_3.2gf": (19_436_338, 3_176_496_162, 11_263_418),
    "regnety_4.0gf": (20_646_656, 3_973_301_344, 12_287_200),
    "regnety_6.4gf": (30_583_252, 6_355_221_876, 16_407_188),
    "regnety_8.0gf": (39_180_068, 7_963_074_196, 17_968_916),
    "regnety_12gf": (51_822_544, 12_092_395_504, 21_384_496),
    "regnety_16gf": (83_590_140, 15_911_534_044, 23_041_228),
    "regnety_32gf": (145_046_770, 32_279_583_362, 30_261_570),
}

RECORDED = {
    "alexnet": "alexnet_caffe_bvlc",
    "googlenet": "googlenet_caffe_bvlc",
    "lenet5": "caffe_lenet5",
    "resnet101_v1": "resnet101_caffe_v1",
    "resnet152_v1": "resnet152_caffe_v1",
    "se_resnet101": "se_resnet101_caffe",
    "se_resnet152": "se_resnet152_caffe",
    "unet_bilinear": "unet_milesial_bilinear_512",
    "vgg16": "vgg16_torchvision",
}
"""Networks whose record has another name; Caffe files list a block's shortcut first, so that order is not compared."""

NO_STEM_BIAS = "resnet50_v1"
"""The Caffe network adds a bias to the first convolution, which the batch normalisation after it cancels."""


@cache
def network(name: str) -> Workload:
    return load_workload(name)


def multiplying(workload: Workload) -> list[tuple[int, int]]:
    """MACs and parameters of convolutions and linear layers, in order."""
    pairs = zip(workload.layers, workload.counts, strict=True)
    return [(count.macs, layer.parameters) for layer, count in pairs if count.macs]


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_and_macs(name: str) -> None:
    assert (network(name).parameters, network(name).macs) == NETWORKS[name]


@pytest.mark.parametrize("name", REGNETS)
def test_regnet_as_its_authors_count(name: str) -> None:
    workload = network(name)
    layers = [layer for layer, count in zip(workload.layers, workload.counts, strict=True) if count.macs]
    outputs = sum(elements(layer.output) for layer in layers)
    biases = sum(elements(layer.output) for layer in layers if layer.op.bias)  # type: ignore[attr-defined]
    assert (workload.parameters, workload.macs + biases, outputs) == REGNETS[name]


def test_every_convolutional_workload_is_in_the_tables() -> None:
    families = {"alexnet", "convnext", "densenet", "efficientnet", "googlenet", "inception_bn", "inception_v3"}
    families |= {"inception_v4", "mnasnet", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "regnet", "resnet"}
    families |= {"senet", "shufflenet_v2", "squeezenet", "unet", "vgg"}
    known = {name: catalog.read_yaml(catalog.find("workloads", name)) for name in catalog.names("workloads")}
    found = {name for name, content in known.items() if content.get("family") in families}
    assert found | {"lenet5"} == set(NETWORKS) | set(REGNETS)


def test_a_one_column_alexnet_has_five_widths() -> None:
    with pytest.raises(InputError, match="length >= 5 - at `widths`, found \\[64, 192\\]"):
        read_workload(
            {
                "name": "x",
                "family": "alexnet",
                "variant": "torchvision",
                "widths": [64, 192],
                "input": [3, 224, 224],
                "dataset": "imagenet",
            },
            "x.yaml",
        )


def test_resnet200_is_resnet152_and_sixteen_blocks_more() -> None:
    # A block of stage 2 on 28 x 28: 1x1 512 to 128, 3x3 128 to 128, 1x1 128 to 512; three pairs of scale and shift.
    weights = 512 * 128 + 9 * 128 * 128 + 128 * 512
    scales = 2 * (128 + 128 + 512)
    parameters, macs = NETWORKS["resnet152"]
    assert NETWORKS["resnet200"] == (parameters + 16 * (weights + scales), macs + 16 * weights * 28 * 28)


def test_inception_bn_within_a_hundredth_of_the_published_operations() -> None:
    # imgclsmob lists 2,048.06 million, which count normalisation, ReLU and pooling too.
    assert 0.99 * 2_048_060_000 < network("inception_bn").macs < 2_048_060_000


@pytest.mark.parametrize(
    ("name", "size", "macs"),
    [
        ("unet", 572, 238_837_101_568),  # 71 halves to 35: one row of zeros on the way up
        ("unet_bilinear", 572, 198_696_104_960),
        ("efficientnet_b2", 260, 993_561_872),
        ("efficientnet_b4", 320, 3_063_687_008),
    ],
)
def test_another_image_size(name: str, size: int, macs: int) -> None:
    assert load_workload(name, request=Request(image_size=size)).macs == macs


@pytest.mark.parametrize("name", ["vgg16", "alexnet_torchvision"])
def test_linear_layers_keep_their_size_on_a_larger_image(name: str) -> None:
    assert load_workload(name, request=Request(image_size=320)).parameters == NETWORKS[name][0]


@pytest.mark.parametrize("name", [name for name in NETWORKS if (TRUTH / f"{RECORDED.get(name, name)}.csv").is_file()])
def test_each_layer_as_recorded(name: str) -> None:
    with (TRUTH / f"{RECORDED.get(name, name)}.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["macs_forward"])]
    recorded = [(int(row["macs_forward"]), int(row["params"])) for row in rows]
    ours = multiplying(network(name))
    if "caffe" in RECORDED.get(name, ""):
        recorded, ours = sorted(recorded), sorted(ours)
    assert ours == recorded


@pytest.mark.skipif(not TRUTH.is_dir(), reason="the recorded layers are not here")
def test_each_layer_of_resnet50_version_1() -> None:
    with (TRUTH / "resnet50_caffe_v1.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if int(row["macs_forward"])]
    recorded = [(int(row["macs_forward"]), int(row["params"])) for row in rows]
    stem_macs, stem_parameters = recorded[0]
    recorded[0] = (stem_macs, stem_parameters - 64)
    assert sorted(multiplying(network(NO_STEM_BIAS))) == sorted(recorded)


# ---- kernels


def matrix_flops(kernels: Kernels, *phases: Phase) -> float:
    """FLOPs of products of matrices, one sample."""
    chosen = np.isin(kernels.phase, phases) & (kernels.engine == Engine.MATRIX)
    return float(kernels.flops[1, chosen].sum())


@pytest.mark.parametrize("name", [*NETWORKS, *REGNETS])
def test_backward_is_twice_forward_but_for_the_first_layer(name: str) -> None:
    """Input and weight gradient each repeat the forward products; nobody asks for the gradient of the images."""
    workload, kernels = network(name), lower(network(name))
    firsts = [position for position, layer in enumerate(workload.layers) if INPUT in layer.sources]
    first = 2 * sum(workload.counts[position].macs for position in firsts)
    forward = matrix_flops(kernels, Phase.FORWARD)
    assert first > 0
    assert forward == 2 * workload.macs
    assert matrix_flops(kernels, Phase.INPUT_GRADIENT) == forward - first
    assert matrix_flops(kernels, Phase.WEIGHT_GRADIENT) == forward


@pytest.mark.parametrize("name", [*NETWORKS, *REGNETS])
def test_inference_keeps_the_products_and_folds_normalisation(name: str) -> None:
    """A batch normalisation right after a convolution vanishes; DenseNet's others stay as scale and shift."""
    workload, kernels = network(name), lower(network(name), training=False)
    assert set(kernels.phase) == {Phase.FORWARD}
    assert matrix_flops(kernels, Phase.FORWARD) == 2 * workload.macs
    left = {workload.layers[layer].name for layer in kernels.layer if workload.layers[layer].op.kind == "batch_norm"}
    assert all(name.startswith("densenet") and part.endswith(("norm1", ".norm", "norm5")) for part in left)
    assert bool(left) == name.startswith("densenet")
