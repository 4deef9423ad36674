"""Measured step times: a table in CSV, and what a row asks of the simulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from simulator.calibration.tables import Row, rows_below
from simulator.device.device import load_device
from simulator.device.framework import load_framework, release
from simulator.errors import InputError, SimulatorError, UnknownNameError
from simulator.op.optimizer import get_optimizer
from simulator.pipeline import Options
from simulator.workload.importers import Request
from simulator.workload.reading import load_workload
from simulator.workload.workload import Workload

COLUMNS = ("workload", "device", "task", "precision", "batch", "devices", "step_s")
"""Columns that a table must have; `optimizer`, `framework`, `year` of its release, `layout`, `host`, `loader`,
`input_size`, `system`, `id`, `source` are optional, and any other can be grouped by. `batch` is of each device."""

TASKS = ("train", "infer", "forward", "backward")
YES, NO = ("true", "1", "yes"), ("false", "0", "no")
LAYOUTS = {"channels first": "channels first", "nchw": "channels first", "channels last": "channels last"}
LAYOUTS["nhwc"] = "channels last"
LAST = "-channels-last"
"""Ends the name of a framework that keeps channels last, beside the one that keeps them first."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured step. [s]

    Attributes
    ----------
    optimizer, optimizer_name : whether the step has an update, and by which optimizer.
    framework : that of the row's year and layout.
    layout, host, loader, year : as the row gives them; "" where it does not.
    other : the row's further columns, by name.
    """

    id: str
    workload: str
    device: str
    task: str
    precision: str
    batch: int
    devices: int
    step_s: float
    optimizer: bool
    framework: str
    input_size: str
    source: str = ""
    system: str = ""
    layout: str = ""
    host: str = ""
    loader: str = ""
    optimizer_name: str = Options.optimizer
    year: str = field(default="", compare=False)
    other: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def setting(self) -> tuple[str, str]:
        """(device, workload): what weighs one, however many batches of it were measured."""
        return self.device, self.workload


def read_measurements(path: Path) -> list[Measurement]:
    """Rows of a CSV table; lines that start with # are passed over, columns with no meaning here are kept for grouping.

    Raises
    ------
    InputError
        Naming the file, the line and the column that is missing or malformed.
    """
    return [_measurement(row, where) for where, row in rows_below(path, COLUMNS)]


def _measurement(row: Row, where: str) -> Measurement:
    def text(column: str, default: str = "") -> str:
        return (row.get(column) or default).strip()

    try:
        batch, devices, step_s = int(text("batch")), int(text("devices", "1")), float(text("step_s"))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from None
    if batch < 1 or devices < 1 or not 0 < step_s < float("inf"):
        raise InputError(f"{where}: batch, devices and step_s must be positive")
    if text("task") not in TASKS:
        raise InputError(f"{where}: unknown task {text('task')!r}; known: {', '.join(TASKS)}")
    year, optimizer = text("year"), text("optimizer", "true").lower()
    return Measurement(
        id=text("id", where.rpartition(" ")[2]),
        workload=text("workload"),
        device=text("device"),
        task=text("task"),
        precision=text("precision"),
        batch=batch,
        devices=devices,
        step_s=step_s,
        optimizer=optimizer not in NO,
        framework=_software(text("framework", "pytorch"), year, _layout(text("layout"), where)),
        input_size=text("input_size"),
        source=text("source"),
        system=text("system"),
        layout=_layout(text("layout"), where),
        host=text("host"),
        loader=text("loader"),
        optimizer_name=_optimizer(optimizer, where),
        year=year.partition(".")[0],
        other=dict(_further(row)),
    )


def _further(row: Row) -> Iterator[tuple[str, str]]:
    """The columns of a row that are no field of a measurement."""
    for name, value in row.items():
        if isinstance(name, str) and name not in Measurement.__dataclass_fields__:
            yield name, (value or "").strip()


def _optimizer(text: str, where: str) -> str:
    """The optimizer that a row names, the usual one where it says no more than whether there is an update."""
    if text in (*YES, *NO):
        return Options.optimizer
    try:
        return get_optimizer(text).name
    except UnknownNameError as error:
        raise InputError(f"{where}: {error}") from None


def _layout(text: str, where: str) -> str:
    """The layout in the words of frameworks: channels last of NHWC, channels_last and the like; nothing of nothing."""
    if not text:
        return ""
    found = LAYOUTS.get(text.lower().replace("_", " ").replace("-", " "))
    if found is None:
        raise InputError(f"{where}: {UnknownNameError('layout', text, tuple(LAYOUTS))}")
    return found


def _software(framework: str, year: str, layout: str) -> str:
    """The framework that describes a year's releases in a layout; as named where the year is not a plain number."""
    number = year.partition(".")[0]
    framework = _in_layout(framework, layout)
    return release(framework, int(number)) if number.isdecimal() else framework


def _in_layout(framework: str, layout: str) -> str:
    """The framework's variant with channels last, or without; itself where it has only one."""
    other = framework + LAST if layout == "channels last" else framework.removesuffix(LAST)
    if not layout or framework.endswith(LAST) == (layout == "channels last"):
        return framework
    try:
        return load_framework(other).name
    except SimulatorError:
        return framework


def layout_of(measured: Measurement) -> str:
    """How the row's software keeps an image's channels in its precision: what the row says, or its framework.

    Raises
    ------
    SimulatorError
        If there is no such device, framework or precision.
    """
    return measured.layout or options_of(measured).on(device_of(measured.device)).path.layout


def options_of(measured: Measurement) -> Options:
    """The options of a measured step; whether it fits was settled by running it."""
    return Options(
        batch=measured.batch,
        precision=measured.precision,
        task="infer" if measured.task == "infer" else "train",
        optimizer=measured.optimizer_name,
        framework=measured.framework,
        host=measured.host,
        ignore_memory=True,
    )


def workload_of(measured: Measurement) -> Workload:
    """The network of a measured step."""
    return _workload(measured.workload, measured.input_size)


@lru_cache(maxsize=256)
def _workload(name: str, input_size: str) -> Workload:
    """A workload at an image size "224x224" or a sequence length "512"."""
    if not input_size:
        return load_workload(name)
    height, _, width = input_size.partition("x")
    if not height.isdigit() or (width and width != height):
        raise InputError(f"input size {input_size!r}: write a square image as 224x224 or a sequence length as 512")
    size = int(height)
    return load_workload(name, request=Request(image_size=size) if width else Request(sequence=size))


device_of = lru_cache(maxsize=256)(load_device)
"""A measured device by name, read once."""
