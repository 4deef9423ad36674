"""What goes through the command line: options of every command, profiles of every kind, tables of every form."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import yaml
from changes import NUMBERS, changed_bytes, changed_text, mutated

ROOT = Path(__file__).parents[2]

ODD = (
    "",
    "x",
    "0",
    "-1",
    "1",
    "2",
    "7",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "99999999999999999999",
    "1e-300",
    "0x10",
    "1:",
    ":",
    ",",
    "=",
    "*",
    "[",
    "a=b",
    "../x",
    "=cmd()",
    "<b>",
    "é",
    "1 GB/s",
    "5ms",
    "-5ms",
    "1:1000000000",
    "1:64:x2",
    "64:1:x2",
    "0:1:x2",
    "1:2:x1",
    "1:2:0",
    "1e9",
    "--",
    "fp32",
    "lenet5",
    "v100",
)
"""Words for an option of any kind."""

WORDS: dict[str, tuple[str, ...]] = {
    "--workload": ("lenet5", "alexnet", "gpt2", "lenet*", "nothing", "resnet18"),
    "--device": (
        "v100",
        "t4",
        "cpu-16core",
        "zz*",
        "v100[memory.bandwidth=0 GB/s]",
        "v100[peak.fp32=2x",
        "h100*",
        "a100",
    ),
    "--system": ("dgx-a100-80gb", "dgx-1-v100", "tpu-v4-4x4x4", "nothing"),
    "--link": ("nvlink2", "pcie3", "string"),
    "--network": ("infiniband-hdr", "ethernet-10", "string"),
    "--batch": ("1", "8", "max", "1:64:x2", "999999999999"),
    "--global-batch": ("1", "16", "64", "1000000000"),
    "--microbatch": ("1", "4", "3"),
    "--precision": ("fp32", "amp", "int8", "fp64", "tf32", "fp8"),
    "--task": ("train", "infer"),
    "--optimizer": ("sgd", "adam"),
    "--set": (
        "memory.bandwidth=2x",
        "memory.bandwidth=-1x",
        "units.count=0",
        "peak.fp32=1e400 FLOP/s",
        "launch=0 s",
        "memory.bandwidth=0.5x:4x:3",
        "memory.capacity=1 GiB",
        "sustained=nan",
        "power=1 W",
        "cache=1 kB",
    ),
    "--memory": ("hbm2:4", "hbm2:0", "hbm2", "x:1", "hbm2:99999999999999999999", "ddr4-2400:8"),
    "--host": ("server", "35us", "-1us", "nan us", "desktop-2014"),
    "--framework": ("pytorch", "tensorflow", "tensorrt", "megatron"),
    "--fidelity": ("roofline", "napkin", "calibrated"),
    "--traffic": ("ideal", "cached", "naive"),
    "--count": ("exact", "articles"),
    "--parallel": (
        "dp=2",
        "tp=2",
        "pp=2",
        "dp=0",
        "dp=2,dp=2",
        "tp=3",
        "dp=2,tp=2,pp=2",
        "pp=1000000",
        "dp=1e9",
        "cp=2",
        "ep=2",
    ),
    "--schedule": ("1f1b", "interleaved:2", "gpipe", "zero-bubble", "interleaved:0", "interleaved:99"),
    "--recompute": ("none", "selective", "full"),
    "--zero": ("0", "1", "3", "4"),
    "--apply": (
        "lowrank:*=8",
        "channels:conv*=0.5",
        "quantize:int8",
        "fold",
        "codebook:*=5",
        "prune:*=0.9",
        "channels:*=0",
        "lowrank:*=nan",
        "channels:conv1=1e-9",
        "weights:int4",
    ),
    "--input": ("3,224,224", "1,28,28", "int64:128", "3,1000000,1000000", "0,0", "1", "128", "x=float32:1,28,28"),
    "--output": ("1", "16", "1000000000"),
    "--dataset": ("imagenet", "mnist"),
    "--engine": ("vllm", "tensorrt-llm", "llama.cpp"),
    "--kv": ("fp8", "fp16", "int4"),
    "--concurrency": ("1,2", "8", "0", "1,1", "1000000"),
    "--rate": ("1/s", "0.1", "1e9/s"),
    "--requests": ("3", "0", "1000000000", "nothing.csv"),
    "--arrivals": ("poisson", "uniform", "burst"),
    "--speculate": ("3:0.7", "0:0", "3:1.5", "9999999:0.5"),
    "--where": (
        "memory.fits",
        "step.time_s < 0.2",
        "step.time_s <",
        "step",
        "__import__('os')",
        "1/0",
        "x.y > 1",
        "9**9**9 > 1",
    ),
    "--sort": ("step.time_s", "-step.time_s", "device"),
    "--pareto": ("step.time_s,device.power_w", "-step.time_s", "step.time_s,step.time_s"),
    "--plot": ("batch,step.time_s", "batch,precision,step.time_s", "density:batch,step.time_s"),
    "--deadline": ("1h", "0s", "1e400 s"),
    "--budget": ("100", "0"),
    "--power": ("1 kW", "0 W"),
    "--layer": ("conv1", "conv*"),
}
"""Option -> words that mean something to it, or nearly."""

COMMANDS: dict[str, tuple[str, ...]] = {
    "": ("--workload", "lenet5", "--device", "v100"),
    "layers": ("lenet5",),
    "explain": ("--workload", "lenet5", "--device", "v100"),
    "sweep": ("--workload", "lenet5", "--device", "v100"),
    "plan": ("--workload", "lenet5", "--device", "v100", "--epochs", "1"),
    "parallel": ("gpt2", "--system", "dgx-a100-80gb", "--batch", "16"),
    "rewrite": ("lenet5", "--apply", "quantize:int8"),
    "serve": ("--workload", "gpt2", "--device", "a100", "--input", "64", "--output", "8"),
    "compare": ("--workload", "lenet5", "--device", "v100", "--device", "t4"),
    "workloads": (),
    "devices": (),
    "frameworks": (),
    "precisions": (),
    "datasets": (),
    "schema": ("device",),
}
"""Command -> words with which it answers; `calibrate` measures this machine, `validate` reads tables: both left out."""

LEFT_OUT = ("--help", "--version", "--resume", "--scheduler", "--trace", "--timeline", "--plot", "--out")
"""Options that write files, wait for another computer or say nothing of an input."""


def invoked(words: Sequence[str]) -> None:
    """One command line: an answer of finite numbers with code 0, or one line on stderr with code 2.

    Raises
    ------
    AssertionError
        If it is neither; any other exception is the command's own.
    """
    from click.testing import CliRunner

    from simulator.cli import main

    found = CliRunner().invoke(main, list(words), prog_name="simulate")
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    said = " ".join(words)
    if found.exit_code not in (0, 2):
        raise AssertionError(f"exit code {found.exit_code} of {said}")
    if found.exit_code == 2 and (found.stderr.count("\n") != 1 or found.stdout):
        raise AssertionError(f"stdout {found.stdout[:40]!r}, stderr {found.stderr[-80:]!r} of {said}")
    if found.exit_code == 0 and "--json" in words:
        wrong = next(impossible(json.loads(found.stdout, parse_constant=_constant)), None)
        if wrong:
            raise AssertionError(f"{wrong} of {said}")


def _constant(text: str) -> float:
    raise AssertionError(f"{text} in an answer")


def impossible(document: Any, path: str = "") -> Iterator[str]:
    """What stands in an answer and cannot be: a negative time, amount or share, a step or run of no time."""
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inside:
        yield from impossible(value, f"{path}.{key}")
        if isinstance(value, int | float) and not isinstance(value, bool) and not path.startswith(".options"):
            whole = path in (".step", ".run") and key in ("time_s", "epoch_s", "total_s")
            never = str(key).endswith(("time_s", "bytes", "flops", "macs", "cost_usd", "energy_j", "parameters"))
            if (never and value < 0 and key != "headroom_bytes") or (whole and value <= 0):
                yield f"{path}.{key} = {value}"


@lru_cache
def _options(command: str) -> list[click.Option]:
    """What a command takes, but for what is left out."""
    from simulator.cli import main

    found = main.get_command(click.Context(main), command) if command else main
    assert found is not None
    return [one for one in found.params if isinstance(one, click.Option) and one.opts[0] not in LEFT_OUT]


def options(chance: random.Random, folder: Path) -> None:
    """Options of any command at random, with values that mean something, nearly do, or do not."""
    command = chance.choice(sorted(COMMANDS))
    words = [command] if command else ["--no-report"]
    words += COMMANDS[command]
    known = _options(command)
    for one in chance.sample(known, min(len(known), chance.randint(0, 5))):
        words += _words(one, chance)
    if chance.random() < 0.1:
        words.append(chance.choice(ODD))
    if any("--json" in one.opts for one in known) and "--json" not in words:
        words.append("--json")
    if command in ("sweep", "serve", "plan") and any("--out" in one.opts for one in _all(command)):
        words += ["--out", str(folder / ("rows.csv" if command == "sweep" else "out"))]
    invoked(words)


def _all(command: str) -> list[click.Parameter]:
    from simulator.cli import main

    found = main.get_command(click.Context(main), command) if command else main
    return [] if found is None else [one for one in found.params if isinstance(one, click.Option)]


def _words(option: click.Option, chance: random.Random) -> list[str]:
    name = option.opts[0]
    if option.is_flag:
        return [name]
    fitting = option.type.choices if isinstance(option.type, click.Choice) else ()
    fitting = (*map(str, fitting), *WORDS.get(name, ("1", "2", "16")))
    return [name, chance.choice(fitting if chance.random() < 0.7 else ODD)]


PROFILES: dict[str, tuple[tuple[str, ...], ...]] = {
    "links": (("--workload", "lenet5", "--device", "v100", "--devices", "4", "--link"),),
    "systems": (
        ("--workload", "lenet5", "--system"),
        ("--workload", "lenet5", "--nodes", "2", "--system"),
        ("parallel", "gpt2", "--batch", "8", "--system"),
    ),
    "frameworks": (("--workload", "lenet5", "--device", "v100", "--framework"),),
    "hosts": (("--workload", "lenet5", "--device", "v100", "--host"),),
    "engines": (("serve", "--workload", "gpt2", "--device", "a100", "--input", "64", "--output", "8", "--engine"),),
    "devices": (
        ("serve", "--workload", "gpt2", "--input", "64", "--output", "8", "--device"),
        ("--workload", "alexnet", "--task", "infer", "--precision", "amp", "--device"),
        ("explain", "--workload", "lenet5", "--device"),
        ("--workload", "lenet5", "--traffic", "cached", "--fidelity", "roofline", "--device"),
        ("parallel", "gpt2", "--batch", "8", "--devices", "4", "--link", "nvlink2", "--device"),
    ),
}
"""Folder of profiles -> command lines that end with one of its files."""


def profile(chance: random.Random, folder: Path) -> None:
    """A shipped profile of any kind with other values."""
    from simulator import catalog

    kind = chance.choice(sorted(PROFILES))
    place = f"hardware_profiles/{kind}"
    content = mutated(catalog.read_yaml(catalog.find(place, chance.choice(catalog.names(place)))), chance)
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    words = chance.choice(PROFILES[kind])
    invoked([*words, str(path), "--json", *(["--no-report"] if words[0].startswith("--") else [])])


def dataset(chance: random.Random, folder: Path) -> None:
    """A shipped dataset with other values."""
    from simulator import catalog

    content = mutated(catalog.read_yaml(catalog.find("workloads/datasets", "mnist")), chance)
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    invoked(["--workload", "lenet5", "--device", "v100", "--dataset", str(path), "--json", "--no-report"])


CHOSEN: tuple[tuple[str, ...], ...] = (
    ("--task", "infer"),
    ("--precision", "amp"),
    ("--fidelity", "napkin", "--count", "articles"),
    ("--fidelity", "roofline", "--traffic", "naive"),
    ("--traffic", "cached", "--optimizer", "adam"),
    ("--batch", "max"),
    ("--apply", "quantize:int8", "--task", "infer"),
    ("--apply", "channels:*=0.5"),
    ("--framework", "tensorflow"),
)


def network(chance: random.Random, folder: Path) -> None:
    """A shipped network's YAML with other values, asked another way, its whole answer read."""
    from simulator import catalog

    path = folder / "net.yaml"
    content = mutated(catalog.read_yaml(catalog.find("workloads", chance.choice(catalog.names("workloads")))), chance)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    words = ["--workload", str(path), "--device", "v100", "--ignore-memory", "--no-report", "--json"]
    invoked([*words, *chance.choice(CHOSEN)] if chance.random() < 0.8 else ["layers", str(path), "--json"])


ROWS: tuple[str, ...] = (
    "op,link,devices,nodes,size_bytes,time_s\nall_reduce,nvlink2,8,1,1048576,5e-5\nall_gather,pcie3,4,1,4096,2e-5",
    "workload,profile,devices,precision,global_batch,micro_batch,tp,pp,sequence,zero_or_fsdp,recompute,step_s\n"
    "gpt2,a100-sxm4-80gb,8,bf16,64,4,2,1,1024,1,none,1.5",
    "device,op,dtype,kernel,dims,time_s\n"
    "a100-sxm,context_attention,bfloat16,torch_flow,batch_size=2;isl=16;num_heads=40;num_key_value_heads=8;head_dim=128;"
    "window_size=0;beam_width=1;kv_cache_dtype=bfloat16;step=0,1.45067e-05",
    "id,workload,profile,device,quantisation,devices,tp,pp,engine,batch_or_concurrency,input_len,output_len,metric,value\n"
    "a,llama2_7b,h100-sxm5-80gb,h100,fp8,1,1,,TensorRT-LLM,64,128,128,output_tok_s,9193",
    "workload,device,task,precision,batch,devices,step_s\nlenet5,v100,train,fp32,64,1,0.01\nalexnet,t4,infer,amp,8,1,0.1",
)
"""A table of each form."""


def rows(chance: random.Random, folder: Path) -> None:
    """A table of measurements of any form with other cells, plain or compressed."""
    head, *below = chance.choice(ROWS).split("\n")
    lines = [line.split(",") for line in below]
    for _ in range(chance.randint(1, 3)):
        cells = chance.choice(lines)
        cells[chance.randrange(len(cells))] = str(chance.choice((*NUMBERS, *ODD)))
    text = "\n".join([head, *map(",".join, lines)])
    data = (changed_text(text, chance) if chance.random() < 0.3 else text).encode("utf-8", "surrogatepass")
    path = folder / f"rows-{chance.getrandbits(32)}.csv"
    if chance.random() < 0.2:
        path = path.with_suffix(".csv.gz")
        data = gzip.compress(data, mtime=0)
        data = changed_bytes(data, chance) if chance.random() < 0.7 else data
    path.write_bytes(data)
    try:
        invoked(["validate", str(path), "--json"])
    finally:
        path.unlink()
