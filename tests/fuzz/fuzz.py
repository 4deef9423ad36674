"""Mutates every kind of input that people bring, with fixed seeds, and looks for what must not be.

`python tests/fuzz/fuzz.py --seconds 600 [--kinds workload,onnx]` prints the inputs tried and the escapes: an exception
that is no `SimulatorError`, an error of several lines, more than `LIMIT_S`, more than `LIMIT_BYTES`, or a time that is
not a positive number. An input is made again by its kind and its number: `--kinds device --first 4711 --count 1`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
LIMIT_S = 10
LIMIT_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Escape:
    """What an input did that none may do."""

    kind: str
    number: int
    what: str

    def __str__(self) -> str:
        """One line, enough to make it again."""
        return f"{self.kind} {self.number}: {self.what}"


class TooLongError(BaseException):
    """Raised by the alarm; no handler of `Exception` takes it."""


# ---- mutations of values and of text

NUMBERS = (0, -1, 1, 2, 3, 7, 0.5, 10**7, 10**12, 2**63, 1.2e12, 1e-300, 1e308, math.nan, math.inf, -math.inf)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "relu",
    "1 GB/s",
    "nan GB/s",
    "-3 us",
    "1e400 W",
    [],
    [0],
    [1, 2, 3],
    {},
    [[]],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Key path of every value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*path, key)
        yield from places(one, (*path, key))


def mutated(content: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one to three values replaced, scaled, taken out or given twice."""
    content = copy.deepcopy(content)
    for _ in range(chance.randint(1, 3)):
        found = list(places(content))
        if not found:
            break
        *above, last = chance.choice(found)
        holder: Any = content
        for key in above:
            holder = holder[key]
        _change(holder, last, chance)
    return content


def _change(holder: Any, key: Any, chance: random.Random) -> None:
    how, value = chance.random(), holder[key]
    if how < 0.1:
        del holder[key]
    elif how < 0.3 and isinstance(value, int | float):
        holder[key] = value * chance.choice((-1, 0, 2, 0.5, 1000))
    elif how < 0.4 and isinstance(holder, list):
        holder.insert(chance.randrange(len(holder) + 1), copy.deepcopy(value))
    else:
        holder[key] = copy.deepcopy(chance.choice((*NUMBERS, *OTHERS)))


def mutated_text(text: str, chance: random.Random) -> str:
    """One to four lines or signs changed."""
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\n")
        at, how = chance.randrange(len(lines)), chance.random()
        if how < 0.25:
            del lines[at]
        elif how < 0.4:
            lines.insert(at, chance.choice(lines))
        elif how < 0.75:
            words = lines[at].split(" ")
            words[chance.randrange(len(words))] = str(
                chance.choice((*NUMBERS, '"x"', "{", "}", "nan", ":", "Data", ",", "'"))
            )
            lines[at] = " ".join(words)
        else:
            place = chance.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + chance.choice('{}"\\\0\u00e9,:#=-9') + lines[at][place:]
        text = "\n".join(lines) or " "
    return text


def mutated_bytes(data: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut off, put in or repeated."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at, how = chance.randrange(max(len(found), 1)), chance.random()
        if how < 0.6 and found:
            found[at % len(found)] = chance.randrange(256)
        elif how < 0.7:
            del found[at:]
        elif how < 0.85:
            found[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        else:
            found[at:at] = found[at : at + chance.randint(1, 64)]
    return bytes(found)


# ---- what is brought, and what is done with it


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
    path.write_bytes(mutated_text(text, chance).encode("utf-8", "surrogatepass"))
    _simulated(load_workload(str(path)))


def prototxt(chance: random.Random, folder: Path) -> None:
    """A Caffe definition."""
    from simulator.workload.reading import load_workload

    found = chance.choice(sorted((ROOT / "tests" / "workload" / "caffe").glob("*.prototxt")))
    path = folder / "net.prototxt"
    path.write_text(mutated_text(found.read_text(encoding="utf-8"), chance), encoding="utf-8")
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
    path.write_bytes(mutated_bytes(_onnx_model(), chance))
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
    path.write_text(mutated_text(text, chance) if chance.random() < 0.2 else text, encoding="utf-8")
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
    path.write_text(mutated_text(text, chance) if chance.random() < 0.5 else text, encoding="utf-8")
    for measured in read_measurements(path):
        case = predict(measured)
        if case.predicted_s is not None and not (math.isfinite(case.predicted_s) and case.predicted_s > 0):
            raise AssertionError(f"predicted {case.predicted_s} s")


WORDS: dict[str, tuple[str, ...]] = {
    "--workload": ("lenet5", "alexnet", "nothing", "resnet50", "=x", "../x"),
    "--device": ("v100", "t4", "cpu-16core", "zz*", "v100[memory.bandwidth=0]", "v100[peak.fp32=2x", "k80"),
    "--batch": ("1", "0", "-3", "max", "1e3", "999999999999", "1:64:x2", "64:1", "nan"),
    "--precision": ("fp32", "amp", "fp23", "int8", ""),
    "--task": ("train", "infer", "dream"),
    "--epochs": ("1", "0", "99999999999999999999", "-1", "inf"),
    "--set": ("memory.bandwidth=2x", "memory.bandwidth=-1x", "units.count=0", "peak.fp32=1e400 FLOP/s", "launch=0 s"),
    "--memory": ("hbm2:4", "hbm2:0", "hbm2", "x:1", "hbm2:99999999999999999999"),
    "--devices": ("1", "2", "0", "-1", "1000000000"),
    "--link": ("nvlink2", "pcie3", "string"),
    "--image-size": ("32", "1", "0", "100000000", "-1"),
    "--classes": ("10", "0", "99999999999"),
    "--price": ("2", "nan", "-1", "inf"),
    "--host": ("server", "35us", "-1us", "nan us", "x"),
    "--framework": ("pytorch", "tensorflow", "abacus"),
    "--fidelity": ("roofline", "napkin", "guess"),
    "--samples": ("10", "0", "-5"),
    "--slo": ("5ms", "0", "x"),
    "--parallel": ("dp=2", "tp=2", "pp=2", "dp=0", "xp=2", "dp=2,dp=2", "tp=3"),
}


def options(chance: random.Random, folder: Path) -> None:
    """A command line of the main job."""
    from click.testing import CliRunner

    from simulator.cli import main

    chosen = chance.sample(sorted(WORDS), chance.randint(1, 6))
    words = ["--no-report", "--json", "--workload", "lenet5", "--device", "v100", "--out", str(folder)]
    for name in chosen:
        words += [name, chance.choice(WORDS[name])]
    found = CliRunner().invoke(main, words, prog_name="simulate")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    if found.exit_code not in (0, 2):
        raise AssertionError(f"exit code {found.exit_code} of {' '.join(words)}")
    if found.exit_code == 0:
        json.loads(found.stdout, parse_constant=_no_number)


def _no_number(text: str) -> float:
    raise AssertionError(f"{text} in the answer")


KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    "workload": workload_file,
    "device": device_file,
    "yaml": yaml_text,
    "prototxt": prototxt,
    "onnx": onnx_bytes,
    "onnx-fields": onnx_fields,
    "config": config,
    "table": table,
    "options": options,
}
"""Kind -> one input, made and tried."""


# ---- the run


def tried(kind: str, number: int, folder: Path) -> Escape | None:
    """One input by its number, and what it did that none may."""
    from simulator.errors import SimulatorError

    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        KINDS[kind](random.Random(f"{kind} {number}"), folder)
    except SimulatorError as error:
        return Escape(kind, number, "an error of several lines") if "\n" in str(error) else None
    except TooLongError:
        return Escape(kind, number, f"more than {LIMIT_S} s")
    except MemoryError:
        return Escape(kind, number, "more than 2 GB")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Escape(
            kind, number, f"{type(error).__name__}: {str(error)[:100]} ({Path(where.filename).name}:{where.lineno})"
        )
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError


def guarded() -> Callable[[], None]:
    """Set the alarm's handler; what it returns puts the one before back."""
    before = signal.signal(signal.SIGALRM, _ring)
    return lambda: signal.signal(signal.SIGALRM, before) and None


def main() -> int:
    """Try inputs of all kinds in turns until the time is over; 1 if any escaped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10**9)
    asked = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES + 2 * 2**30, limit))  # the libraries themselves map a good part
    guarded()
    kinds, begun = asked.kinds.split(","), time.monotonic()
    found: list[Escape] = []
    numbers = dict.fromkeys(kinds, 0)
    with tempfile.TemporaryDirectory() as folder:
        number = asked.first
        while time.monotonic() - begun < asked.seconds and number < asked.first + asked.count:
            for kind in kinds:
                escape = tried(kind, number, Path(folder))
                numbers[kind] += 1
                if escape is not None:
                    found.append(escape)
                    print(escape, flush=True)
            number += 1
    print(f"{sum(numbers.values()):,} inputs ({', '.join(f'{count:,} {kind}' for kind, count in numbers.items())})")
    print(f"{len(found)} escapes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
