"""Price lists: what they have, what they do not, and their dates."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator import catalog
from simulator.device.device import load_device
from simulator.device.prices import FOLDER, UNDATED, Pricing, load_prices, priced
from simulator.errors import InputError, UnknownNameError

LIST = """name: own
kind: prices
description: what we pay
date: "2026-11-01"
prices:
  - {device: t4, usd_per_hour: 0.35, note: our rack}
sources:
  - {of: [prices], grade: measured, source: "our books"}
"""


@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_every_listed_device_has_a_profile_under_that_name(name: str) -> None:
    for listed in load_prices(name).prices:
        assert load_device(listed.device).name == listed.device


def test_a_price_says_whose_and_of_when_it_is() -> None:
    price = priced(load_device("h100"), "nebius").profile.price
    assert price is not None
    assert (price.usd_per_hour, price.date) == (2.95, UNDATED)
    assert price.note == "nebius, an eighth of gpu-h100-sxm_8gpu-128vcpu-1600gb"
    dated = priced(load_device("tpu-v6e"), "gcp").profile.price
    assert dated is not None
    assert dated.date == "2026-08-19 or before"


def test_a_device_that_a_list_does_not_have_has_no_price() -> None:
    assert load_device("a100-sxm4-80gb").profile.price is not None
    assert priced(load_device("a100-sxm4-80gb"), "nebius").profile.price is None


def test_a_list_of_the_users(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(LIST, encoding="utf-8")
    price = priced(load_device("t4"), str(file)).profile.price
    assert price is not None
    assert (price.usd_per_hour, price.date, price.note) == (0.35, "2026-11-01", "own, our rack")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("0.35", "0"), "usd_per_hour"),
        (("0.35", "-1"), "usd_per_hour"),
        (("usd_per_hour", "usd_an_hour"), "usd_an_hour"),
        (("  - {device: t4", "  - {device: t4, usd_per_hour: 1, note: twice}\n  - {device: t4"), "twice"),
    ],
)
def test_a_malformed_list_names_its_key(tmp_path: Path, change: tuple[str, str], why: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(LIST.replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=why):
        load_prices(str(file))


def test_an_unknown_list_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'nebius'"):
        load_prices("nebbius")


def test_spot_prices_are_a_column_of_their_own() -> None:
    h100 = priced(load_device("h100"), "nebius:spot").profile.price
    assert h100 is not None
    assert (h100.usd_per_hour, h100.note) == (1.25, "nebius, spot, an eighth of gpu-h100-sxm_8gpu-128vcpu-1600gb")
    assert priced(load_device("b200"), "nebius:spot").profile.price is None, "its spot price is not known"


def test_the_users_price_goes_before_the_list_and_the_list_before_the_profile() -> None:
    def usd(pricing: Pricing, name: str) -> float | None:
        price = pricing.of(load_device(name)).profile.price
        return price.usd_per_hour if price else None

    both = Pricing({"h100": 9.0}, "nebius")
    assert (usd(both, "h100-sxm5-80gb"), usd(both, "b200"), usd(both, "a100-sxm4-80gb")) == (9.0, 5.5, None)
    assert usd(Pricing(), "a100-sxm4-80gb") == load_device("a100-sxm4-80gb").profile.price.usd_per_hour  # type: ignore[union-attr]
