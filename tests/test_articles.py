"""The founding articles' figures, A to H of docs/articles.md, from the program's own command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from simulator.cli import main
from simulator.device.memory import load_memory
from simulator.units import parse

DAY = 86_400


def simulated(*arguments: str) -> dict[str, Any]:
    """The JSON of one call."""
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def main_job(*arguments: str) -> dict[str, Any]:
    return simulated(*arguments, "--no-report")


def layers(*arguments: str) -> dict[str, dict[str, Any]]:
    """Layer name -> row of `simulate layers`."""
    return {row["name"]: row for row in simulated("layers", *arguments)["layers"]}


def written(folder: Path, shape: str, layer: str) -> str:
    """A workload file of one layer."""
    path = folder / "one.yaml"
    path.write_text(f"name: one\ninput: {shape}\nlayers: [{layer}]\n", encoding="utf-8")
    return str(path)


# ---- A. SENet on two machines


@pytest.mark.parametrize(
    ("device", "count", "days"),
    [
        # 21e9 x 1.2e6 x 100 = 2.52e18 operations, over 160 GFLOP/s and 7 TFLOP/s.
        ("cpu-16core", "articles", 182.29),
        ("v100", "articles", 4.1667),
        # The exact 20,688,363,520.
        ("cpu-16core", "exact", 179.59),
        ("v100", "exact", 4.1048),
    ],
)
def test_a_senet_on_two_machines(device: str, count: str, days: float) -> None:
    run = ["--workload", "senet", "--device", device, "--epochs", "100", "--dataset", "imagenet-1.2m"]
    answer = main_job(*run, "--fidelity", "napkin", "--count", count)
    assert answer["run"]["total_s"] / DAY == pytest.approx(days, rel=1e-4)


def test_a_what_the_division_leaves_out() -> None:
    answer = main_job("--workload", "senet", "--device", "v100", "--fidelity", "napkin", "--dataset", "imagenet-1.2m")
    forward, batch = answer["workload"]["macs_forward_per_sample"], answer["options"]["batch"]
    assert answer["workload"]["flops_step"] / (forward * batch) == pytest.approx(6.03, abs=0.01)


def test_a_work_and_datasets() -> None:
    senet, alexnet = (simulated("layers", name)["workload"] for name in ("senet", "alexnet"))
    assert senet["macs_forward_per_sample"] == 20_688_363_520
    assert senet["dataset"]["samples"] == 1_281_167
    assert senet["macs_forward_per_sample"] / alexnet["macs_forward_per_sample"] == pytest.approx(28.56, abs=0.01)
    assert 21e9 * 1.2e6 * 100 == 2.52e18
    jft = simulated("layers", "senet", "--dataset", "jft300m")["workload"]["dataset"]["samples"]
    assert jft / 1.2e6 == 250


# ---- B. AlexNet


def test_b_alexnet_layer_by_layer() -> None:
    rows = layers("alexnet")
    found = {name: (row["macs"], row["parameters"]) for name, row in rows.items() if row["macs"]}
    assert found == {
        "conv1": (105_415_200, 34_944),
        "conv2": (223_948_800, 307_456),
        "conv3": (149_520_384, 885_120),
        "conv4": (112_140_288, 663_936),
        "conv5": (74_760_192, 442_624),
        "fc6": (37_748_736, 37_752_832),
        "fc7": (16_777_216, 16_781_312),
        "fc8": (4_096_000, 4_097_000),
    }
    assert sum(macs for macs, _ in found.values()) == 724_406_816
    assert sum(parameters for _, parameters in found.values()) == 60_965_224
    assert sum(row["activations"] for row in rows.values() if row["macs"]) == 659_272
    assert rows["pool5"]["output_shape"] == [256, 6, 6]


def test_b_parameters_in_bytes() -> None:
    memory = main_job("--workload", "alexnet", "--device", "v100", "--task", "infer")["memory"]
    assert memory["parameters_bytes"] == 243_860_896


def test_b_the_bias_as_an_operation() -> None:
    rows = layers("alexnet", "--count", "articles")
    assert rows["conv1"]["macs"] == 105_705_600
    assert rows["fc6"]["macs"] == (9216 + 1) * 4096
    assert rows["fc8"]["macs"] == (4096 + 1) * 1000


# ---- C. Time and bandwidth of a layer


def test_c_conv1_at_120_teraflops() -> None:
    run = ["--workload", "alexnet", "--device", "v100", "--task", "infer", "--batch", "1", "--fidelity", "roofline"]
    rows = {row["name"]: row for row in main_job(*run, "--set", "peak.fp32=120TFLOP/s")["layers"]}
    conv1, pool1 = rows["conv1"], rows["pool1"]
    assert conv1["compute_s"] == pytest.approx(1.757e-6, rel=1e-3)
    # Bytes over compute time: 154,587 + 290,400 + 34,944 elements of four bytes.
    assert conv1["traffic_bytes"] == 4 * (154_587 + 290_400 + 34_944)
    assert 4 * 154_587 / conv1["compute_s"] == pytest.approx(351.9e9, rel=1e-3)
    assert 4 * 290_400 / conv1["compute_s"] == pytest.approx(661.16e9, rel=1e-4)
    assert 4 * 34_848 / conv1["compute_s"] == pytest.approx(79.34e9, rel=1e-4)  # as printed: without the 96 biases
    assert 4 * 34_944 / conv1["compute_s"] == pytest.approx(79.56e9, rel=1e-4)
    # 1093 GB/s wanted of 900: the layer waits for memory at that pace.
    assert conv1["traffic_bytes"] / conv1["compute_s"] == pytest.approx(1092.7e9, rel=1e-4)
    assert conv1["bound"] == "memory"
    # Pooling: the comparisons' time and the traffic's.
    assert layers("alexnet", "--count", "articles")["pool1"]["flops"] / 120e12 == pytest.approx(2.42e-9, rel=1e-3)
    assert pool1["traffic_bytes"] == 4 * (290_400 + 69_984)
    assert pool1["time_s"] == pytest.approx(1.602e-6, rel=1e-3)
    assert pool1["bound"] == "memory"


def test_c_the_best_module_of_ddr4() -> None:
    assert parse(load_memory("ddr4-2400").bandwidth, "byte/s") == 19.2e9


# ---- D. Operations by layer type


@pytest.mark.parametrize(
    ("layer", "shape", "macs", "flops"),
    [
        ("linear: {out: 3, bias: false}", "[8]", 24, (2 * 8 - 1) * 3),
        ("linear: {out: 1, bias: false}", "[8]", 8, 2 * 8 - 1),  # a dot product of n: 2 n - 1
        ("linear: {out: 3}", "[8]", 24 + 3, 2 * 8 * 3),
        ("conv: {out: 4, kernel: 3, bias: false}", "[2, 5, 5]", 648, 1296),
        ("conv: {out: 4, kernel: 3, groups: 2, bias: false}", "[2, 5, 5]", 324, 648),
        ("relu", "[7]", 0, 7),
        ("sigmoid", "[7]", 0, 4 * 7),
        ("max_pool: {kernel: 2}", "[128, 112, 112]", 0, 1_605_632),
    ],
)
def test_d_operations_by_layer_type(tmp_path: Path, layer: str, shape: str, macs: int, flops: int) -> None:
    (row,) = layers(written(tmp_path, shape, layer), "--count", "articles").values()
    assert (row["macs"], row["flops"]) == (macs, flops)


def test_d_batch_norm_folds_at_inference(tmp_path: Path) -> None:
    file = written(tmp_path, "[2, 5, 5]", "conv: {name: a, out: 4, kernel: 3}, batch_norm: {name: b}, relu")
    run = ["--workload", file, "--device", "v100", "--fidelity", "roofline", "--task"]
    infer, train = ({row["name"]: row for row in main_job(*run, task)["layers"]} for task in ("infer", "train"))
    assert train["b"]["parameters"] == 2 * 4
    assert train["b"]["flops"] > 0
    assert train["b"]["time_s"] > 0
    assert (infer["b"]["flops"], infer["b"]["traffic_bytes"], infer["b"]["time_s"]) == (0, 0, 0)


def test_d_unit_table() -> None:
    assert parse("1 TFLOP/s", "FLOP/s") == 1e3 * parse("1 GFLOP/s", "FLOP/s") == 1e6 * parse("1 MFLOP/s", "FLOP/s")


# ---- E. Memory accesses


@pytest.mark.parametrize(
    ("layer", "shape", "elements"),
    [
        ("conv: {out: 32, kernel: 3, stride: 2, padding: 1}", "[3, 224, 224]", 43_754_368),
        ("conv: {out: 512, kernel: 3, padding: 1}", "[256, 28, 28]", 926_425_600),
    ],
)
def test_e_naive_traffic(tmp_path: Path, layer: str, shape: str, elements: int) -> None:
    run = ["--workload", written(tmp_path, shape, layer), "--device", "v100", "--task", "infer", "--batch", "1"]
    naive, cached, ideal = (
        main_job(*run, "--fidelity", "roofline", "--traffic", model)["layers"][0]["traffic_bytes"]
        for model in ("naive", "cached", "ideal")
    )
    assert naive == 4 * elements
    assert ideal <= cached <= naive


def test_e_weights(tmp_path: Path) -> None:
    (fc,) = layers(written(tmp_path, "[4096]", "linear: {out: 4096}")).values()
    assert fc["parameters"] == 4097 * 4096 == 16_781_312
    (conv,) = layers(written(tmp_path, "[32, 9, 9]", "conv: {out: 48, kernel: 3}")).values()
    assert conv["parameters"] == (3 * 3 * 32 + 1) * 48 == 13_872


# ---- F. LeNet-5


def test_f_lenet5() -> None:
    rows = layers("lenet5")
    conv1, ip1 = rows["conv1"], rows["ip1"]
    assert (conv1["output_shape"], conv1["macs"], conv1["weights"]) == ([20, 24, 24], 288_000, 500)
    assert (conv1["macs_per_weight"], ip1["macs_per_weight"]) == (576, 1)
    assert (ip1["macs"], ip1["weights"]) == (400_000, 400_000)
    assert conv1["macs"] / ip1["macs"] == 0.72
    assert conv1["weights"] / ip1["weights"] == 0.00125


def test_f_memory_required_for_data() -> None:
    """Caffe's running sum at batch 64: 4 bytes an element, the labels with the images, in-place layers again."""
    running = {"data": 64 * 4 * (28 * 28 + 1)}
    total = running["data"]
    for name, row in layers("lenet5").items():
        total += 4 if row["op"] == "loss" else 64 * 4 * row["activations"]
        running[name] = total
    assert running == {
        "data": 200_960,
        "conv1": 3_150_080,
        "pool1": 3_887_360,
        "conv2": 4_706_560,
        "pool2": 4_911_360,
        "ip1": 5_039_360,
        "relu1": 5_167_360,
        "ip2": 5_169_920,
        "loss": 5_169_924,
    }


# ---- G. Receptive field


def test_g_receptive_field_of_alexnet() -> None:
    chain = [row for row in layers("alexnet").values() if row["op"] in ("conv", "max_pool")]
    assert [row["receptive_field"] for row in chain] == [[n, n] for n in (11, 19, 51, 67, 99, 131, 163, 195)]
    assert [row["stride"][0] for row in chain] == [4, 8, 8, 16, 16, 16, 16, 32]
    # The article adds (kernel - 1) x this layer's stride; its 53 for conv2 takes that stride as 2.
    wrong, printed = 1, []
    for kernel, stride in ((11, 4), (3, 2), (5, 2), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)):
        wrong += (kernel - 1) * stride
        printed.append(wrong)
    assert printed == [41, 45, 53, 57, 59, 61, 63, 67]


# ---- H. Feature memory

FEATURES = {"conv", "linear", "batch_norm", "max_pool", "global_pool", "add", "concat", "lrn"}
"""Whose outputs convnet-burden counts: a ReLU works in place, and a scale is one operation with the sum after it."""


@pytest.mark.parametrize(
    ("name", "printed_mib"),
    [("vgg16", 58), ("googlenet", 26), ("se_resnet50", 103), ("senet154", 347)],  # albanie/convnet-burden, README
)
def test_h_feature_memory(name: str, printed_mib: int) -> None:
    features = sum(row["activations"] for row in layers(name).values() if row["op"] in FEATURES)
    # Within half a unit of the printed figure and a tenth for the softmax that it counts and training does not need.
    assert abs(4 * features / 2**20 - printed_mib) < 0.6


@pytest.mark.parametrize(("name", "printed_mib"), [("alexnet", 233), ("vgg16", 528), ("se_resnet50", 107)])
def test_h_parameter_memory(name: str, printed_mib: int) -> None:
    assert round(4 * simulated("layers", name)["workload"]["parameters"] / 2**20) == printed_mib


def test_h_what_training_holds() -> None:
    memory = main_job("--workload", "senet", "--device", "v100", "--batch", "32")["memory"]
    parts = ("parameters_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes", "reserved_bytes")
    assert memory["total_bytes"] == pytest.approx(sum(memory[part] for part in parts), abs=1)
    assert memory["parameters_bytes"] == memory["optimizer_bytes"] == 4 * 115_088_984
    assert 0 < memory["gradients_bytes"] <= 4 * 115_088_984  # of those that exist at the fullest moment
    assert memory["fits"]
    assert memory["largest_batch"] < 64
