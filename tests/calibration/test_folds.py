"""Coefficients of fits that held groups out: kept, read again, and taken for the rows that they did not see."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.calibration import folds as module
from simulator.calibration.fit import predict_rows
from simulator.calibration.folds import Fold, predictions_without, read_folds, values_without, write_folds
from simulator.calibration.measurements import Measurement
from simulator.calibration.profiles import parameters
from simulator.calibration.rows import row_of
from simulator.calibration.samples import FOLDS, GROUPS

ROW = Measurement("x", "alexnet", "v100-sxm2-16gb", "train", "fp32", 64, 1, 1.0, True, "pytorch", "")
KEY = ("families/gpu", "kernel.elementwise")


def test_fits_come_back_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.catalog, "folder", lambda _: tmp_path)
    read_folds.cache_clear()
    given = [Fold("device", ("a", "b"), {KEY: 0.123456}), Fold("workload", ("c",), {KEY: 2.0})]
    write_folds(given)
    assert read_folds() == (Fold("device", ("a", "b"), {KEY: 0.1235}), given[1])
    assert values_without("device", "b") == {KEY: 0.1235}
    assert values_without("workload", "b") == {}
    read_folds.cache_clear()


def test_a_split_that_is_kept_has_all_its_fits_of_all_coefficients() -> None:
    keys = {(one.scope, one.key) for one in parameters()}
    kept = {fold.split for fold in read_folds()}
    assert {"measurer", "framework"} <= kept <= GROUPS.keys()
    for split in kept:
        found = [fold for fold in read_folds() if fold.split == split]
        assert len(found) == FOLDS
        groups = [group for fold in found for group in fold.groups]
        assert len(groups) == len(set(groups))
        assert all(fold.values.keys() == keys for fold in found)


def test_a_row_is_predicted_by_the_fit_that_did_not_see_its_group() -> None:
    ((key, seconds),) = predictions_without("framework", [(ROW, ROW.framework)])
    assert key == "x"
    held_out = values_without("framework", ROW.framework)
    assert seconds == pytest.approx(float(predict_rows([row_of(ROW)], held_out)[0]))
    shipped = float(predict_rows([row_of(ROW)], {})[0])
    assert seconds != pytest.approx(shipped, rel=1e-6)
    # A framework that no fit saw is held out of the coefficients that ship.
    assert predictions_without("framework", [(ROW, "another")]) == [("x", pytest.approx(shipped))]
