"""Sweeps over several machines: each part of the table is a task of Dask, and a file of a Parquet data set.

A part's file appears whole or not at all, under a name that its place in the sweep decides: what a killed worker leaves
undone another does, and what it did twice is the same file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.planning.storage import schema_of, stored
from simulator.planning.sweep import Axes, parts, table

if TYPE_CHECKING:
    from distributed import Client

ALLOCATOR = {f"distributed.nanny.pre-spawn-environ.MALLOC_{name}_THRESHOLD_": 2**28 for name in ("TRIM", "MMAP")}
"""Workers keep what arrays gave back. Dask would return it to the system from 64 KiB on, and fresh pages cost more than
the arithmetic on them: 12,000 rows a second on two cores become 36,000."""

LOCAL = "local"
"""A cluster of this machine's cores, for as long as the sweep runs."""


def connect(scheduler: str) -> Client:
    """A client of a scheduler's address, or of a cluster on this machine.

    Raises
    ------
    InputError
        If Dask is not installed, or nothing answers at the address.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("--scheduler needs Dask: pip install '.[dask]'") from None
    try:
        if scheduler == LOCAL:
            with dask.config.set(ALLOCATOR):
                return Client(LocalCluster(threads_per_worker=1, dashboard_address=None))
        return Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise InputError(f"--scheduler {scheduler}: no scheduler answers: {error}") from error


def sweep_to_folder(axes: Axes, client: Client, folder: Path, done: Callable[[int], object] = lambda _: None) -> int:
    """Every configuration as a data set of Parquet files, a file a part; returns how many.

    Files that stand there already, of the same sweep, are kept.

    Parameters
    ----------
    folder : on storage that all workers see.
    done : told of the rows of each part that is done.
    """
    from distributed import as_completed

    folder.mkdir(parents=True, exist_ok=True)
    tasks = [(part, folder / f"part-{place:06d}.parquet") for place, part in enumerate(parts(axes))]
    waiting = [task for task in tasks if not task[1].is_file()]
    done(len(axes) - sum(len(part) for part, _ in waiting))
    schema = schema_of(axes)
    futures = [client.submit(_write, part, path, schema, pure=False, retries=RETRIES) for part, path in waiting]
    for future in as_completed(futures):
        done(future.result())
    for unfinished in folder.glob(".part-*"):  # of workers that were killed as they wrote
        unfinished.unlink(missing_ok=True)
    return len(axes)


RETRIES = 3
"""A part is begun again so many times where its worker dies."""


def _write(part: Axes, path: Path, schema: Any) -> int:
    """One part's file, moved into place when it is whole; returns its rows."""
    from pyarrow import parquet

    found = stored(table(part), schema)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    parquet.write_table(found, unfinished)
    unfinished.replace(path)
    return len(part)


def frames(folder: Path) -> Iterator[Any]:
    """The parts of a data set, in order."""
    from pyarrow import parquet

    for path in sorted(folder.glob("part-*.parquet")):
        yield parquet.read_table(path).to_pandas()
