"""Starts a fit from the command line: `python -m simulator.calibration.NAME`, with `--help`."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable

from simulator.errors import SimulatorError


def run(main: Callable[..., None]) -> None:
    """Call a module's `main` with the words of the command line, and turn errors into one line and exit code 2.

    main : each parameter is a word, of the type that it is annotated with; one that is `bool` is an option, `--name`.
    """
    parser = parser_of(main)
    try:
        main(**vars(parser.parse_args()))
    except (SimulatorError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def parser_of(main: Callable[..., None]) -> argparse.ArgumentParser:
    """The words that a `main` takes; its module's text tells what for."""
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else main.__module__
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m {name}", description=module.__doc__, formatter_class=shape)
    for word, parameter in inspect.signature(main, eval_str=True).parameters.items():
        if parameter.annotation is bool:
            parser.add_argument(f"--{word.replace('_', '-')}", action="store_true")
        else:
            parser.add_argument(word, metavar=word.upper(), type=parameter.annotation)
    return parser
