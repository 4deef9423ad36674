"""What a power limit leaves of a board's clock, against boards whose products were measured."""

from __future__ import annotations

import pytest

from simulator.device.device import load_device
from simulator.device.inheritance import load_family
from simulator.device.power import CORRECTION, limits
from simulator.device.profile import FamilyProfile

MEASURED_T4 = {"vector": 0.57 / 0.92, "matrix": 0.64 / 0.869}
"""DeepBench's GEMMs on a T4 over what its family keeps, as the profile states them."""


def shares(name: str) -> dict[str, float]:
    device = load_device(name)
    family = load_family(device.profile.family or "")
    found = limits(device.profile, family, device.peak, device.memory.bandwidth_byte_per_s)
    return {rate: limit.share for rate, limit in found}


def test_a_card_of_seventy_watts_keeps_the_clock_that_was_measured() -> None:
    found = shares("t4")
    assert {rate: found[rate] for rate in MEASURED_T4} == pytest.approx(MEASURED_T4, rel=0.03)


def test_the_worked_example() -> None:
    # Left: 70 - 15 - 40 x 0.35 - 0.25 x 320e9 x 60e-12 = 36.2 W; needed: 8.1e12 x 11.4e-12 x 1590/1545 = 95.03 W.
    assert shares("t4")["vector"] == pytest.approx((36.2 / 95.03) ** 0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["rtx-2080-ti", "rtx-3090", "rtx-4090", "a100-sxm4-80gb", "h100-sxm5-80gb", "h200"])
def test_boards_of_250_watts_and_more_keep_their_clock(name: str) -> None:
    assert shares(name).keys() <= {"steady"}


@pytest.mark.parametrize(
    ("name", "measured"),
    [
        ("a100-sxm4-80gb", 0.90),  # cublasLt after 10,000 products: 251 to 257 of the 277 to 285 TFLOP/s of bursts
        ("a100-sxm4-80gb", 0.943),  # bf16 products of more than 3 ms (aiconfigurator)
        ("h100-sxm5-80gb", 0.755 / 0.8),
        ("h200", 0.726 / 0.8),
        ("rtx-3090", 1.0),
    ],
)
def test_products_that_follow_each_other_run_at_the_clock_that_the_limit_allows(name: str, measured: float) -> None:
    assert shares(name).get("steady", 1.0) == pytest.approx(measured, rel=0.04)


def test_the_clock_of_steady_products_worked_by_hand() -> None:
    # Left: 400 - 15 - 108 x 0.35 - 0.25 x 2.04e12 x 31e-12 = 331 W; needed: 312e12 x 1.46e-12 x 1410/1695 = 379 W.
    assert shares("a100-sxm4-80gb")["steady"] == pytest.approx((331.4 / 378.9) ** 0.5, rel=2e-3)


def test_a_board_of_less_power_keeps_less_of_its_bursts() -> None:
    free, held = (load_device("h100-sxm5-96gb", overrides=[f"power={watts}W"]).sustained for watts in (700, 500))
    assert held["matrix"] * held["steady"] < free["matrix"] * free["steady"] < free["matrix"]
    needed = 989.4e12 * 0.68e-12 * 1980 / 1830
    left = 500 - 15 - 132 * 0.35 - 0.25 * 2.4e12 * 31e-12
    assert held["matrix"] * held["steady"] == pytest.approx(0.8 * (left / needed) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(("name", "measured"), [("t4", 0.70), ("a10", 0.86), ("a100-pcie-40gb", 0.89), ("l40s", 0.93)])
def test_tensor_cores_against_inference_benchmarks(name: str, measured: float) -> None:
    # MLPerf inference, ResNet-50 in int8, offline, median of submitters: 5,835, 13,785, 32,900 and 43,650 images/s of
    # 130, 250, 624 and 733 TOP/s peak, over an A100 SXM's 39,981 of 624.
    assert shares(name).get("matrix", 1.0) == pytest.approx(measured, rel=0.09)


@pytest.mark.parametrize(
    ("name", "per_s", "peak"),
    [
        ("t4", 402, 130),
        ("a10", 1_105, 250),
        ("l40s", 3_304, 733),
        ("a100-pcie-40gb", 2_825, 624),
        ("a100-pcie-80gb", 3_175, 624),
    ],
)
def test_products_of_whole_steps_against_inference_benchmarks(name: str, per_s: float, peak: float) -> None:
    # MLPerf inference v1.1 to v4.1, BERT large in int8, offline, a board's median of submitters; an A100 SXM's 3,504.
    board, sxm = (load_device(found).sustained for found in (name, "a100-sxm4-80gb"))
    measured = per_s / peak / (3_504 / 624)
    assert board["matrix"] * board["steady"] / (sxm["matrix"] * sxm["steady"]) == pytest.approx(measured, rel=0.1)


def test_a_device_may_have_energies_of_its_own() -> None:
    device = load_device("b200")
    assert device.profile.energy is not None, "its products read shared memory, those of its family registers"
    assert "steady" not in shares("b200")
    assert shares("rtx-pro-6000-max-q")["steady"] < shares("rtx-pro-6000-max-q")["matrix"] < 1


def test_a_measured_rate_is_one_at_the_limit_s_clock() -> None:
    # The T4's own 0.64 was timed in bursts, at 0.73 of its clock; whole steps have 0.725 of that.
    found = shares("t4")
    assert load_device("t4").sustained["steady"] == pytest.approx(found["steady"] / found["matrix"])


def test_a_higher_limit_never_slows_a_board() -> None:
    rates = [load_device("l4", overrides=[f"power={watts}W"]).sustained["vector"] for watts in (40, 72, 100, 300, 1000)]
    assert rates == sorted(rates)
    assert rates[0] < rates[1] < rates[2] < rates[3] == rates[4] == load_device("rtx-4090").sustained["vector"]


def test_what_a_board_measured_of_itself_stays() -> None:
    assert load_device("t4").sustained["vector"] == 0.57
    assert load_device("l4", overrides=["sustained.vector=0.7"]).sustained["vector"] == 0.7


def test_error_correction_takes_bandwidth_and_says_so() -> None:
    plain = load_device("l4", memory="gddr6:6")
    corrected = load_device("l4")
    ratio = corrected.sustained["bandwidth"] / plain.sustained["bandwidth"]
    assert ratio == pytest.approx(CORRECTION)
    assert "error correction" in corrected.provenance["sustained.bandwidth"].source
    assert "72 W hold its clock to 0.60" in corrected.provenance["sustained.vector"].source


def test_boards_of_one_chip_reach_one_clock_whatever_they_are_rated_at() -> None:
    # Rated at 1770 MHz, a Titan RTX's lanes run at that, an RTX 2080 Ti's, rated at 1545, at 1760: 1545 / 1760.
    titan, geforce = load_device("titan-rtx"), load_device("rtx-2080-ti")
    assert titan.sustained["vector"] == pytest.approx(geforce.sustained["vector"] * 1545 / 1760)
    assert "1760 MHz" in titan.provenance["sustained.vector"].source
    assert "vector" not in shares("rtx-2080-ti")
    assert shares("quadro-rtx-8000")["vector"] == shares("titan-rtx")["vector"]
    low = load_device("quadro-rtx-8000", overrides=["power=150W"]).provenance["sustained.vector"].source
    assert "150 W hold its clock" in low, "the lower of both counts"


def test_a_family_without_energies_limits_nothing() -> None:
    device = load_device("t4")
    family = FamilyProfile(name="plain", kind="family", description="none")
    assert dict(limits(device.profile, family, device.peak, 320e9)) == {}


def test_a_limit_holds_the_rates_of_narrow_products_too() -> None:
    free, held = (load_device("h100-sxm5-96gb", overrides=[f"power={watts}W"]).sustained for watts in (700, 500))
    assert held["matrix"] < free["matrix"]
    assert held["matrix_fp8"] / held["matrix"] == pytest.approx(free["matrix_fp8"] / free["matrix"])
