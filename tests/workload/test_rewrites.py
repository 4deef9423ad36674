"""Rewrites: counts by hand, the sizes of Deep Compression, and what cannot be."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.errors import InputError, SimulatorError, UnknownNameError
from simulator.pipeline import Options, simulate
from simulator.workload.reading import load_workload
from simulator.workload.rewrites import Encoding, apply, stored_bytes

ALEXNET = load_workload("alexnet")


def layer(name: str, *rewrites: str, workload: str = "alexnet") -> dict[str, int]:
    made = apply(load_workload(workload), rewrites).workload
    return {one.name: one.parameters for one in made.layers if one.name.startswith(name)}


def test_low_rank_by_hand() -> None:
    # fc6 is 4096 x 9216 and a bias: 256 x 9216, then 4096 x 256 and the bias.
    assert layer("fc6", "lowrank:fc6=256") == {"fc6.v": 256 * 9216, "fc6.u": 4096 * 256 + 4096}
    # conv3 is 384 filters of 3 x 3 over 256 channels: 64 such filters, then 384 of 1 x 1 over 64.
    found = layer("conv3", "lowrank:conv3=64")
    assert found == {"conv3.v": 64 * 9 * 256, "conv3.u": 384 * 64 + 384}


def test_fewer_channels_make_the_next_layer_smaller() -> None:
    # Without groups conv2 sees 48 of conv1's 96 channels.
    made = apply(load_workload("vgg16"), ["channels:features.0=0.5"]).workload
    by_name = {one.name: one for one in made.layers}
    assert by_name["features.0"].output[0] == 32
    assert by_name["features.2"].parameters == 64 * 32 * 9 + 64


def test_normalisation_folds_away() -> None:
    before = load_workload("resnet50")
    after = apply(before, ["fuse:conv-bn-relu"]).workload
    assert not [one for one in after.layers if one.op.kind == "batch_norm"]
    assert after.macs == before.macs
    # 53 normalisations have a scale and a shift a channel; as many biases stay.
    channels = sum(one.parameters for one in before.layers if one.op.kind == "batch_norm") // 2
    assert before.parameters - after.parameters == channels


# Han, Mao, Dally, "Deep Compression", table 4: share of AlexNet's weights that stay, by layer; codes of 8 bits for
# convolutions and 5 for fully connected layers, distances of 4 bits: 27 times smaller before Huffman coding, 35 after.
KEPT = {
    "conv1": 0.84,
    "conv2": 0.38,
    "conv3": 0.35,
    "conv4": 0.37,
    "conv5": 0.37,
    "fc6": 0.09,
    "fc7": 0.09,
    "fc8": 0.25,
}


def test_deep_compression_of_alexnet() -> None:
    pruned = [f"prune:{name}={1 - share:.2f}" for name, share in KEPT.items()]
    coded = ["codebook:conv*=8bit", "codebook:fc*=5bit"]
    made = apply(ALEXNET, [*pruned, *coded])
    plain = stored_bytes(ALEXNET, {})
    assert plain == pytest.approx(240e6, rel=0.03)
    kept = sum(KEPT[one.name] * one.parameters for one in ALEXNET.layers if one.name in KEPT)
    assert ALEXNET.parameters / kept == pytest.approx(9, rel=0.03)
    assert plain / made.bytes == pytest.approx(27, rel=0.15)


def test_bits_by_hand() -> None:
    # A tenth of a million weights at 8 bits and 4 of distance, and a table of 256 values of 32 bits.
    storage = Encoding(kept=0.1, bits=8, index_bits=4, table_values=256)
    assert storage.bytes_of(1_000_000) == 1e5 * 12 / 8 + 256 * 4
    assert apply(ALEXNET, ["quantize:int8"]).bytes == ALEXNET.parameters
    assert apply(ALEXNET, ["quantize:binary"]).bytes == pytest.approx(ALEXNET.parameters / 8)
    assert apply(ALEXNET, ["codebook:5bit", "huffman:3.5"]).bytes < apply(ALEXNET, ["codebook:5bit"]).bytes


def test_rewrites_compose_in_their_order() -> None:
    made = apply(ALEXNET, ["lowrank:fc6=256", "prune:fc6.v=0.5", "quantize:fc6.*=fp16"])
    assert made.storage["fc6.v"] == Encoding(kept=0.5, bits=16, index_bits=4)
    assert made.storage["fc6.u"] == Encoding(bits=16)
    assert made.workload.changes["apply"].startswith("lowrank:fc6=256 prune")
    assert apply(ALEXNET, []).workload is ALEXNET


def test_only_what_changes_shapes_changes_time() -> None:
    device, options = load_device("v100"), Options(batch=32, task="infer")
    plain = simulate(ALEXNET, device, options).step.time_s
    pruned = apply(ALEXNET, ["prune:fc6=0.9"]).workload
    assert simulate(pruned, device, options).step.time_s == plain
    thin = apply(ALEXNET, ["lowrank:fc6=256"]).workload
    assert simulate(thin, device, options).step.time_s < plain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lowrank:fc6", "NAME:LAYERS=VALUE|between"),
        ("lowrank:fc9=256", "no convolution or linear layer is called 'fc9'"),
        ("lowrank:fc6=5000", "fc6 has 4096 outputs"),
        ("lowrank:conv2=16", "groups"),
        ("channels:conv1=0", "between"),
        ("prune:fc6=1.5", "between"),
        ("quantize:int3", "int3"),
        ("squash:fc6=2", "unknown rewrite"),
        ("fuse:bn", "conv-bn-relu"),
        ("fuse:conv-bn-relu", "no normalisation"),
        ("codebook:40bit", "between"),
    ],
)
def test_what_cannot_be(text: str, words: str) -> None:
    with pytest.raises(SimulatorError, match=words) as caught:
        apply(ALEXNET, [text])
    assert "\n" not in str(caught.value)


def test_shapes_that_no_longer_fit_name_the_layer() -> None:
    with pytest.raises(InputError, match=r"layer1\.0\.add"):
        apply(load_workload("resnet50"), ["channels:layer1.0.conv3=0.5"])
    with pytest.raises(UnknownNameError):
        apply(ALEXNET, ["prun:fc6=0.5"])
