"""Sweeps on a Dask cluster: the same table as on one machine, and a killed worker loses and doubles nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simulator.errors import InputError
from simulator.planning import sweep as sweeping
from simulator.planning.sweep import Axes, parts, table

distributed = pytest.importorskip("distributed")
pytest.importorskip("pyarrow")

from simulator.planning.distributed import connect, frames, sweep_to_folder  # noqa: E402

AXES = Axes(["lenet5", "alexnet"], ["v100", "t4"], options={"precision": ["fp32", "amp"]}, batches=range(1, 41))

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own, about ports and processes that end


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    cluster = distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as found:
        yield found


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "PART", 10)


def _whole() -> pd.DataFrame:
    return pd.concat([table(part) for part in parts(AXES)], ignore_index=True)


def _read(folder: Path) -> pd.DataFrame:
    return pd.concat(list(frames(folder)), ignore_index=True)


@pytest.mark.usefixtures("small_parts")
def test_the_table_of_one_machine(client: Any, tmp_path: Path) -> None:
    told: list[int] = []
    assert sweep_to_folder(AXES, client, tmp_path, told.append) == len(AXES) == sum(told)
    pd.testing.assert_frame_equal(_read(tmp_path), _whole(), check_dtype=False, check_exact=True)


@pytest.mark.usefixtures("small_parts")
def test_a_killed_worker_loses_and_doubles_nothing(client: Any, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(_: int) -> None:
        if len(killed) == 3:
            worker = next(iter(client.scheduler_info()["workers"]))
            os.kill(client.run(os.getpid)[worker], signal.SIGKILL)
        killed.append(1)

    sweep_to_folder(AXES, client, tmp_path, kill_one)
    assert len(killed) > 4
    pd.testing.assert_frame_equal(_read(tmp_path), _whole(), check_dtype=False, check_exact=True)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("small_parts")
def test_what_is_done_is_not_done_again(client: Any, tmp_path: Path) -> None:
    sweep_to_folder(AXES, client, tmp_path)
    files = sorted(tmp_path.iterdir())
    files[3].unlink()
    before = {path: path.stat().st_mtime_ns for path in files if path.is_file()}
    sweep_to_folder(AXES, client, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(_read(tmp_path), _whole(), check_dtype=False, check_exact=True)


def test_a_scheduler_that_does_not_answer() -> None:
    with pytest.raises(InputError, match="no scheduler answers"):
        connect("tcp://127.0.0.1:9")
