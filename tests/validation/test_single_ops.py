"""Operations timed one by one, which CDNA's coefficients are fitted to: errors held, and what its profile has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulator.calibration.op_fit import (
    OLDER,
    OLDER_RATE,
    STARTS,
    errors_of,
    fit_family,
    held_out,
    main,
    of_family,
    predicted,
    printed,
    scope_of,
)
from simulator.calibration.single_ops import SingleOp, read_single_ops, together
from simulator.device.device import load_device
from simulator.device.inheritance import given_by, load_family
from simulator.errors import InputError
from tests.held import assert_none_rises

HERE = Path(__file__).parent
TABLE = HERE / "single_ops.csv"
BASELINE = HERE / "single_ops.json"


@pytest.fixture(scope="module")
def rows() -> list[SingleOp]:
    return of_family(read_single_ops(TABLE), "cdna")


def mean(errors: dict[tuple[str, str], np.ndarray]) -> dict[str, float]:
    return {" ".join(call): round(float(np.abs(each).mean()), 4) for call, each in sorted(errors.items())}


def test_no_error_of_a_source_held_out_rises(rows: list[SingleOp], request: pytest.FixtureRequest) -> None:
    fitted = errors_of(rows, fit_family(rows, "cdna"))
    held = held_out(rows, "cdna")
    present = mean(fitted) | {f"{call}, held out": error for call, error in mean(held).items()}
    assert_none_rises(present, BASELINE, request)


def test_the_profile_has_what_the_fit_finds(rows: list[SingleOp]) -> None:
    found = fit_family(rows, "cdna")
    given = given_by(load_family("cdna"), "cdna")
    for key in STARTS:
        rate = OLDER_RATE if key == OLDER_RATE[1] else (scope_of("cdna"), key)
        assert given[key] == pytest.approx(found[rate], rel=0.01), key
    recent = found[scope_of("cdna"), "sustained.matrix_fp32"]
    assert 1.05 < recent / found[OLDER_RATE] < 1.15


def test_a_fit_finds_planted_coefficients(rows: list[SingleOp]) -> None:
    planted = {"sustained.matrix": 0.6, "sustained.matrix_fp32": 0.9, "kernel.half_width": 0.8, "kernel.softmax": 0.4}
    values = {(scope_of("cdna"), key): value for key, value in planted.items()} | {("start", "planted product"): 5e-6}
    told = [
        replace(row, source="planted", time_s=float(seconds))
        for group in together([replace(row, source="planted") for row in rows])
        for row, seconds in zip(group.rows, predicted(group, values), strict=True)
    ]
    found = fit_family(told, "cdna")
    for key, value in planted.items():
        assert found[scope_of("cdna"), key] == pytest.approx(value, rel=0.03), key
    assert found["start", "planted product"] == pytest.approx(5e-6, rel=0.5)


def test_a_pass_reads_and_writes_each_value_once() -> None:
    # 1,024 x 4,096 values in 4 bytes, read and written: 33.6 MB, at 0.8 of 1,638 GB/s 25.6 us, less what a cache keeps.
    row = SingleOp("mi210", "gelu", "fp32", (1024, 4096, 0), 1.0, "")
    (group,) = together([row])
    assert group.kernel_seconds(load_device("mi210"))[0] == pytest.approx(25.6e-6, rel=0.05)


def test_what_a_dropout_and_its_gradient_move() -> None:
    # 1,024 x 4,096 values: read and written in 4 bytes and a mask in 1, 37.7 MB; the gradient as much.
    rows = [SingleOp("mi210", op, "fp32", (1024, 4096, 0), 1.0, "") for op in ("dropout", "dropout_gradient")]
    (group,) = together(rows)
    forward, backward = group.kernel_seconds(load_device("mi210"))
    assert forward == pytest.approx(37.7e6 / (0.8 * 1638e9 * 0.821), rel=0.05)
    assert backward == pytest.approx(37.7e6 / (0.8 * 1638e9 * 0.318), rel=0.05)


def test_products_of_pairs_are_issued_at_once() -> None:
    one, many = (SingleOp("mi210", "product", "fp32", (2048, 2048, 64), 1.0, "", groups) for groups in (1, 64))
    assert many.kernel.flops.per_sample == 64 * 2 * 2048 * 2048 * 64
    assert sum(one.kernel.flops) == 2 * 2048 * 2048 * 64
    assert many.kernel.read[0][1].per_sample == 64 * 2 * 2048 * 64


def test_an_older_release_has_a_rate_of_its_own() -> None:
    rows = [SingleOp("mi210", "product", "fp32", (8192,) * 3, 1.0, source) for source in (*OLDER, "another")]
    older, recent = (predicted(group, {OLDER_RATE: 0.4}) for group in together(rows))
    assert float(older[0]) == pytest.approx(float(recent[0]) * 0.716 / 0.4, rel=0.01)


def test_small_products_and_other_families_are_left_out() -> None:
    def product(device: str, rows: int) -> SingleOp:
        return SingleOp(device, "product", "fp16", (rows, 4096, 4096), 1e-3, "")

    kept = product("mi210", 256)
    norm = SingleOp("mi100", "layer_norm", "fp32", (32, 4096, 0), 1e-3, "")
    given = [product("a100-sxm4-80gb", 4096), product("mi210", 255), kept, norm]
    assert of_family(given, "cdna") == [kept, norm]


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    line = printed({("a/b", "gelu"): np.array([0.1, -0.2])})
    assert " ".join(line.split()) == "a/b gelu 2 rows: mean 15.0%, bias -5.0%"
    main(TABLE, "cdna", held_out=False)
    assert "kernel.half_width: 0.514" in capsys.readouterr().out
    main(TABLE, "cdna", held_out=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("PrincetonUniversity/LLMCompass")
    assert all("mean" in line for line in lines)


def test_a_table_without_a_column_is_an_error(tmp_path: Path) -> None:
    table = tmp_path / "ops.csv"
    table.write_text("device,op\nmi210,gelu\n", encoding="utf-8")
    with pytest.raises(InputError, match="precision"):
        read_single_ops(table)
