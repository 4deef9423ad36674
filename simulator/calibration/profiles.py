"""Which coefficients are fitted, and writing them back into `hardware_profiles/`: `make calibrate-profiles`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from simulator import catalog
from simulator.calibration.fit import Parameter, Problem, Values, fit, rows_of
from simulator.calibration.kernels import read_kernels
from simulator.calibration.measurements import read_measurements
from simulator.device.framework import load_framework
from simulator.errors import InputError

KERNEL_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "vector_tile": (10, 0.15),
    "matrix_tile": (47, 0.15),
    "vector_depth": (18, 0.2),
    "matrix_depth": (108, 0.2),
    "weight_depth": (400, 0.3),
    "tensor_weight_depth": (190, 0.3),
    "winograd": (1.2, 0.15),
    "fused_winograd": (0.93, 0.15),
    "transform": (0.8, 0.15),
    "convolution": (0.97, 0.15),
    "tensor_convolution": (1.1, 0.2),
    "input_gradient": (0.99, 0.1),
    "weight_gradient": (1.0, 0.15),
    "strided_gradient": (0.75, 0.15),
    "scattered_write": (2.3, 0.3),
    "grouped": (0.6, 0.5),
    "tensor_grouped": (0.65, 0.05),
    "depthwise": (0.3, 0.6),
    "depthwise_gradient": (0.5, 0.5),
    "operand": (0.7, 0.2),
    "normalization": (0.8, 0.2),
    "pooling": (0.6, 0.4),
    "elementwise": (0.98, 0.05),
    "softmax": (0.7, 0.2),
    "reduction": (0.8, 0.3),
    "copy": (0.8, 0.3),
    "update": (0.85, 0.2),
    "half_width": (0.95, 0.1),
    "cache": (0.2, 0.5),
    "desktop_host": (0.7, 0.3),
}
"""Coefficient -> starting value and spread. Those of products start where DeepBench alone puts them and are held
tightly; large element-wise kernels reach the bandwidth by definition (NeuSight's: 0.92 of the datasheet on a V100, 0.88
on an A100); those that no kernel benchmark shows are left to the networks. Groups on tensor cores are held where the
containers of 2020 and later put them: libraries before cuDNN 8 had no kernels for them."""

PROCESSOR_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "vector_tile": (6, 0.5),
    "vector_depth": (40, 0.6),
    "convolution": (0.7, 0.5),
    "grouped": (0.5, 0.5),
    "depthwise": (0.3, 0.6),
    "operand": (0.7, 0.05),
    "normalization": (0.7, 0.3),
    "pooling": (0.5, 0.3),
    "elementwise": (0.7, 0.3),
    "cache": (0.5, 0.5),
}
"""The same for processors, of which three devices' inference was measured. Operands are held: a linear layer at batch 1
reads its weights at the speed of memory (PyTorch 2.13, MKL: 14.4 GB/s on one thread, 21 on two, a copy 8.8 and 16)."""

THREAD_START = (0.3e-6, 0.5)
"""Starting and joining a core's thread: a barrier of 14 threads takes some microseconds (EPCC's benchmarks). [s]"""

PROCESSOR_CALLS: dict[str, tuple[float, float]] = {
    "call": (8e-6, 0.3),
    "convolution": (50e-6, 0.3),
    "packing": (0.5, 0.5),
    "new_pages": (0.25, 0.4),
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

FAMILY_KERNELS: dict[tuple[str, str], tuple[float, float]] = {
    ("ampere", "matrix_tile"): (22, 0.3),
    ("ada", "matrix_tile"): (22, 0.3),
    ("blackwell", "matrix_tile"): (22, 0.3),
    ("hopper", "matrix_tile"): (11, 0.3),
    ("ada", "cache"): (0.6, 0.3),
    ("blackwell", "cache"): (0.6, 0.3),
    ("turing", "tensor_weight_depth"): (900, 0.3),
    ("volta", "thin"): (0.65, 0.2),
    ("volta", "thin_gradient"): (0.4, 0.2),
    ("turing", "thin"): (0.85, 0.2),
    ("turing", "thin_gradient"): (0.34, 0.2),
}
"""Coefficients of single families: the tile overhead of those whose operands reach further than Volta's; caches of 72
MB and more, which keep whole tensors; the depth that weights' gradients lose on Turing's tensor cores, and what the
three channels of an image cost those of Volta and Turing, where DeepBench puts them."""

MOST_SUSTAINED = {"vector": 1.12, "matrix": 1.12, "bandwidth": 1.0}
"""Boards clock up to an eighth above their rated boost (GTX 1080 Ti: 12.1 of 11.3 TFLOP/s in DeepBench); memory not."""

HELPERS = (3e-6, 1.0)
FRAMEWORKS: dict[str, dict[str, tuple[float, float]]] = {
    "pytorch": {
        "forward": (40e-6, 0.6),
        "backward": (90e-6, 0.6),
        "update": (20e-6, 0.6),
        "step": (1e-3, 0.7),
        "helpers": HELPERS,
    },
    "pytorch-compiled": {"forward": (12e-6, 0.8), "step": (1e-3, 0.7), "helpers": HELPERS},
    "tensorflow": {"forward": (12e-6, 0.8), "backward": (15e-6, 0.6), "step": (2e-3, 0.7), "helpers": HELPERS},
    "tensorflow-xla": {"forward": (12e-6, 0.8), "backward": (15e-6, 0.6), "step": (2e-3, 0.7), "helpers": HELPERS},
    "mxnet": {
        "forward": (20e-6, 0.8),
        "backward": (30e-6, 0.6),
        "update": (60e-6, 0.8),
        "step": (1e-4, 0.7),
        "helpers": HELPERS,
    },
    "torch7": {"forward": (10e-6, 0.8), "backward": (10e-6, 0.6), "step": (2e-4, 0.7), "helpers": HELPERS},
    "pytorch-channels-last": {},
    "mxnet-2020": {},
    "tensorflow-2": {},
}
"""Dispatch costs of each framework, none where it shares another's. [s]"""

PATHS: dict[str, dict[str, tuple[float, float]]] = {
    "plain": {"elementwise": (1.0, 0.2), "convolution": (1.0, 0.2), "transposes": (1.5, 0.8)},
    "mixed": {"elementwise": (1.0, 0.2), "convolution": (1.0, 0.2), "transposes": (0.3, 0.8)},
}
"""How frameworks run kernels, where their own files say so; PyTorch's plain path gives no rates, and is the yardstick.
Operands were copied most in pure fp16 and tf32 under PyTorch of 2019 and 2020, less in its mixed precision since."""


def parameters() -> list[Parameter]:
    """All coefficients that the fit may move."""
    found = [Parameter("families/gpu", "launch", *LAUNCH)]
    found += [Parameter("families/gpu", f"kernel.{key}", *value) for key, value in KERNEL_COEFFICIENTS.items()]
    found += [Parameter("families/cpu", f"kernel.{key}", *value) for key, value in PROCESSOR_COEFFICIENTS.items()]
    for family, fractions in FAMILIES.items():
        for key, start in fractions.items():
            found.append(Parameter(f"families/{family}", f"sustained.{key}", start, FAMILY_SPREAD, MOST_SUSTAINED[key]))
    found += [Parameter("families/cpu", "start", *THREAD_START)]
    found += [Parameter("frameworks/pytorch", f"processor.{key}", *value) for key, value in PROCESSOR_CALLS.items()]
    found += [
        Parameter(f"families/{family}", f"kernel.{key}", *value) for (family, key), value in FAMILY_KERNELS.items()
    ]
    for framework, dispatch in FRAMEWORKS.items():
        scope = f"frameworks/{framework}"
        found += [Parameter(scope, f"dispatch.{key}", *value) for key, value in dispatch.items()]
        own = load_framework(framework).origin
        for path, starts in PATHS.items():
            given = {f"{path}.{key}": value for key, value in starts.items()}
            found += [Parameter(scope, key, *value) for key, value in given.items() if own.get(key) == framework]
    return found


def rewrite(text: str, key: str, value: float) -> str:
    """A profile's text with one value replaced; everything else stays to the letter.

    Raises
    ------
    InputError
        If the text has no such key.
    """
    section, _, name = key.rpartition(".")
    microseconds = f"{value * 1e6:.3g}" if value < 1e-3 else f"{value * 1e6:.0f}"
    timed = section == "dispatch" or key in ("launch", "start", "processor.call", "processor.convolution")
    shown = f"{microseconds} us" if timed else f"{value:.3g}"
    if not section:
        pattern = rf"(^{name}: )[^\n]+"
    elif re.search(rf"^{section}: \{{", text, re.MULTILINE):
        pattern = rf"(^{section}: \{{[^}}\n]*?\b{name}: )[^,}}\n]+"
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


def main() -> None:
    """Fit to the tables in the folder given as the first argument, and write the coefficients."""
    folder = Path(sys.argv[1])
    write(fit(problem(folder), processes=os.cpu_count() or 1))


if __name__ == "__main__":
    main()
