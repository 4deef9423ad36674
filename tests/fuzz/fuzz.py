"""Changes every kind of input that people bring, with fixed seeds, and looks for what must not be.

`python tests/fuzz/fuzz.py --seconds 600 [--kinds workload,onnx]` prints the inputs tried and the escapes: an exception
that is no `SimulatorError`, an error of several lines, more than `LIMIT_S`, more than `LIMIT_BYTES`, an answer that is
not finite, or a time that is not a positive number. An input is made again by its kind and its number:
`--kinds device --first 4711 --count 1`.

The inputs are tried in a process of their own: one that never comes back, or that dies, is told by its number too.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import commands
import files

LIMIT_S = 10
"""Of a processor, so that what else runs here does not count."""
WAIT_S = 300
"""Until a process is given up that does not hear the alarm, or sleeps."""
LIMIT_BYTES = 2 * 2**30
LIBRARIES_BYTES = 2 * 2**30
"""What the libraries map for themselves."""

KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    "workload": files.workload_file,
    "network": commands.network,
    "device": files.device_file,
    "profile": commands.profile,
    "dataset": commands.dataset,
    "yaml": files.yaml_text,
    "prototxt": files.prototxt,
    "onnx": files.onnx_bytes,
    "onnx-fields": files.onnx_fields,
    "onnx-cases": files.onnx_case,
    "config": files.config,
    "table": files.table,
    "rows": commands.rows,
    "requests": commands.requests,
    "options": commands.options,
}
"""Kind -> one input, made and tried."""


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


def tried(kind: str, number: int, folder: Path) -> Escape | None:
    """One input by its number, and what it did that none may."""
    from simulator.errors import SimulatorError

    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        KINDS[kind](random.Random(f"{kind} {number}"), folder)
    except SimulatorError as error:
        return Escape(kind, number, "an error of several lines") if "\n" in str(error) else None
    except TooLongError as error:
        return Escape(kind, number, f"more than {LIMIT_S} s ({_where(error)})")
    except MemoryError as error:
        return Escape(kind, number, f"more than {LIMIT_BYTES >> 30} GiB ({_where(error)})")
    except Exception as error:
        return Escape(kind, number, f"{type(error).__name__}: {str(error)[:300]} ({_where(error)})")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _where(error: BaseException) -> str:
    """The last line of ours that the error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "simulator" in Path(frame.filename).parts] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError


def guarded() -> Callable[[], None]:
    """Set the alarm's handler; what it returns puts the one before back."""
    before = signal.signal(signal.SIGPROF, _ring)
    return lambda: signal.signal(signal.SIGPROF, before) and None


# ---- the run


def _held_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _work(kinds: list[str], first: int, told: Connection) -> None:
    """Tries inputs of all kinds in turns, for ever; tells each before it begins and what came of it."""
    guarded()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES + LIBRARIES_BYTES, hard))
    with tempfile.TemporaryDirectory() as folder:
        at = first
        while True:
            kind, number = kinds[at % len(kinds)], at // len(kinds)
            told.send((at, None))
            held = _held_bytes()
            escape = tried(kind, number, Path(folder))
            if escape is None and held <= LIMIT_BYTES < _held_bytes():
                escape = Escape(kind, number, f"holds more than {LIMIT_BYTES >> 30} GiB")
            told.send((at, escape))
            at += 1


@dataclass
class Tries:
    """Inputs in turns from a process, which is begun anew behind an input that it did not survive."""

    kinds: list[str]
    at: int
    process: multiprocessing.Process | None = None
    heard: Connection | None = None

    def next(self) -> Escape | None:
        """Try one more, and say what it did that none may."""
        if self.process is None:
            self.heard, told = multiprocessing.Pipe(duplex=False)
            self.process = multiprocessing.Process(target=_work, args=(self.kinds, self.at, told), daemon=True)
            self.process.start()
            told.close()
        assert self.heard is not None
        escape = None
        try:
            self.heard.recv()
            escape = self.heard.recv()[1] if self.heard.poll(WAIT_S) else self._lost(f"more than {WAIT_S} s")
        except EOFError:
            escape = self._lost("the process died")
        self.at += 1
        return escape

    def _lost(self, what: str) -> Escape:
        self.stop()
        return Escape(self.kinds[self.at % len(self.kinds)], self.at // len(self.kinds), what)

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def main() -> int:
    """Try inputs of all kinds in turns until the time is over; 1 if any escaped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--first", type=int, default=0, help="number of each kind's first input")
    parser.add_argument("--count", type=int, default=10**9, help="inputs of each kind at most")
    asked = parser.parse_args()
    kinds, begun = asked.kinds.split(","), time.monotonic()
    tries, escapes = Tries(kinds, asked.first * len(kinds)), 0
    end = (asked.first + asked.count) * len(kinds)
    while time.monotonic() - begun < asked.seconds and tries.at < end:
        if escape := tries.next():
            escapes += 1
            print(escape, flush=True)
    tries.stop()
    print(f"{tries.at - asked.first * len(kinds):,} inputs of {len(kinds)} kinds in {time.monotonic() - begun:.0f} s")
    print(f"{escapes} escapes")
    return 1 if escapes else 0


if __name__ == "__main__":
    sys.exit(main())
