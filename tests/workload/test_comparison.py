"""Two sources of one network side by side, and Caffe's log on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from simulator.cli import main
from simulator.op.optimizer import get_optimizer
from simulator.workload.comparison import Disagreement, differences, moved_elements, totals
from simulator.workload.lowering import lower
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload

TWIN = Path(__file__).parent / "caffe" / "twin.prototxt"

LAYERS = """
- conv: {name: first, out: 4, kernel: 3, padding: 1}
- relu
- max_pool: {name: halved, kernel: 2, stride: 2}
- linear: {name: scores, out: 10}
"""
"""What twin.prototxt says, in our own words."""


def content(layers: str = LAYERS) -> dict[str, Any]:
    return {"name": "ours", "input": [3, 8, 8], "layers": yaml.safe_load(layers)}


def ours(layers: str = LAYERS) -> Workload:
    return read_workload(content(layers), "ours.yaml")


def theirs() -> Workload:
    return load_workload(f"caffe:{TWIN}")


@pytest.fixture
def ours_file(tmp_path: Path) -> str:
    path = tmp_path / "ours.yaml"
    path.write_text(yaml.safe_dump(content()), encoding="utf-8")
    return str(path)


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["layers", *arguments], env={"COLUMNS": "120", "NO_COLOR": "1"})


def test_totals_by_hand() -> None:
    found = {total.what: (total.first, total.second) for total in totals(ours(), theirs())}
    # 4 filters of 3 x 3 x 3 with biases: 108 + 4; 4 x 4 x 4 = 64 into 10 with biases: 640 + 10.
    # MACs: 8 x 8 positions x 108, and 640.
    # Forward: input 192 + parameters 112 + output 256; relu 256 + 256; pool 256 + 64 (its 64 indices are left out);
    # linear 64 + 650 + 10: 560 + 512 + 320 + 724 = 2116.
    # Backward: linear input gradient 10 + 640 + 64, weight gradient 64 + 10 + 640, bias 10 + 10; pool 64 + 256;
    # relu reads what it kept and the gradient, writes one: 3 x 256; conv weight gradient 192 + 256 + 108, bias 256 + 4;
    # the first layer passes no gradient on: 714 + 714 + 20 + 320 + 768 + 556 + 260 = 3352.
    assert found == {
        "parameters": (762, 762),
        "MACs forward": (7552, 7552),
        "elements moved forward": (2116, 2116),
        "elements moved backward": (3352, 3352),
    }


def test_the_update_is_in_neither_direction() -> None:
    bare, updated = lower(ours()), lower(ours(), optimizer=get_optimizer("sgd"))
    assert len(updated) > len(bare)
    for forward in (True, False):
        assert moved_elements(updated, forward=forward) == moved_elements(bare, forward=forward)


def test_the_same_network_has_no_differences() -> None:
    assert differences(ours(), theirs()) == []


def test_a_widened_layer_is_one_difference() -> None:
    # 12 scores: 64 x 12 MACs, and 12 biases.
    assert differences(ours(), ours(LAYERS.replace("10", "12"))) == [
        Disagreement((("scores", 640, 650),), (("scores", 768, 780),))
    ]


def test_an_inserted_layer_leaves_the_layers_around_it_alone() -> None:
    # A 1 x 1 convolution of 4 to 4 channels on 8 x 8: 64 x 16 MACs, 16 + 4 parameters.
    longer = LAYERS.replace("- relu", "- conv: {name: mixed, out: 4, kernel: 1}\n- relu")
    assert differences(ours(), ours(longer)) == [Disagreement((), (("mixed", 1024, 20),))]
    assert differences(ours(longer), ours()) == [Disagreement((("mixed", 1024, 20),), ())]


def test_parameters_alone_are_a_difference_and_names_are_not() -> None:
    renamed = ours(LAYERS.replace("first", "other"))
    assert differences(ours(), renamed) == []
    unbiased = ours(LAYERS.replace("out: 10", "out: 10, bias: false"))
    assert differences(ours(), unbiased) == [Disagreement((("scores", 640, 650),), (("scores", 640, 640),))]


def test_layers_without_macs_are_passed_over() -> None:
    assert differences(ours(), ours(LAYERS.replace("- relu\n", ""))) == []


def test_resnet50_v1_and_v15_part_in_three_1x1_convolutions() -> None:
    first, second = load_workload("resnet50_v1"), load_workload("resnet50")
    found = differences(first, second)
    assert [difference.first[0][0] for difference in found] == ["layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"]
    # v1.5 has the stride in the 3x3: these three run at the full size of the stage before: four times the work.
    assert all(len(d.first) == len(d.second) == 1 and d.second[0][1] == 4 * d.first[0][1] for d in found)
    assert second.macs - first.macs == 231_211_008 == sum(d.second[0][1] - d.first[0][1] for d in found)


def test_cli_against_the_same_network(ours_file: str) -> None:
    result = simulate(ours_file, "--against", f"caffe:{TWIN}")
    assert result.exit_code == 0
    assert "every layer with MACs has the same MACs and parameters, in the same order" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["parameters", "762", "762", "+0.000%"] in lines
    assert ["MACs", "forward", "7,552", "7,552", "+0.000%"] in lines


def test_cli_against_another_network() -> None:
    result = simulate("resnet50_v1", "--against", "resnet50")
    assert result.exit_code == 0
    assert "3 places where they part" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    # 4,089,184,256 / 3,857,973,248 - 1.
    assert ["MACs", "forward", "3,857,973,248", "4,089,184,256", "+5.993%"] in lines
    assert ["resnet50_v1", "layer2.0.conv1", "25,690,112", "32,768"] in lines
    assert ["against", "resnet50", "layer2.0.conv1", "102,760,448", "32,768"] in lines


def test_cli_against_a_network_without_parameters(tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(yaml.safe_dump(content("[max_pool: {kernel: 2}]")), encoding="utf-8")
    result = simulate(str(path), "--against", str(path))
    assert result.exit_code == 0
    assert ["parameters", "0", "0"] in [line.split() for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet50", "--against", "resnet5"), "simulate: unknown workload 'resnet5'; did you mean 'resnet50'?\n"),
        (("lenet5", "--caffe-log"), "simulate: --caffe-log is for networks read as caffe:net.prototxt\n"),
        (("caffe:", "--caffe-log"), "simulate: --caffe-log is for networks read as caffe:net.prototxt\n"),
    ],
)
def test_cli_errors(arguments: tuple[str, ...], message: str) -> None:
    result = simulate(*arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (2, message, "")


def test_cli_caffe_log() -> None:
    result = simulate(f"caffe:{TWIN}", "--caffe-log")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    # Two samples, four bytes each: data 2 x 192; convolution 2 x 256; the ReLU in place, counted again; pool 2 x 64;
    # scores 2 x 10: 384, 896, 1408, 1536, 1556 elements.
    memory = [line.removeprefix("Memory required for data: ") for line in lines if line.startswith("Memory")]
    assert memory == ["1536", "3584", "5632", "6144", "6224"]
    assert "Top shape: 2 4 8 8 (512)" in lines
    assert "rectified -> first (in-place)" in lines
    assert lines[-2:] == ["This network produces output scores", "Network initialization done."]


def test_cli_caffe_log_at_another_input() -> None:
    result = simulate(f"caffe:{TWIN}", "--caffe-log", "--input", "3,16,16")
    assert result.exit_code == 0
    # 2 x 3 x 16 x 16 x 4 bytes.
    assert "Memory required for data: 6144" in result.stdout
