"""Which coefficients are fitted, and writing them back into `hardware_profiles/`: `make calibrate-profiles`."""

from __future__ import annotations

import os
import re
from pathlib import Path

from simulator import catalog
from simulator.calibration.command import run
from simulator.calibration.fit import Parameter, Problem, Values, fit
from simulator.calibration.kernels import read_kernels
from simulator.calibration.measurements import read_measurements
from simulator.calibration.rows import rows_of
from simulator.causes.registry import fitted_families, starts_of
from simulator.device.framework import load_framework
from simulator.errors import InputError

THREAD_START = (0.3e-6, 0.5)
"""Starting and joining a core's thread: a barrier of 14 threads takes some microseconds (EPCC's benchmarks). [s]"""

PROCESSOR_CALLS: dict[str, tuple[float, float]] = {
    "call": (8e-6, 0.3),
    "convolution": (50e-6, 0.3),
    "packing": (0.5, 0.5),
    "first_touch": (0.25, 0.4),
}
"""What PyTorch's calls cost on a processor, from measurements of PyTorch 2.13 on two cores of a Xeon. [s]"""

LAUNCH = (3e-6, 0.3)
"""Gap between back-to-back kernels, 2 to 5 us (gpu-benches). [s]"""

FAMILIES: dict[str, dict[str, float]] = {
    "pascal": {"vector": 0.95, "bandwidth": 0.77},
    "volta": {"vector": 0.92, "matrix": 0.8, "bandwidth": 0.9},
    "turing": {"vector": 0.9, "matrix": 0.8, "bandwidth": 0.9},
    "ampere": {"vector": 0.88, "matrix": 1.0, "bandwidth": 0.88},
    "hopper": {"vector": 0.75, "matrix": 0.8, "bandwidth": 0.85},
    "ada": {"vector": 0.88, "matrix": 1.0, "bandwidth": 0.93},
    "blackwell": {"vector": 0.9, "matrix": 1.0, "bandwidth": 0.88},
    "skylake": {"vector": 0.8, "bandwidth": 0.77},
    "alder-lake": {"vector": 0.7, "bandwidth": 0.75},
}
"""Starting fractions of peak, from GEMM and STREAM measurements of each family. Tensor cores keep 0.92 of their peak on
an A100, beside what tiles, waves and depth lose; GeForce cards run a twelfth above their rated boost (from memory: RTX
3090 at 1.85 of 1.695 GHz, 4090 at 2.7 of 2.52), so that the families which these stand for begin at one."""

FAMILY_SPREAD = 0.1

MOST_SUSTAINED = {"vector": 1.12, "matrix": 1.12, "bandwidth": 1.0}
"""Boards clock up to an eighth above their rated boost (GTX 1080 Ti: 12.1 of 11.3 TFLOP/s in DeepBench); memory not."""

HELPERS = (3e-6, 0.45)
GRAPH_HELPERS = (10e-6, 0.45)
"""Device time beside each call of frameworks that schedule graphs: fits of two of TensorFlow, XLA and MXNet give 9 to
14 us, whichever is left out. [s]"""

GRAPH_CALL = (25e-6, 0.5)
"""A call of TensorFlow and XLA: fits of two of TensorFlow, XLA and MXNet end at a mean of 25 to 35 us in logarithms,
whichever is left out. [s]"""

SESSION = (3e-4, 0.3)
"""A run of a session: with a network for MNIST on a P40 it takes 0.5 ms altogether (tensorflow/tensorflow, issue 18546,
2018), with VGG16 on 50 x 50 images on a GTX 1070 Ti 3.8 ms (issue 22695). [s]"""

FRAMEWORKS: dict[str, dict[str, tuple[float, float]]] = {
    "pytorch": {
        "forward": (40e-6, 0.5),
        "backward": (90e-6, 0.3),
        "update": (20e-6, 0.6),
        "step": (1e-3, 0.3),
        "helpers": HELPERS,
    },
    "pytorch-compiled": {"forward": (12e-6, 0.5), "step": (1e-3, 0.3), "helpers": HELPERS},
    "tensorflow": {"forward": GRAPH_CALL, "backward": (15e-6, 0.3), "step": SESSION, "helpers": GRAPH_HELPERS},
    "tensorflow-xla": {
        "forward": GRAPH_CALL,
        "backward": (15e-6, 0.3),
        "step": SESSION,
        "helpers": GRAPH_HELPERS,
    },
    "mxnet": {
        "forward": (20e-6, 0.5),
        "backward": (30e-6, 0.3),
        "update": (60e-6, 0.6),
        "step": (1e-4, 0.3),
        "helpers": GRAPH_HELPERS,
    },
    "torch7": {"forward": (10e-6, 0.5), "backward": (10e-6, 0.3), "step": (2e-4, 0.3), "helpers": HELPERS},
    "pytorch-channels-last": {},
    "mxnet-2020": {},
    "tensorflow-2": {},
}
"""Dispatch costs of each framework, none where it shares another's. [s]

Their spreads and those of `PATHS` are how far the fits of different frameworks end from these starts, in the root mean
square (forward 0.5, backward 0.22, step 0.3, helpers 0.45; rates 0.05 to 0.12, copies 0.12 to 0.17): empirical Bayes,
Efron, Morris, J. Am. Stat. Assoc. 70(350), 1975. Where they were two to four times as wide, fits that lacked a measurer
found copies of four times the size, and helpers of three times.
"""

PATHS: dict[str, dict[str, tuple[float, float]]] = {
    "plain": {"elementwise": (1.0, 0.1), "convolution": (1.0, 0.1), "transposes": (1.5, 0.2)},
    "mixed": {"elementwise": (1.0, 0.1), "convolution": (1.0, 0.1), "transposes": (0.3, 0.2)},
}
"""How frameworks run kernels, where their own files say so; PyTorch's plain path gives no rates, and is the yardstick:
the libraries are the same ones. Operands were copied most in pure fp16 and tf32 under PyTorch of 2019 and 2020, less in
its mixed precision since."""


def parameters() -> list[Parameter]:
    """All coefficients that the fit may move."""
    found = [Parameter("families/gpu", "launch", *LAUNCH)]
    for family in fitted_families():
        found += [Parameter(f"families/{family}", f"kernel.{key}", *start) for key, start in starts_of(family).items()]
    for family, fractions in FAMILIES.items():
        for key, start in fractions.items():
            found.append(Parameter(f"families/{family}", f"sustained.{key}", start, FAMILY_SPREAD, MOST_SUSTAINED[key]))
    found += [Parameter("families/cpu", "start", *THREAD_START)]
    found += [Parameter("frameworks/pytorch", f"processor.{key}", *value) for key, value in PROCESSOR_CALLS.items()]
    for framework, dispatch in FRAMEWORKS.items():
        scope = f"frameworks/{framework}"
        found += [Parameter(scope, f"dispatch.{key}", *value) for key, value in dispatch.items()]
        own = load_framework(framework).origin
        for path, starts in PATHS.items():
            given = {f"{path}.{key}": value for key, value in starts.items()}
            found += [Parameter(scope, key, *value) for key, value in given.items() if own.get(key) == framework]
    return found


TIMED = {"dispatch": "", "": "launch start", "processor": "call convolution"}
"""Section -> its keys that are times, all of them where none is named."""


def rewrite(text: str, key: str, value: float) -> str:
    """A profile's text with one value replaced; everything else stays to the letter.

    Raises
    ------
    InputError
        If the text has no such key.
    """
    section, _, name = key.rpartition(".")
    timed = section in TIMED and name in (TIMED[section].split() or [name])
    return replaced(text, key, microseconds(value) if timed else f"{value:.3g}")


def microseconds(value_s: float) -> str:
    """A time to three digits, as profiles write it: "12.3 us"."""
    return f"{value_s * 1e6:.3g} us" if value_s < 1e-3 else f"{value_s * 1e6:.0f} us"


def replaced(text: str, key: str, shown: str) -> str:
    """A profile's text with what stands behind a key path replaced.

    Raises
    ------
    InputError
        If the text has no such key.
    """
    section, _, name = key.rpartition(".")
    outer, _, inner = section.rpartition(".")
    if not section:
        pattern = rf"(^{name}: )[^\n]+"
    elif outer:
        pattern = rf"(^{outer}:\n(?:  [^\n]*\n)*?  {inner}: \{{[^}}\n]*?\b{name}: )[^,}}\n]+"
    elif re.search(rf"^{section}: \{{", text, re.MULTILINE):
        pattern = rf"(^{section}: \{{[^\n]*?\b{name}: )[^,}}\n]+"
    else:
        pattern = rf"(^{section}:\n(?:  [^\n]*\n)*?  {name}: )[^\n]+"
    changed, count = re.subn(pattern, rf"\g<1>{shown}", text, count=1, flags=re.MULTILINE)
    if not count:
        raise InputError(f"no key {key!r} to write")
    return changed


def write(values: Values) -> None:
    """Put fitted coefficients into the files of `hardware_profiles/`."""
    root = catalog.folder("hardware_profiles")
    for scope in sorted({scope for scope, _ in values}):
        path = root / f"{scope}.yaml"
        text = path.read_text(encoding="utf-8")
        for (where, key), value in values.items():
            if where == scope:
                text = rewrite(text, key, value)
        path.write_text(text, encoding="utf-8")


def problem(folder: Path) -> Problem:
    """The fit of the tables in a folder: `networks.csv` and `kernels.csv`."""
    rows = rows_of(read_measurements(folder / "networks.csv"))
    return Problem(rows, read_kernels(folder / "kernels.csv"), parameters())


def main(folder: Path) -> None:
    """Fit to the tables in a folder, and write the coefficients."""
    write(fit(problem(folder), processes=os.cpu_count() or 1))


if __name__ == "__main__":
    run(main)
