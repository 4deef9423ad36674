"""The keys of the two JSON documents: stable, documented in docs/json.md, consistent with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Simulate = Callable[..., Any]

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"

MAIN = {
    "workload": {"name", "parameters", "macs_forward_per_sample", "flops_step", "dataset"},
    "workload.dataset": {"name", "samples"},
    "device": {"name", "label", "grade"},
    "options": {
        "batch",
        "precision",
        "task",
        "epochs",
        "optimizer",
        "fidelity",
        "traffic",
        "count",
        "framework",
        "host",
        "memory",
        "set",
        "ignore_memory",
        "dataset",
        "samples",
        "image_size",
        "sequence",
        "input",
        "classes",
        "attention",
        "asked",
        "command",
    },
    "step": {
        "batch",
        "time_s",
        "forward_s",
        "backward_s",
        "update_s",
        "communication_s",
        "input_s",
        "samples_per_s",
        "bound",
        "mfu",
    },
    "run": {"steps_per_epoch", "epoch_s", "epochs", "total_s"},
    "memory": {
        "total_bytes",
        "parameters_bytes",
        "gradients_bytes",
        "optimizer_bytes",
        "activations_bytes",
        "reserved_bytes",
        "headroom_bytes",
        "capacity_bytes",
        "largest_batch",
        "fits",
        "at_the_edge",
    },
    "layers": {
        "name",
        "op",
        "output_shape",
        "parameters",
        "macs",
        "flops",
        "traffic_bytes",
        "intensity_flop_per_byte",
        "compute_s",
        "memory_s",
        "time_s",
        "bound",
        "passes",
    },
}
MAIN_TOP = {
    "workload",
    "device",
    "options",
    "step",
    "run",
    "memory",
    "exchange",
    "interval",
    "bill",
    "course",
    "input",
    "busy_batch",
    "layers",
    "coverage",
    "unknown",
    "others",
}
LAYER = {
    "name",
    "op",
    "input_shapes",
    "output_shape",
    "parameters",
    "weights",
    "macs",
    "flops",
    "backward_flops",
    "activations",
    "receptive_field",
    "stride",
    "macs_per_parameter",
    "macs_per_weight",
}


def main_job(simulate: Simulate, *arguments: str) -> Any:
    answer = simulate(*arguments, "--no-report", "--json")
    assert answer.code == 0, answer.stderr
    return answer.json()


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("fidelity", ["napkin", "roofline", "calibrated"])
@pytest.mark.parametrize("task", ["train", "infer"])
def test_keys_of_the_main_document(simulate: Simulate, fidelity: str, task: str) -> None:
    found = main_job(simulate, "--workload", "alexnet", "--device", "v100", "--fidelity", fidelity, "--task", task)
    assert set(found) == MAIN_TOP
    for path, keys in MAIN.items():
        section = found
        for key in path.split("."):
            section = section[key]
        for part in section if isinstance(section, list) else [section]:
            assert set(part) == keys, path
    assert found["interval"] is None or set(found["interval"]) == {
        "low_s",
        "high_s",
        "coverage",
        "validated",
        "reasons",
    }
    assert all(number == number and abs(number) != float("inf") for number in numbers(found))


def test_the_main_document_adds_up(simulate: Simulate) -> None:
    found = main_job(simulate, "--workload", "resnet50", "--device", "v100", "--fidelity", "roofline")
    step, run, memory, layers = (found[key] for key in ("step", "run", "memory", "layers"))
    batch = found["options"]["batch"]
    assert step["time_s"] == pytest.approx(step["forward_s"] + step["backward_s"] + step["update_s"], rel=1e-9)
    assert step["time_s"] == pytest.approx(sum(layer["time_s"] for layer in layers), rel=1e-9)
    assert step["samples_per_s"] == pytest.approx(batch / step["time_s"], rel=1e-9)
    assert found["workload"]["flops_step"] == pytest.approx(sum(layer["flops"] for layer in layers), rel=1e-9)
    assert found["workload"]["macs_forward_per_sample"] == sum(layer["macs"] for layer in layers)
    assert found["workload"]["parameters"] == sum(layer["parameters"] for layer in layers)
    assert run["total_s"] == pytest.approx(run["epochs"] * run["epoch_s"], rel=1e-12)
    assert run["steps_per_epoch"] == -(-found["workload"]["dataset"]["samples"] // batch)
    parts = ("parameters_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes", "reserved_bytes")
    assert memory["total_bytes"] == pytest.approx(sum(memory[part] for part in parts), abs=len(parts))
    for layer in layers:
        # A layer's phases are summed, each at its own bound: never less than either of the sums.
        assert layer["time_s"] >= max(layer["compute_s"], layer["memory_s"]) * (1 - 1e-9)
        if layer["traffic_bytes"]:
            assert layer["intensity_flop_per_byte"] == pytest.approx(layer["flops"] / layer["traffic_bytes"], rel=1e-6)


def test_the_interval_brackets_the_step(simulate: Simulate) -> None:
    found = main_job(simulate, "--workload", "resnet50", "--device", "v100")
    if found["interval"] is not None:
        assert found["interval"]["low_s"] < found["step"]["time_s"] < found["interval"]["high_s"]
        assert 0 < found["interval"]["coverage"] < 1


def test_options_are_told_as_they_were_asked(simulate: Simulate) -> None:
    found = main_job(
        simulate,
        *("--workload", "lenet5", "--device", "v100", "--batch", "7", "--precision", "amp", "--epochs", "3"),
        *("--optimizer", "adam", "--memory", "hbm2:2", "--set", "peak.fp32=20TFLOP/s", "--samples", "70"),
    )
    options = found["options"]
    assert (options["batch"], options["precision"], options["epochs"], options["optimizer"]) == (7, "amp", 3, "adam")
    assert (options["memory"], options["set"]) == ("hbm2:2", ["peak.fp32=20TFLOP/s"])
    assert options["samples"] == "70"
    assert options["asked"] == {
        "batch": "7",
        "precision": "amp",
        "epochs": "3",
        "optimizer": "adam",
        "samples": "70",
    }
    assert options["command"].startswith("simulate --workload lenet5 --device v100 --batch 7 ")
    assert found["device"]["label"] == "v100-pcie-16gb with memory hbm2:2, peak.fp32 20 TFLOP/s"
    assert found["run"]["steps_per_epoch"] == 10
    assert found["memory"]["capacity_bytes"] == 2 * 8 * 2**30


def test_other_devices_stand_beside(simulate: Simulate) -> None:
    names = ["v100", "cpu-16core", "t4"]
    found = main_job(simulate, "--workload", "lenet5", "--precision", "amp", *(f"--device={name}" for name in names))
    first, second = found["others"]
    assert (first["device"]["name"], second["device"]["name"]) == ("cpu-16core", "t4")
    for other in (first, second):
        assert set(other) == {"device", "step", "run", "memory", "interval", "busy_batch", "layers"} or set(other) == {
            "device",
            "reason",
        }
    assert set(second["step"]) == MAIN["step"]


def test_a_device_that_cannot_is_told_with_the_reason(simulate: Simulate) -> None:
    found = main_job(
        simulate, "--workload", "lenet5", "--device", "a100-sxm4-40gb", "--device", "v100", "--precision", "tf32"
    )
    (other,) = found["others"]
    assert "lists no tf32_tensor peak" in other["reason"]


def test_the_first_that_can_run_answers_whatever_the_order(simulate: Simulate) -> None:
    names = ("a100-sxm4-40gb", "v100-pcie-16gb")
    one, two = (
        main_job(simulate, "--workload", "lenet5", "--precision", "tf32", *(f"--device={name}" for name in order))
        for order in (names, names[::-1])
    )
    assert one["device"] == two["device"]
    assert one["others"] == two["others"]


def test_keys_of_the_table_of_layers(simulate: Simulate) -> None:
    answer = simulate("layers", "googlenet", "--json")
    assert answer.code == 0, answer.stderr
    found = answer.json()
    assert set(found) == {"workload", "layers", "coverage", "unknown"}
    assert set(found["workload"]) == MAIN["workload"] | {"batch"}
    assert all(set(layer) == LAYER for layer in found["layers"])


def test_both_documents_agree(simulate: Simulate) -> None:
    table = simulate("layers", "alexnet", "--json").json()
    main = main_job(simulate, "--workload", "alexnet", "--device", "v100", "--fidelity", "roofline")
    for key in ("name", "parameters", "macs_forward_per_sample", "flops_step", "dataset"):
        assert table["workload"][key] == main["workload"][key]
    for one, other in zip(table["layers"], main["layers"], strict=True):
        for key in ("name", "op", "output_shape", "parameters", "macs"):
            assert one[key] == other[key]


def test_every_key_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    keys = MAIN_TOP | LAYER | {"interval", "low_s", "high_s", "coverage", "validated", "reasons", "reason"}
    for names in MAIN.values():
        keys |= names
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
