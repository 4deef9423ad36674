"""The report's folder: built aside and swapped in whole, whatever interrupts it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from simulator.errors import InputError
from simulator.pipeline import Simulation
from simulator.report.comparison import Other
from simulator.report.outputs import REPORT, write_outputs
from simulator.report.style import machine
from simulator.report.writing import writing

_ATTEMPTS = 5


def write_report(simulation: Simulation, others: Sequence[Other], out: Path) -> Path:
    """Write `<out>/<workload>-<device>/` and return it; the folder there is replaced at once, or not at all.

    Files of other names that lie in the folder are kept.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    target = out / re.sub(r"[^\w.+-]+", "_", f"{simulation.workload.name}-{machine(simulation)}")
    fresh = out / f".{target.name}.{os.getpid()}.new"
    _clear_abandoned(out)
    with writing("the report", target):
        if target.exists() and not target.is_dir():
            raise InputError(f"{target} is a file where the report's folder should be; move it or choose another --out")
        with _terminated_as_exception():
            try:
                fresh.mkdir(parents=True)
                write_outputs(REPORT, fresh, simulation, others)
                _swap(fresh, target)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    return target


_BUILT = re.compile(r"\.(.+)\.(\d+)\.(new|old)")
"""Folders in the making, and reports on their way out: the report's name, the process, which of the two."""


def _clear_abandoned(out: Path) -> None:
    """Remove what killed runs left in the folder, and put a report back that one of them had just moved away."""
    with suppress(OSError):
        for folder in sorted(out.iterdir()):
            match = _BUILT.fullmatch(folder.name)
            if match is None or not folder.is_dir() or _lives(int(match[2])):
                continue
            if match[3] == "old" and not (out / match[1]).exists():
                folder.rename(out / match[1])
            else:
                shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    """Whether a process of this number runs."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


def _swap(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`, undisturbed by signals."""
    old = fresh.with_suffix(".old")
    with _signals_held():
        for attempt in range(_ATTEMPTS):
            with suppress(FileNotFoundError):
                target.rename(old)
            try:
                fresh.rename(target)
                break
            except OSError:
                # Another run may have put its report here meanwhile; else nothing has changed.
                if old.exists() and not target.exists():
                    old.rename(target)
                if attempt == _ATTEMPTS - 1:
                    raise
        if old.exists():
            _keep_foreign(old, target)
            shutil.rmtree(old, ignore_errors=True)


def _keep_foreign(old: Path, target: Path) -> None:
    """Move what is not ours from the old folder to the new one."""
    for entry in old.iterdir():
        if not (target / entry.name).exists():
            entry.rename(target / entry.name)


@contextmanager
def _terminated_as_exception() -> Iterator[None]:
    """SIGTERM unwinds like an exit, so that `finally` clauses run."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handled(stop, [number for number in (signal.SIGTERM,) if signal.getsignal(number) is signal.SIG_DFL]):
        yield


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end of the block."""
    waiting: list[int] = []
    with _handled(lambda number, _frame: waiting.append(number), [signal.SIGINT, signal.SIGTERM]):
        yield
    for number in waiting:
        signal.raise_signal(number)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], object], numbers: Sequence[int]) -> Iterator[None]:
    """A handler for some signals; in another than the main thread nothing is changed, since none is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
