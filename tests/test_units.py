"""Quantities as people write them, and numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.units import FLOPS_PER_MAC, UNITS, binary_bytes, duration, parse, si


def test_a_multiply_accumulate_is_two_flop() -> None:
    assert FLOPS_PER_MAC == 2


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("900 GB/s", "byte/s", 900e9),
        ("900GB/s", "byte/s", 900e9),
        ("2 GiB/s", "byte/s", 2 * 2**30),
        ("100 Gbit/s", "byte/s", 12.5e9),
        ("16 GiB", "byte", 16 * 2**30),
        ("16 GB", "byte", 16e9),
        ("6 MiB", "byte", 6 * 2**20),
        ("7 B", "byte", 7),
        ("14 TFLOP/s", "FLOP/s", 14e12),
        ("56 TOP/s", "FLOP/s", 56e12),
        ("1e3 MFLOP/s", "FLOP/s", 1e9),
        (".5 PFLOP/s", "FLOP/s", 5e14),
        ("4 us", "s", 4e-6),
        ("4 µs", "s", 4e-6),
        ("2 min", "s", 120),
        ("1 d", "s", 86400),
        ("1380 MHz", "Hz", 1.38e9),
        ("250 W", "W", 250),
        ("5 mW", "W", 5e-3),
        ("1.2 M", "count", 1.2e6),
        ("1_281_167", "count", 1_281_167),
        (64, "count", 64),
        ("80 %", "fraction", 0.8),
        (0.8, "fraction", 0.8),
    ],
)
def test_a_quantity_is_read_in_base_units(text: str | float, dimension: str, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value, rel=1e-12)


def test_a_tflop_is_a_thousand_gflop_and_a_million_mflop() -> None:
    # One of the founding articles has this table wrong.
    assert parse("1 TFLOP/s", "FLOP/s") == parse("1e3 GFLOP/s", "FLOP/s") == parse("1e6 MFLOP/s", "FLOP/s") == 1e12


@pytest.mark.parametrize(
    ("text", "dimension", "said"),
    [
        ("900 GBps", "byte/s", "did you mean 'GB/s'?"),
        ("900", "byte/s", "the unit is missing"),
        (900, "byte/s", "the unit is missing"),
        ("fast", "byte/s", "is not a quantity"),
        ("", "byte", "is not a quantity"),
        ("1 2 GB", "byte", "is not a quantity"),
        (True, "count", "is not a quantity"),
        ("-1 GB", "byte", "must be above zero"),
        ("0 GB", "byte", "must be above zero"),
        ("1e400 GB", "byte", "finite"),
        ("nan GB", "byte", "is not a quantity"),
        ("14 TFLOPS", "FLOP/s", "did you mean 'TFLOP/s'?"),
    ],
)
def test_a_bad_quantity_is_named_with_its_place(text: str | float, dimension: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, dimension, "v100.yaml: memory.bandwidth")
    assert str(caught.value).startswith("v100.yaml: memory.bandwidth: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_zero_is_a_quantity_where_it_may_be() -> None:
    assert parse("0 us", "s", positive=False) == 0
    with pytest.raises(InputError, match="at least zero"):
        parse("-1 us", "s", positive=False)


@given(st.sampled_from(sorted(UNITS)), st.data(), st.floats(1e-6, 1e6))
def test_units_round_trip(dimension: str, data: st.DataObject, number: float) -> None:
    unit = data.draw(st.sampled_from(sorted(UNITS[dimension])))
    assert parse(f"{number!r} {unit}", dimension) == pytest.approx(number * UNITS[dimension][unit], rel=1e-12)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (9e11, "B/s", "900 GB/s"),
        (14e12, "FLOP/s", "14.0 TFLOP/s"),
        (20_688_363_520, "MAC", "20.7 GMAC"),
        (0, "B", "0 B"),
        (1, "", "1.00"),
        (999.9, "B", "1.00 kB"),
        (999_950, "B", "1.00 MB"),
        (0.5, "B", "0.500 B"),
        (5e21, "FLOP", "5,000 EFLOP"),
    ],
)
def test_numbers_for_people(value: float, unit: str, text: str) -> None:
    assert si(value, unit) == text


@given(st.floats(1e-3, 1e20))
def test_a_printed_number_reads_back_within_its_digits(value: float) -> None:
    number, prefix = si(value, "B").split()
    assert float(number.replace(",", "")) * UNITS["byte"][prefix] == pytest.approx(value, rel=6e-3)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (1023, "1023 B"), (2**20, "1.00 MiB"), (2**34, "16.0 GiB"), (2**50, "1,024 TiB")]
)
def test_bytes_for_people(value: float, text: str) -> None:
    assert binary_bytes(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ns"),
        (1.757e-6, "1.76 us"),
        (9.999e-7, "1.00 us"),
        (0.0957, "95.7 ms"),
        (59.94, "59.9 s"),
        (60, "1.00 min"),
        (479, "7.98 min"),
        (3600, "1.00 hours"),
        (182.29 * 86400, "182 days"),
        (4.166 * 86400, "4.17 days"),
        (3 * 365.25 * 86400, "3.00 years"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(1e-9, 1e12))
def test_a_duration_is_never_more_than_a_thousand_small_units(seconds: float) -> None:
    number, unit = duration(seconds).split()
    assert float(number.replace(",", "")) < 1000 or unit == "years"
