"""Workload files: explicit layers, families, and one line for each mistake."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from simulator import catalog
from simulator.errors import InputError, SimulatorError, UnknownNameError
from simulator.workload.families import families, get_family, parameters
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload, read_workload
from simulator.workload.workload import Workload

HEAD = {"name": "net", "input": [3, 8, 8]}


def net(layers: str, request: Request | None = None, **header: Any) -> Workload:
    """A workload of layers written as YAML."""
    return read_workload(HEAD | header | {"layers": yaml.safe_load(layers)}, "net.yaml", request)


def refused(layers: str, **header: Any) -> str:
    with pytest.raises(SimulatorError) as caught:
        net(layers, **header)
    message = str(caught.value)
    assert message.startswith("net.yaml: ")
    assert "\n" not in message
    return message


def sources(workload: Workload) -> dict[str, tuple[str, ...]]:
    """Name -> names of the layers it reads."""
    names = [layer.name for layer in workload.layers]
    return {
        layer.name: tuple(names[source] if source >= 0 else "input" for source in layer.sources)
        for layer in workload.layers
    }


def test_layers_follow_each_other() -> None:
    workload = net("[conv: {name: first, out: 4, kernel: 3}, relu, linear: {out: 2}]")
    assert sources(workload) == {"first": ("input",), "relu1": ("first",), "linear1": ("relu1",)}
    assert [layer.output for layer in workload.layers] == [(4, 6, 6), (4, 6, 6), (2,)]
    # 4 * 3 * 9 + 4 and 2 * 144 + 2.
    assert [layer.parameters for layer in workload.layers] == [112, 0, 290]


def test_unnamed_layers_count_by_kind() -> None:
    assert [layer.name for layer in net("[relu, relu, sigmoid, relu]").layers] == [
        "relu1",
        "relu2",
        "sigmoid1",
        "relu3",
    ]


def test_from_names_what_a_layer_reads() -> None:
    workload = net("""
      - conv: {name: a, out: 3, kernel: 1}
      - relu: {from: input}
      - add: {from: [a, relu1]}
    """)
    assert sources(workload)["relu1"] == ("input",)
    assert sources(workload)["add1"] == ("a", "relu1")


def test_repeat_starts_from_what_enters_the_turn() -> None:
    workload = net("""
      - repeat:
          times: 2
          name: stage
          layers:
            - conv: {name: branch, out: 3, kernel: 3, padding: 1}
            - add: {name: sum, from: [start, branch]}
    """)
    assert sources(workload) == {
        "stage.0.branch": ("input",),
        "stage.0.sum": ("input", "stage.0.branch"),
        "stage.1.branch": ("stage.0.sum",),
        "stage.1.sum": ("stage.0.sum", "stage.1.branch"),
    }


def test_repeat_looks_outside_after_inside() -> None:
    workload = net("""
      - relu: {name: outer}
      - repeat:
          times: 1
          name: a
          layers:
            - relu: {name: middle}
            - repeat:
                times: 2
                name: b
                layers:
                  - sigmoid: {name: middle, from: outer}
                  - add: {name: sum, from: [middle, outer]}
            - add: {name: last, from: [middle, b.1.sum]}
    """)
    assert sources(workload)["a.0.b.1.sum"] == ("a.0.b.1.middle", "outer")
    assert sources(workload)["a.0.last"] == ("a.0.middle", "a.0.b.1.sum")


def test_a_family_is_filled_from_its_parameters() -> None:
    workload = read_workload(
        {"name": "r18", "input": [3, 224, 224], "family": "resnet", "blocks": [2, 2, 2, 2], "block": "basic"}, "r.yaml"
    )
    assert workload.parameters == 11_689_512  # torchvision's ResNet-18
    assert workload.macs == 1_814_073_344


@pytest.mark.parametrize("name", sorted(families()))
def test_every_family_has_parameters_and_a_docstring(name: str) -> None:
    build = get_family(name)
    assert parameters(build).__struct_fields__
    assert build.__doc__


def test_header_is_kept() -> None:
    workload = net("[relu]", dataset="mnist", batch=7, description="d", source="s", quoted_macs="21 G", context=9)
    assert (workload.dataset.samples, workload.batch, workload.description, workload.source) == (60_000, 7, "d", "s")
    assert workload.quoted_macs == 21e9
    assert workload.context == 9


def test_several_inputs() -> None:
    workload = read_workload({"name": "n", "input": [[4], [2, 3]], "layers": ["relu"]}, "n.yaml")
    assert workload.inputs == ((4,), (2, 3))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("[conv: {out: 4, kernal: 3}]", "unknown field `kernal`; did you mean 'kernel'?"),
        ("[conv: {out: 4}]", "missing required field `kernel`"),
        ("[conv: {out: four, kernel: 3}]", "Expected `int`, got `str` - at `out`"),
        ("[conv: {out: -4, kernel: 3}]", "conv"),
        ("[conv: {out: 0, kernel: 3}]", "conv"),
        (
            "[conv: {name: c, out: 4, kernel: 9}]",
            "layer 'c': a kernel of 9 (dilation 1) is larger than its padded input of 8",
        ),
        ("[conv: {out: 4, kernel: 3, stride: 0}]", "stride must be"),
        ("[conv: {out: 4, kernel: 3, padding: sme}]", "padding"),
        ("[max_pool: {kernel: 9}]", "layer 'max_pool1': a kernel of 9"),
        ("[max_pool: {kernel: 2, stride: 0}]", "stride must be"),
        ("[linear: {out: 0}]", "out must be at least 1"),
        ("[convv: {out: 4, kernel: 3}]", "unknown operation 'convv'; did you mean 'conv'?"),
        ("[relu: {from: nowhere}]", "unknown layer 'nowhere'"),
        ("[relu: {name: first}, relu: {from: frist}]", "did you mean 'first'?"),
        ("[relu: {from: {a: 1}}]", "`from` is a layer's name or a list of names"),
        ("[relu: {name: a}, relu: {name: a}]", "layer 'a' stands twice"),
        ("[add: {from: input}]", "takes 2 or more inputs, found 1"),
        ("[scale: {from: [input, input, input]}]", "takes 2 inputs, found 3"),
        ("[conv: {name: a, out: 4, kernel: 1}, add: {from: [a, input]}]", "add needs inputs of one shape"),
        ("[repeat: {times: 0, layers: [relu]}]", ">= 1"),
        ("[repeat: {times: 2}]", "missing required field `layers`"),
        ("[repeat: {times: 2, layers: []}]", "length >= 1"),
        ("[repeat: {tims: 2, layers: [relu]}]", "did you mean 'times'?"),
        ("[3]", "a layer is written"),
        ("[{relu: {}, conv: {}}]", "a layer is written"),
        ("[relu: 3]", "a layer is written"),
        ("[linear: {out: 999999999999999}]", "larger than any memory"),
        ("[{linear: {out: 99999999999}}, {linear: {out: 99999999999}}]", "parameters are more than any memory holds"),
        ("relu", "`layers` must be a list"),
        ("[]", "`layers` must be a list"),
    ],
)
def test_a_bad_layer_is_named(layers: str, said: str) -> None:
    assert said in refused(layers)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"input": []}, "input"),
        ({"input": [3, 0, 8]}, ">= 1"),
        ({"input": [3, -8, 8]}, ">= 1"),
        ({"input": "3x8x8"}, "Expected `array`, got `str` - at `input`"),
        ({"input": [[]]}, "length >= 1"),
        ({"input": [10**9, 10**9]}, "larger than any memory"),
        ({"batch": 0}, ">= 1"),
        ({"batch": 1.5}, "Expected `int`"),
        ({"name": ""}, "length >= 1"),
        ({"dataset": "imagnet"}, "did you mean 'imagenet'?"),
        ({"bach": 3}, "unknown key 'bach'; did you mean 'batch'?"),
        ({"quoted_macs": "21 Q"}, "unknown unit 'Q'"),
        ({"family": "resnet"}, "write either `family` and its parameters, or `layers`"),
    ],
)
def test_a_bad_header_is_named(header: dict[str, Any], said: str) -> None:
    with pytest.raises(SimulatorError) as caught:
        net("[relu]", **header)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({}, "write either `family` and its parameters, or `layers`"),
        ({"family": "resnett", "blocks": [1]}, "unknown family 'resnett'; did you mean 'resnet'?"),
        ({"family": "resnet", "blocs": [1]}, "did you mean 'blocks'?"),
        ({"family": "resnet"}, "missing required field `blocks`"),
        ({"family": "resnet", "blocks": [1, "a"]}, "Expected `int`, got `str`"),
        ({"family": "resnet", "blocks": [1], "block": "fat"}, "Invalid enum value 'fat'"),
        ({"family": "senet", "blocks": [1], "reduction": 0}, "Expected `int` >= 1 - at `reduction`, found 0"),
        ({"family": "vgg", "stages": [1] * 8}, "larger than its padded input"),
        ({"family": 3}, "unknown family '3'"),
    ],
)
def test_a_bad_family_is_named(rest: dict[str, Any], said: str) -> None:
    with pytest.raises(SimulatorError) as caught:
        read_workload({"name": "n", "input": [3, 64, 64]} | rest, "n.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_name_and_input() -> None:
    with pytest.raises(InputError, match="missing required field `name`"):
        read_workload({"input": [3, 8, 8], "layers": ["relu"]}, "n.yaml")
    with pytest.raises(InputError, match="missing required field `input`"):
        read_workload({"name": "n", "layers": ["relu"]}, "n.yaml")


def test_image_size_replaces_height_and_width() -> None:
    assert load_workload("resnet50", request=Request(image_size=256)).inputs == ((3, 256, 256),)
    # A linear layer behind a global average does not see the image's size; the convolutions do.
    assert load_workload("resnet50", request=Request(image_size=448)).parameters == 25_557_032


@pytest.mark.parametrize("size", [0, -1, 5])
def test_an_image_too_small_is_refused(size: int) -> None:
    with pytest.raises(InputError):
        load_workload("lenet5", request=Request(image_size=size))


def test_a_sequence_does_not_fit_an_image() -> None:
    with pytest.raises(InputError, match="sequence 128 does not fit the input"):
        load_workload("lenet5", request=Request(sequence=128))
    assert read_workload({"name": "n", "input": [4], "layers": ["relu"]}, "n", Request(sequence=9)).inputs == ((9,),)


def test_an_input_shape_is_taken_over() -> None:
    assert net("[relu]", Request(input_shape=(1, 5, 7))).layers[0].output == (1, 5, 7)


def test_dataset_and_batch_are_overridden() -> None:
    assert load_workload("lenet5", dataset="cifar10").dataset.samples == 50_000
    assert load_workload("lenet5", samples=7).dataset.samples == 7
    assert load_workload("lenet5", batch=3).batch == 3
    with pytest.raises(InputError, match="exclude each other"):
        load_workload("lenet5", dataset="mnist", samples=7)
    with pytest.raises(InputError, match="at least 1"):
        load_workload("lenet5", samples=0)
    with pytest.raises(UnknownNameError, match="did you mean 'mnist'"):
        load_workload("lenet5", dataset="minst")


@pytest.mark.parametrize(
    ("name", "samples"),
    [
        ("imagenet", 1_281_167),
        ("imagenet-1.2m", 1_200_000),
        ("jft300m", 300_000_000),
        ("mnist", 60_000),
        ("cifar10", 50_000),
    ],
)
def test_datasets(name: str, samples: int) -> None:
    assert load_workload("lenet5", dataset=name).dataset.samples == samples


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown format 'cafe'; did you mean 'caffe'"):
        load_workload("cafe:net.prototxt")


def test_many_unnamed_layers_are_read_quickly() -> None:
    # Ten thousand turns; a search for a free name from one upwards each time would take minutes.
    workload = net("[repeat: {times: 10000, layers: [relu, repeat: {times: 3, layers: [sigmoid]}]}]")
    assert len(workload.layers) == 40_000


def test_too_many_layers_are_refused() -> None:
    assert "more than 1,000,000 layers" in refused(
        "[repeat: {times: 10000, layers: [repeat: {times: 10000, layers: [relu]}]}]"
    )


@pytest.mark.parametrize("name", catalog.names("workloads"))
def test_every_shipped_workload_is_read_and_described(name: str) -> None:
    workload = load_workload(name)
    assert workload.name == name
    assert workload.description
    assert workload.source
    assert workload.coverage == 1
