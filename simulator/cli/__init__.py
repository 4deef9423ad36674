"""The command line: thin shells over the library, one file a command."""

from __future__ import annotations

import atexit
import gc
import io
import os
import shlex
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from simulator.cli.options import run_options
from simulator.errors import SimulatorError, UnknownNameError

COMMANDS = {
    "layers": "The table of layers: shapes, parameters, MACs, FLOPs, receptive fields; no device needed.",
    "workloads": "The workloads that ship with the program.",
    "devices": "The devices that ship with the program, or one of them with the source of each number.",
    "frameworks": "The software that issues kernels: frameworks and their releases.",
    "precisions": "The number formats and their widths.",
    "datasets": "What an epoch runs over.",
    "calibrate": "This machine, measured, as a device of its own.",
    "compare": "Workloads, devices or option sets side by side: which layers gained, which bound moved.",
    "explain": "Why a step or a layer takes as long as it does, cause by cause, and what would help most.",
    "sweep": "Every configuration of some options as a table: filtered, sorted, its Pareto front, plotted.",
    "plan": "Which machines, and how many, meet a deadline, a budget and a power limit; how surely.",
    "parallel": "The fastest ways to share a network over many devices, and why the next one loses.",
    "scaling": "Speed-up and efficiency against devices, with the part lost to each cause.",
    "rewrite": "A network before and after pruning, quantising, low rank or folding, layer by layer.",
    "serve": "A language model that is served: first token, tokens a second, cache, cost, at each concurrency.",
    "validate": "Predictions against a table of measured step times.",
    "schema": "JSON Schema of device or workload files, for editors.",
}
"""Command -> help line, so that `--help` imports none of them."""


EXAMPLES = (
    "simulate --workload senet --device v100 --epochs 100",
    "simulate --workload resnet50 --device a100 --precision amp --batch 256",
    "simulate --workload senet --device cpu-16core --memory hbm2:4",
    "simulate --workload senet --device v100 --set memory.bandwidth=450GB/s",
)
"""The first lines that a newcomer may copy, one a line of the help page."""


atexit.register(gc.freeze)  # or the last searches take what they can never give back

OBJECTS = 50_000
"""New objects between two searches for unreachable ones: Python's 700 search a hundred times in an answer that keeps
nearly all that it makes, a sixth of its time."""


class SimulateGroup(click.Group):
    """Commands imported when used; every error the user can put right is one line on stderr and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:  # noqa: ARG002
        """Import `cli/<name>.py` and take its `command`."""
        if cmd_name not in COMMANDS:
            raise UnknownNameError("command", cmd_name, COMMANDS)
        command: click.Command = import_module(f"simulator.cli.{cmd_name}").command
        return command

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the program is for, and examples that keep their lines however narrow the terminal."""
        super().format_help_text(ctx, formatter)
        formatter.write_paragraph()
        for example in EXAMPLES:
            formatter.write(f"  {example}\n")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The commands' help lines, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Run, and turn errors into one line and an exit code; the context's `obj` is the command line."""
        given = list(sys.argv[1:] if args is None else args)
        _write_any_text()
        gc.set_threshold(OBJECTS)
        try:
            code = super().main(given, standalone_mode=False, obj=shlex.join(["simulate", *given]), **kwargs)
            sys.stdout.flush()
            sys.exit(code or 0)
        except SimulatorError as error:
            _fail(str(error))
        except click.ClickException as error:
            _fail(error.format_message())
        except (click.Abort, KeyboardInterrupt):
            _fail("interrupted", code=130)
        except BrokenPipeError:
            _drop_output()
            sys.exit(0)
        except OSError as error:
            _drop_output()
            _fail(f"cannot write the answer: {error.strerror or error}")


def _write_any_text() -> None:
    """A name that the terminal's encoding lacks is written with escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What is still buffered for a stdout that takes no more goes nowhere, instead of failing once more at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int = 2) -> None:
    click.echo("simulate: " + " ".join(message.split()), err=True)
    sys.exit(code)


@click.group(cls=SimulateGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@run_options
@click.version_option(package_name="roofline-simulator", message="%(version)s")
@click.pass_context
def main(context: click.Context, /, **options: Any) -> None:
    """How long a neural network takes to train or run on a machine, layer by layer, and why."""
    if context.invoked_subcommand is not None:
        return
    if not options["workload"] and not options["device"]:
        click.echo(context.get_help())
        return
    from simulator.cli.run import run

    run(options)


def start() -> None:
    """What the console runs: `main`, whose process ends without taking its objects apart, a tenth of a short answer."""
    try:
        main()
    except SystemExit as end:
        if threading.active_count() > 1 or not isinstance(end.code, int):
            raise
        atexit._run_exitfuncs()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(end.code)
