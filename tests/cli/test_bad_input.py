"""Bad input: one line on stderr, exit code 2, nothing on stdout, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN = ["--workload", "lenet5", "--device", "v100"]

Simulate = Callable[..., Any]


def check_refused(simulate: Simulate, arguments: list[str], said: str) -> None:
    before = set(Path().rglob("*"))
    answer = simulate(*arguments)
    assert answer.exception is None, repr(answer.exception)
    assert answer.code == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("simulate: ")
    assert answer.stderr.count("\n") == 1
    assert said in answer.stderr
    assert set(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--workload sennet --device v100", "unknown workload 'sennet'; did you mean 'senet'?"),
        ("--workload senet --device v10", "unknown device 'v10'; did you mean 'v100'?"),
        ("--workload lenet5", "--device is missing"),
        ("--device v100", "--workload is missing"),
        ("--workload lenet5 --device hbm2", "is a memory technology, not a device"),
        ("--workload lenet5 --device v100 --device v10", "did you mean 'v100'?"),
        ("--workload lenet5 --device volta", "unknown device 'volta'"),
        ("--workload nothing.yaml --device v100", "nothing.yaml: no such file"),
        ("--workload lenet5 --device nothing.yaml", "nothing.yaml: no such file"),
        ("--workload cafe:x.prototxt --device v100", "did you mean 'caffe'?"),
        ("layers sennet", "did you mean 'senet'?"),
        ("layers lenet5 --count artcles", "did you mean 'articles'?"),
        ("layers lenet5 --image-size 3", "larger than its padded input"),
        ("layers lenet5 --image-size 0", "image size 0"),
        ("layers lenet5 --image-size -3", "image size -3"),
        ("layers lenet5 --sequence 5", "does not fit the input"),
        ("layers lenet5 --input a,b", "write a shape such as 3,224,224"),
        ("layers lenet5 --input 1,0,28", "side below one"),
        ("layers lenet5 --dataset minst", "did you mean 'mnist'?"),
        ("layers lenet5 --samples 0", "must be at least 1"),
        ("layers", "Missing argument"),
        ("devices v10x", "did you mean 'v100'?"),
        (
            "--workload lenet5 --system dgx-1-v100 --system dgx-2",
            "--system is given 2 times, dgx-1-v100 and dgx-2; give one",
        ),
        (
            "--workload lenet5 --device v100 --devices 8 --link nvlink2 --link pcie3",
            "--link is given 2 times, nvlink2 and pcie3; give one",
        ),
        (
            "--workload lenet5 --device v100 --nodes 2",
            "--nodes 2 with --devices 1: a machine has at least one; --devices 2 would fit",
        ),
        (
            "--workload lenet5 --system dgx-2 --nodes 2 --network infiniband-ndr",
            "dgx-2 has a network of its own, infiniband-edr; leave --network infiniband-ndr out",
        ),
        (
            "scaling --workload lenet5 --device v100 --batch 4 --global-batch 8",
            "--batch is of each device, --global-batch of all together; give one of the two",
        ),
        ("schema devise", "unknown schema 'devise'; did you mean 'device'?"),
        ("layerz", "unknown command 'layerz'; did you mean 'layers'?"),
        ("--frobnicate", "No such option"),
    ],
)
def test_bad_names(simulate: Simulate, arguments: str, said: str) -> None:
    check_refused(simulate, arguments.split(), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "0"], "batch must be between 1"),
        (["--batch", "-8"], "batch must be between 1"),
        (["--batch", "many"], "not a valid integer"),
        (["--batch", "1e3"], "not a valid integer"),
        (["--batch", "9" * 30], "batch must be between 1"),
        (["--epochs", "0"], "epochs must be between 1"),
        (["--epochs", "-1"], "epochs must be between 1"),
        (["--samples", "-1"], "must be at least 1"),
        (["--precision", "fp33"], "unknown precision 'fp33'; did you mean 'fp32'?"),
        (["--precision", "tf32"], "lists no tf32_tensor peak"),
        (["--precision", "int8"], "add --task infer"),
        (["--task", "tran"], "did you mean 'train'?"),
        (["--optimizer", "adamm"], "did you mean 'adam'?"),
        (["--fidelity", "rooflin"], "did you mean 'roofline'?"),
        (["--traffic", "ideel"], "did you mean 'ideal'?"),
        (["--count", "exakt"], "did you mean 'exact'?"),
        (["--framework", "pytorhc"], "did you mean 'pytorch'?"),
        (["--memory", "hbm22:4"], "did you mean"),
        (["--memory", "hbm2"], "say how many stacks"),
        (["--memory", "hbm2:0"], "say how many stacks"),
        (["--memory", "hbm2:-4"], "say how many stacks"),
        (["--set", "peak.fp32"], "write KEY=VALUE"),
        (["--set", "peak.fp32=20 TFLOPS"], "unknown unit 'TFLOPS'; did you mean 'TFLOP/s'?"),
        (["--set", "peaks.fp32=20TFLOP/s"], "a device has no value 'peaks.fp32'; did you mean 'peak.fp32'?"),
        (["--set", "memory.bandwidth=900GBps"], "did you mean 'GB/s'?"),
        (["--set", "memory.bandwidth=-1GB/s"], "must be above zero"),
        (["--set", "memory.capacity=0GiB"], "must be above zero"),
        (["--set", "sustained.vector=-1"], "> 0"),
        (["--set", "family=voltta"], "did you mean 'volta'?"),
        (["--dataset", "mnist", "--samples", "5"], "exclude each other"),
        (["--batch", "100000000"], "the largest batch that fits is"),
    ],
)
def test_bad_values(simulate: Simulate, arguments: list[str], said: str) -> None:
    check_refused(simulate, [*RUN, *arguments], said)


def test_what_does_not_fit_says_how_it_would(simulate: Simulate) -> None:
    run = ["--workload", "senet", "--device", "v100", "--batch", "4096"]
    refused = simulate(*run)
    assert refused.code == 2
    largest = refused.stderr.split("the largest batch that fits is ")[1].split()[0]
    for part in ("parameters", "gradients", "optimizer", "activations"):
        assert part in refused.stderr
    fits = simulate("--workload", "senet", "--device", "v100", "--batch", largest, "--no-report", "--json")
    assert fits.json()["memory"]["fits"] is True
    assert int(largest) == fits.json()["memory"]["largest_batch"]
    anyway = simulate(*run, "--ignore-memory", "--no-report", "--json")
    assert anyway.code == 0
    assert anyway.json()["memory"]["fits"] is False


FILES = {
    "kernel.yaml": ("name: n\ninput: [1, 4, 4]\nlayers: [conv: {out: 2, kernel: 9}]", "a kernel of 9"),
    "key.yaml": ("name: n\ninput: [1, 4, 4]\nlayers: [conv: {outt: 2, kernel: 3}]", "did you mean 'out'?"),
    "kind.yaml": ("name: n\ninput: [1, 4, 4]\nlayers: [conf: {out: 2}]", "did you mean 'conv'?"),
    "zero.yaml": ("name: n\ninput: [1, 0, 4]\nlayers: [relu]", ">= 1"),
    "negative.yaml": ("name: n\ninput: [1, 4, -4]\nlayers: [relu]", ">= 1"),
    "bomb.yaml": ("a: &a [x, x]\nb: &b [*a, *a]\nname: n", "anchors and aliases"),
    "tag.yaml": ("name: !!python/object/apply:os.system [true]", "tags such as"),
    "twice.yaml": ("name: n\nname: m", "stands twice"),
    "deep.yaml": ("name: " + "[" * 500, "nested deeper"),
    "list.yaml": ("- a", "expected a mapping"),
    "broken.yaml": ("name: [", "not valid YAML"),
    "empty.yaml": ("", "expected a mapping"),
    "bytes.yaml": (b"\xff\xfe", "cannot be read"),
    "large.yaml": ("# " + "x" * 2**20, "larger than"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("option", ["--workload", "--device"])
def test_bad_files(simulate: Simulate, name: str, option: str) -> None:
    content, said = FILES[name]
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    other = ["--device", "v100"] if option == "--workload" else ["--workload", "lenet5"]
    about_layers = name in ("kernel.yaml", "key.yaml", "kind.yaml", "zero.yaml", "negative.yaml")
    check_refused(simulate, [option, name, *other], name if about_layers and option == "--device" else said)


def test_a_folder_is_no_workload(simulate: Simulate) -> None:
    Path("folder.yaml").mkdir()
    check_refused(simulate, ["--workload", "folder.yaml", "--device", "v100"], "no such file")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser reads everything")
def test_a_file_that_may_not_be_read(simulate: Simulate) -> None:
    Path("secret.yaml").touch(mode=0o000)
    check_refused(simulate, ["--workload", "secret.yaml", "--device", "v100"], "cannot be read")


def test_a_real_process_prints_one_line_too(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from simulator.cli import main; main()",
        "--workload",
        "sennet",
        "--device",
        "v100",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "simulate: unknown workload 'sennet'; did you mean 'senet'?\n"
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
