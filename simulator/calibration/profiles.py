"""Which coefficients are fitted, and writing them back into `hardware_profiles/`: `make calibrate-profiles`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from simulator import catalog
from simulator.calibration.fit import Parameter, Problem, Values, fit, rows_of
from simulator.calibration.kernels import read_kernels
from simulator.calibration.validation import read_measurements
from simulator.errors import InputError

KERNEL_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "vector_tile": (8, 0.1),
    "matrix_tile": (16, 0.15),
    "vector_depth": (15, 0.3),
    "matrix_depth": (110, 0.15),
    "winograd": (0.5, 0.4),
    "convolution": (1.0, 0.4),
    "tensor_convolution": (1.0, 0.4),
    "input_gradient": (0.85, 0.1),
    "weight_gradient": (0.8, 0.1),
    "strided_gradient": (0.6, 0.3),
    "grouped": (0.8, 0.5),
    "depthwise": (0.3, 0.6),
    "depthwise_gradient": (0.5, 0.5),
    "operand": (0.7, 0.3),
    "normalization": (0.85, 0.3),
    "pooling": (0.5, 0.5),
    "elementwise": (0.95, 0.2),
    "softmax": (0.8, 0.3),
    "reduction": (0.8, 0.3),
    "copy": (0.8, 0.3),
    "update": (0.8, 0.3),
    "half_width": (0.8, 0.2),
    "cache": (0.3, 0.5),
}
"""Coefficient -> starting value and spread. Tiles, depths and gradients start where DeepBench's kernels alone put them
and are held tightly; those that no kernel benchmark shows are left to the networks."""

PROCESSOR_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "convolution": (0.7, 0.5),
    "operand": (0.7, 0.3),
    "normalization": (0.7, 0.3),
    "pooling": (0.5, 0.3),
    "elementwise": (0.7, 0.3),
}
"""The same for processors, of which one device's inference was measured."""

LAUNCH = (4e-6, 0.15)
"""Gap between back-to-back kernels, 2 to 5 us (gpu-benches). [s]"""

FAMILIES: dict[str, dict[str, float]] = {
    "pascal": {"vector": 0.95, "bandwidth": 0.77},
    "volta": {"vector": 0.92, "matrix": 0.8, "bandwidth": 0.9},
    "turing": {"vector": 0.9, "matrix": 0.8, "bandwidth": 0.9},
    "ampere": {"vector": 0.88, "matrix": 0.85, "bandwidth": 0.88},
    "hopper": {"vector": 0.75, "matrix": 0.8, "bandwidth": 0.85},
}
"""Starting fractions of peak, from GEMM and STREAM measurements of each family."""

FAMILY_SPREAD = 0.2
MOST_SUSTAINED = {"vector": 1.12, "matrix": 1.12, "bandwidth": 1.0}
"""Boards clock up to an eighth above their rated boost (GTX 1080 Ti: 12.1 of 11.3 TFLOP/s in DeepBench); memory not."""

FRAMEWORKS: dict[str, dict[str, tuple[float, float]]] = {
    "pytorch": {"forward": (30e-6, 0.8), "backward": (40e-6, 0.6), "step": (1e-3, 0.7), "helpers": (8e-6, 1.0)},
    "tensorflow": {"forward": (12e-6, 0.8), "backward": (15e-6, 0.6), "step": (2e-3, 0.7), "helpers": (6e-6, 1.0)},
    "tensorflow-xla": {"forward": (12e-6, 0.8), "backward": (15e-6, 0.6), "step": (2e-3, 0.7), "helpers": (4e-6, 1.0)},
    "mxnet": {"forward": (10e-6, 0.8), "backward": (15e-6, 0.6), "step": (1e-4, 0.7), "helpers": (5e-6, 1.0)},
    "torch7": {"forward": (10e-6, 0.8), "backward": (10e-6, 0.6), "step": (2e-4, 0.7), "helpers": (5e-6, 1.0)},
}
"""Dispatch costs. [s]"""

FUSED = 0.6
"""Share of element-wise traffic that XLA leaves, to start with."""


def parameters() -> list[Parameter]:
    """All coefficients that the fit may move."""
    found = [Parameter("families/gpu", "launch", *LAUNCH)]
    found += [Parameter("families/gpu", f"kernel.{key}", *value) for key, value in KERNEL_COEFFICIENTS.items()]
    found += [Parameter("families/cpu", f"kernel.{key}", *value) for key, value in PROCESSOR_COEFFICIENTS.items()]
    for family, fractions in FAMILIES.items():
        for key, start in fractions.items():
            found.append(Parameter(f"families/{family}", f"sustained.{key}", start, FAMILY_SPREAD, MOST_SUSTAINED[key]))
    for framework, dispatch in FRAMEWORKS.items():
        scope = f"frameworks/{framework}"
        found += [Parameter(scope, f"dispatch.{key}", *value) for key, value in dispatch.items()]
        found += _path_parameters(framework, scope)
    return found


def _path_parameters(framework: str, scope: str) -> Iterable[Parameter]:
    """PyTorch's plain path is the yardstick, so that its factors stay at one; Torch7 has no mixed precision."""
    elementwise = FUSED if framework == "tensorflow-xla" else 1.0
    for path in ("plain", "mixed"):
        if (framework, path) == ("torch7", "mixed"):
            continue
        if (framework, path) != ("pytorch", "plain"):
            yield Parameter(scope, f"{path}.elementwise", elementwise, 0.3)
            yield Parameter(scope, f"{path}.convolution", 1.0, 0.2)
        if path == "plain" and framework != "torch7":
            yield Parameter(scope, "plain.transposes", 0.5, 0.8)


def rewrite(text: str, key: str, value: float) -> str:
    """A profile's text with one value replaced; everything else stays to the letter.

    Raises
    ------
    InputError
        If the text has no such key.
    """
    section, _, name = key.rpartition(".")
    microseconds = f"{value * 1e6:.3g}" if value < 1e-3 else f"{value * 1e6:.0f}"
    shown = f"{microseconds} us" if section == "dispatch" or key == "launch" else f"{value:.3g}"
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
    write(fit(problem(folder)))


if __name__ == "__main__":
    main()
