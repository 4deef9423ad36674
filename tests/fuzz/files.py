"""Files that people bring, changed at random and read by the library."""

from __future__ import annotations

import json
import math
import random
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from changes import NUMBERS, changed_bytes, changed_text, mutated

ROOT = Path(__file__).parents[2]


def _simulated(workload: Any, device: Any = None) -> None:
    """A step's time is a positive number, whatever the network; larger ones are read alone."""
    from simulator.device.device import load_device
    from simulator.pipeline import Options, simulate

    if len(workload.layers) > 5000:
        return
    task = "infer" if workload.parameters == 0 else "train"
    answer = simulate(workload, device or load_device("v100"), Options(ignore_memory=True, task=task))
    if not (math.isfinite(answer.run.total_s) and answer.step.time_s > 0):
        raise AssertionError(f"a step of {answer.step.time_s} s, a run of {answer.run.total_s} s")


@lru_cache
def _contents(kind: str) -> list[dict[str, Any]]:
    from simulator import catalog

    return [catalog.read_yaml(catalog.find(kind, name)) for name in catalog.names(kind)]


def workload_file(chance: random.Random, folder: Path) -> None:
    """A shipped network's YAML."""
    from simulator.workload.reading import load_workload

    path = folder / "net.yaml"
    path.write_text(yaml.safe_dump(mutated(chance.choice(_contents("workloads")), chance)), encoding="utf-8")
    _simulated(load_workload(str(path)))


def device_file(chance: random.Random, folder: Path) -> None:
    """A shipped device's YAML."""
    from simulator.device.device import load_device
    from simulator.workload.reading import load_workload

    path = folder / "device.yaml"
    content = mutated(chance.choice(_contents("hardware_profiles/devices")), chance)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    _simulated(load_workload("lenet5"), load_device(str(path)))


def yaml_text(chance: random.Random, folder: Path) -> None:
    """Any text where YAML should be."""
    from simulator.workload.reading import load_workload

    path = folder / "text.yaml"
    text = yaml.safe_dump(chance.choice(_contents("workloads")))
    path.write_bytes(changed_text(text, chance).encode("utf-8", "surrogatepass"))
    _simulated(load_workload(str(path)))


def prototxt(chance: random.Random, folder: Path) -> None:
    """A Caffe definition."""
    from simulator.workload.reading import load_workload

    found = chance.choice(sorted((ROOT / "tests" / "workload" / "caffe").glob("*.prototxt")))
    path = folder / "net.prototxt"
    path.write_text(changed_text(found.read_text(encoding="utf-8"), chance), encoding="utf-8")
    _simulated(load_workload(f"caffe:{path}"))


@lru_cache
def _onnx_model() -> bytes:
    from numpy import zeros
    from onnx import TensorProto, helper, numpy_helper

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(zeros(shape, "float32"), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], kernel_shape=[5, 5], pads=[2, 2, 2, 2], strides=[1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p1"], ["f1"], axis=1),
        helper.make_node("Gemm", ["f1", "w2", "b2"], ["y"], transB=1),
        helper.make_node("Softmax", ["y"], ["z"], axis=-1),
    ]
    weights = [weight("w1", 4, 1, 5, 5), weight("b1", 4), weight("w2", 10, 784), weight("b2", 10)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 10])
    model = helper.make_model(helper.make_graph(nodes, "net", [x], [z], weights))
    return bytes(model.SerializeToString())


def onnx_bytes(chance: random.Random, folder: Path) -> None:
    """An ONNX file with damaged bytes."""
    from simulator.workload.reading import load_workload

    path = folder / "net.onnx"
    path.write_bytes(changed_bytes(_onnx_model(), chance))
    _simulated(load_workload(f"onnx:{path}"))


def onnx_fields(chance: random.Random, folder: Path) -> None:
    """An ONNX file whose attributes, sides and names say something else."""
    from onnx import load_model_from_string

    from simulator.workload.reading import load_workload

    model = load_model_from_string(_onnx_model())
    for _ in range(chance.randint(1, 3)):
        node = chance.choice(model.graph.node)
        how = chance.random()
        if how < 0.4 and node.attribute:
            attribute = chance.choice(node.attribute)
            number = chance.choice((0, -1, 1, 3, 2**31, 2**62, -(2**62)))
            attribute.i = number
            if attribute.ints:
                attribute.ints[chance.randrange(len(attribute.ints))] = number
        elif how < 0.6:
            tensor = chance.choice(model.graph.initializer)
            tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice((0, -1, 1, 7, 2**31, 2**62))
        elif how < 0.8:
            node.input[chance.randrange(len(node.input))] = chance.choice(("", "x", "y", "w1", "nowhere"))
        else:
            node.op_type = chance.choice(
                ("Conv", "MatMul", "Reshape", "Concat", "Nonsense", "Add", "Transpose", "Loop")
            )
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    _simulated(load_workload(f"onnx:{path}"))


SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
}
CONFIGS: tuple[dict[str, Any], ...] = (
    {**SMALL, "model_type": "llama", "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5},
    {**SMALL, "model_type": "bert", "max_position_embeddings": 64, "architectures": ["BertForMaskedLM"]},
    {**SMALL, "model_type": "vit", "image_size": 32, "patch_size": 8, "num_channels": 3},
    {**SMALL, "model_type": "mixtral", "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2},
    {"model_type": "t5", "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 100},
    {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 64},
)


def config(chance: random.Random, folder: Path) -> None:
    """A Hugging Face configuration."""
    from simulator.workload.importers import Request
    from simulator.workload.reading import load_workload

    path = folder / "config.json"
    text = json.dumps(mutated(chance.choice(CONFIGS), chance))
    path.write_text(changed_text(text, chance) if chance.random() < 0.2 else text, encoding="utf-8")
    _simulated(load_workload(f"hf:{path}", request=Request(sequence=chance.choice((None, 16)))))


@lru_cache
def _rows() -> list[str]:
    table = ROOT / "tests" / "validation" / "networks.csv"
    return [line for line in table.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def table(chance: random.Random, folder: Path) -> None:
    """A table of measured steps."""
    from simulator.calibration.measurements import read_measurements
    from simulator.calibration.validation import predict

    head, *rows = _rows()
    lines = [head, *chance.sample(rows, 2)]
    cells = lines[1].split(",")
    cells[chance.randrange(len(cells))] = str(chance.choice((*NUMBERS, "", "x", '"', "resnet50", "fp32")))
    lines[1] = ",".join(cells)
    text = "\n".join(lines)
    path = folder / "rows.csv"
    path.write_text(changed_text(text, chance) if chance.random() < 0.5 else text, encoding="utf-8")
    for measured in read_measurements(path):
        case = predict(measured)
        if case.predicted_s is not None and not (math.isfinite(case.predicted_s) and case.predicted_s > 0):
            raise AssertionError(f"predicted {case.predicted_s} s")


@lru_cache
def _cases() -> list[Path]:
    """Models of the test cases of the `onnx` package, one operator or a small network each."""
    import onnx

    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    return sorted(path for path in data.rglob("model.onnx") if path.stat().st_size < 20_000)


NUMBERS_OF_ONNX = (0, -1, 1, 2, 3, 7, 2**31, 2**62, -(2**62))


def _changed_model(model: Any, chance: random.Random) -> None:
    graph = model.graph
    node, how = chance.choice(graph.node), chance.random()
    if how < 0.3 and node.attribute:
        attribute = chance.choice(node.attribute)
        attribute.i = chance.choice(NUMBERS_OF_ONNX)
        if attribute.ints:
            attribute.ints[chance.randrange(len(attribute.ints))] = attribute.i
    elif how < 0.5 and node.input:
        names = [given.name for given in graph.input] + ["", "nowhere", *node.output]
        node.input[chance.randrange(len(node.input))] = chance.choice(names)
    elif how < 0.75 and graph.input:
        sides = chance.choice(graph.input).type.tensor_type.shape.dim
        if sides:
            chance.choice(sides).dim_value = chance.choice(NUMBERS_OF_ONNX)
    elif how < 0.9:
        del node.attribute[:]
    else:
        node.op_type = chance.choice(("Conv", "MatMul", "Reshape", "Concat", "Loop", "If", "Scan", "Einsum", "Resize"))


def onnx_case(chance: random.Random, folder: Path) -> None:
    """A test case of the `onnx` package with other fields, or with damaged bytes."""
    from onnx import load_model_from_string

    from simulator.workload.reading import load_workload

    data = chance.choice(_cases()).read_bytes()
    if chance.random() < 0.4:
        data = changed_bytes(data, chance)
    else:
        model = load_model_from_string(data)
        for _ in range(chance.randint(1, 3)):
            if model.graph.node:
                _changed_model(model, chance)
        data = model.SerializeToString()
    path = folder / "net.onnx"
    path.write_bytes(data)
    _simulated(load_workload(f"onnx:{path}"))
