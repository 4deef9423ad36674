"""Engines' coefficients fitted to measured steps: what moves, what is found again, what is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulator import catalog
from simulator.calibration import engines
from simulator.calibration.engines import EngineFit, MeasuredServing, calibrated, errors, fits, held_out, thinned
from simulator.calibration.fit import fit
from simulator.calibration.served import predicted_on
from simulator.calibration.served_rows import ServedRow, deployment_of
from simulator.serving.engine import names

BOARDS = ("rtx-4090", "rtx-3090", "rtx-a6000")
WRITTEN = """kernel: {{prefill_gap: 1 us, gap: {gap}}}
families:
  ada: {{gap: 3 us}}
  rdna: {{cache: {cache}, gap: {own}}}
"""
KEYS = ("kernel.gap", "kernel.weights", "kernel.matrix")


def row(device: str, form: str, metric: str, value: float = 1.0, **fields: object) -> ServedRow:
    prompt, output = (512, 0) if metric == "prefill_tok_s" else (0, 128)
    usual = ServedRow(
        "a", "llama2_7b", device, form, 1, 0, 0, "llama.cpp", 1, prompt, output, metric, value, 2024, "somewhere", ""
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


def measured(gap_s: float, weights: float, matrix: float) -> list[MeasuredServing]:
    """What boards would show if llama.cpp had such coefficients."""
    found = []
    for device in BOARDS:
        for form in ("q4_0", "q8_0", "f16"):
            for metric in ("decode_tok_s", "prefill_tok_s"):
                asked = row(device, form, metric)
                deployment = deployment_of(asked)
                engine = replace(deployment.engine, gap_s=gap_s, weights=weights, matrix=matrix)
                value = predicted_on(asked, replace(deployment, engine=engine))
                found.append(MeasuredServing(replace(asked, value=value), deployment))
    return found


def test_coefficients_that_made_the_rows_are_found_again() -> None:
    problem = EngineFit("engines/llama.cpp", KEYS, measured(6e-6, 0.8, 0.4))
    values = {key: value for (_, key), value in fit(problem, rounds=10).items()}
    assert values["kernel.gap"] == pytest.approx(6e-6, rel=0.05)
    assert values["kernel.weights"] == pytest.approx(0.8, rel=0.02)
    assert values["kernel.matrix"] == pytest.approx(0.4, rel=0.02)


def test_a_board_held_out_is_in_no_fit_to_the_others() -> None:
    rows = measured(6e-6, 0.8, 0.4)
    odd = [replace(one, row=replace(one.row, value=one.row.value / 2)) for one in rows[:6]]
    found = dict(held_out(EngineFit("engines/llama.cpp", KEYS, odd + rows[6:]), odd + rows[6:]))
    assert set(found) == set(BOARDS)
    assert np.median(found["rtx-4090"]["prefill"]) == pytest.approx(1.0, abs=0.1)
    assert not dict(held_out(EngineFit("engines/llama.cpp", KEYS, rows[:6]), rows[:6]))


def test_errors_are_by_kind_of_measurement() -> None:
    rows = measured(6e-6, 0.8, 0.4)
    found = errors(rows, {"gap_s": 6e-6, "weights": 0.8, "matrix": 0.4})
    assert {kind: len(values) for kind, values in found.items()} == {"decode, one request": 9, "prefill": 9}
    assert np.abs(found["prefill"]).max() < 1e-9


def test_long_series_are_thinned_from_the_smallest_to_the_largest() -> None:
    deployment = deployment_of(row("rtx-4090", "q4_0", "decode_tok_s"))
    rows = [
        MeasuredServing(row("rtx-4090", "q4_0", "decode_tok_s", float(value)), deployment)
        for value in range(100, 0, -1)
    ]
    kept = thinned(rows)
    assert len(kept) == engines.MOST_ROWS
    assert (kept[0].row.value, kept[-1].row.value) == (1.0, 100.0)


@pytest.mark.parametrize("engine", names())
def test_what_a_profile_calls_calibrated_can_be_fitted(engine: str) -> None:
    for family, keys in calibrated(engine).items():
        assert all(key.startswith(f"families.{family}." if family else ("kernel.", "step.")) for key in keys)
        assert all(engines.name(key) in engines.FIELDS for key in keys)


def test_a_file_that_extends_another_moves_its_own_numbers_alone() -> None:
    assert set(calibrated("llama.cpp-rocwmma")) == {"rdna"}
    assert set(calibrated("llama.cpp")) == {None, "apple", "rdna", "cdna", "xe"}


def test_rows_are_dealt_out_by_family() -> None:
    rows = [row("rtx-4090", "q4_0", "decode_tok_s", 150.0), row("m2-ultra", "q4_0", "decode_tok_s", 90.0)]
    found = {problem.keys[0]: problem.rows for problem, _ in fits(rows, "llama.cpp")}
    assert [one.row.device for one in found["kernel.gap"]] == ["rtx-4090"]
    assert [one.row.device for one in found["families.apple.gap"]] == ["m2-ultra"]
    assert [problem.keys[0] for problem, _ in fits(rows, "llama.cpp", "apple")] == ["families.apple.gap"]
    assert not list(fits(rows, "vllm"))


def test_numbers_are_written_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "engines").mkdir()
    path = tmp_path / "engines" / "one.yaml"
    path.write_text(WRITTEN.format(gap="2 us", cache="0.5", own="4 us"), encoding="utf-8")
    monkeypatch.setattr(catalog, "folder", lambda _: tmp_path)
    keys = {"kernel.gap": 7.123e-6, "families.rdna.gap": 2.5e-3, "families.rdna.cache": 0.12345}
    engines.write("engines/one", {("engines/one", key): value for key, value in keys.items()})
    assert path.read_text(encoding="utf-8") == WRITTEN.format(gap="7.12 us", cache="0.123", own="2.5 ms")
