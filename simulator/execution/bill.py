"""What a run costs: money by the hour, and energy at the boards' power limit, which no board exceeds."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from simulator.device.device import Device
from simulator.errors import InputError
from simulator.execution.failures import Failures, Interrupted, interrupted
from simulator.units import parse

HOUR_S = 3600.0
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Circumstances:
    """Where and how a run takes place.

    Attributes
    ----------
    price_usd_per_hour : of one device; its profile's if None. [USD]
    pue : power of the whole data centre over that of its computers.
    carbon_g_per_kwh : of the electricity; None where it is not known. [g/kWh]
    failures : None where nothing fails.
    """

    price_usd_per_hour: float | None = None
    pue: float = 1.0
    carbon_g_per_kwh: float | None = None
    failures: Failures | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        given = {"--price": self.price_usd_per_hour, "--pue": self.pue, "--carbon": self.carbon_g_per_kwh}
        for name, number in given.items():
            if number is not None and not isfinite(number):
                raise InputError(f"{name} must be a number, found {number}")
        if self.pue < 1:
            raise InputError(f"--pue is at least 1, found {self.pue:g}")
        if (self.price_usd_per_hour or 0) < 0 or (self.carbon_g_per_kwh or 0) < 0:
            raise InputError("--price and --carbon cannot be negative")


@dataclass(frozen=True)
class Bill:
    """A run's time, money and energy; None for what is not known. [s], [USD], [J], [g]

    Attributes
    ----------
    time_s : with failures, where some are expected.
    interrupted : what they cost; None where nothing fails.
    price_usd_per_hour, price_date : of one device, and from when; "" where the user gave it.
    energy_j : at most, with all devices at their power limit and what the data centre adds.
    """

    time_s: float
    devices: int
    interrupted: Interrupted | None
    price_usd_per_hour: float | None
    price_date: str
    cost_usd: float | None
    power_w: float | None
    energy_j: float | None
    carbon_g: float | None


def bill_of(run_s: float, device: Device, devices: int, given: Circumstances) -> Bill:
    """The bill of a run of `run_s` seconds on so many devices.

    Raises
    ------
    InputError
        If failures come so fast that the run never ends.
    """
    broken = interrupted(run_s, devices, given.failures) if given.failures else None
    time_s = broken.time_s if broken else run_s
    profile = device.profile
    own = profile.price.usd_per_hour if profile.price else None
    price = own if given.price_usd_per_hour is None else given.price_usd_per_hour
    power = parse(profile.power, "W", device.name) * devices if profile.power else None
    energy = None if power is None else power * given.pue * time_s
    known = energy is not None and given.carbon_g_per_kwh is not None
    return Bill(
        time_s=time_s,
        devices=devices,
        interrupted=broken,
        price_usd_per_hour=price,
        price_date=profile.price.date if profile.price and given.price_usd_per_hour is None else "",
        cost_usd=None if price is None else price * devices * time_s / HOUR_S,
        power_w=power,
        energy_j=energy,
        carbon_g=(energy or 0.0) / JOULES_PER_KWH * (given.carbon_g_per_kwh or 0.0) if known else None,
    )
