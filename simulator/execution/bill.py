"""What a run costs: money by the hour, energy by what its steps compute and move, and at most by the boards' limit.

Errors of the time and of the power are independent, so that the interval of the energy has their logarithms' root of
the sum of squares. Worked: a time of 0.8 to 1.25 and a power of 0.84 to 1.19 times the predicted: ln 1.25 = 0.223, ln
1.19 = 0.174, root of the squares 0.283: an energy of at most 1.33 times the predicted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, hypot, isfinite, log

from simulator.device.device import Device
from simulator.device.draw import HIGH, LOW, Draw, draw_of
from simulator.device.profile import Price
from simulator.device.system import Cluster
from simulator.errors import InputError
from simulator.execution.energy import Activity
from simulator.execution.failures import Failures, Interrupted, interrupted
from simulator.execution.wall import Wall, rated_watts, wall_of
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
    checkpoint_to : storage that checkpoints are written to, whose rate then says how long that takes.
    """

    price_usd_per_hour: float | None = None
    pue: float = 1.0
    carbon_g_per_kwh: float | None = None
    failures: Failures | None = None
    checkpoint_to: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        given = {"--price": self.price_usd_per_hour, "--pue": self.pue, "--carbon": self.carbon_g_per_kwh}
        for name, number in given.items():
            if number is not None and not isfinite(number):
                raise InputError(f"{name} must be a number, found {number}")
            if number is not None and number < 0:
                raise InputError(f"{name} cannot be negative, found {number:g}")
        if self.pue < 1:
            raise InputError(f"--pue is at least 1, found {self.pue:g}")


@dataclass(frozen=True)
class Spans:
    """What a run is made of.

    Attributes
    ----------
    step_s, epoch_s : of a full step, and of an epoch, without failures. [s]
    activity : of a device in a step; None where the times are bounds alone, which say nothing of power.
    low, high : bounds of the true time over the predicted one; None where it has no interval.
    """

    step_s: float
    epoch_s: float
    activity: Activity | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Amount:
    """Time, money, energy and carbon dioxide of a step, an epoch or a run; None for what is not known.

    [s], [USD], [J], [g]
    """

    time_s: float
    cost_usd: float | None
    energy_j: float | None
    carbon_g: float | None


@dataclass(frozen=True)
class Power:
    """What all devices draw on the average over a step, without the data centre. [W]

    Attributes
    ----------
    power_w : of all together, at most as much as their limits allow.
    low_w, high_w : where it lies in eight of ten cases.
    static_w, running_w, computing_w, memory_w : its parts, before the limit.
    """

    power_w: float
    low_w: float
    high_w: float
    static_w: float
    running_w: float
    computing_w: float
    memory_w: float


@dataclass(frozen=True)
class Bill:
    """A run's time, money and energy; None for what is not known. [s], [USD], [J], [g]

    Attributes
    ----------
    time_s : with failures, where some are expected.
    interrupted : what they cost; None where nothing fails.
    price_usd_per_hour, price_date, price_note : of one device, from when, and of what; "" where the user gave it.
    power_w, energy_j, carbon_g : at most, with all machines at their rated power, or all devices at their limit where
        no machine is named, and what the data centre adds.
    power_of : "machines" or "devices": whose limit that is.
    drawn : what the devices draw, as predicted; None where that is not known.
    wall : what whole machines draw, which the energy is then of; None where no machine is named, or nobody says.
    step, epoch, run : what is expected of each, the failures' share included; step and epoch None where not said.
    low, high : bounds of the run's; None where its time has no interval.
    """

    time_s: float
    devices: int
    interrupted: Interrupted | None
    price_usd_per_hour: float | None
    price_date: str
    price_note: str
    cost_usd: float | None
    power_w: float | None
    power_of: str
    energy_j: float | None
    carbon_g: float | None
    drawn: Power | None
    wall: Wall | None
    step: Amount | None
    epoch: Amount | None
    run: Amount
    low: Amount | None
    high: Amount | None


def bill_of(
    run_s: float, device: Device, devices: int, given: Circumstances, spans: Spans | None = None,
    cluster: Cluster | None = None,
) -> Bill:  # fmt: skip
    """The bill of a run of `run_s` seconds on so many devices, in machines that may be named.

    Raises
    ------
    InputError
        If failures come so fast that the run never ends.
    """
    broken = interrupted(run_s, devices, given.failures) if given.failures else None
    time_s = broken.time_s if broken else run_s
    if cluster and cluster.machine:
        cluster = replace(cluster, machine=cluster.machine.with_device(device.name))
    price, listed = _price(device, given)
    powers = _powers_of(device, devices, spans.activity if spans else None, cluster)
    expected = powers.expected
    most_w = _times(powers.limit_w, given.pue)
    rates = _Rates(_times(price, devices / HOUR_S), expected.power_w * given.pue if expected else None, most_w, given)
    low, high = powers.bounds
    most = replace(rates, power_w=most_w).amount(time_s)
    more = time_s / run_s
    return Bill(
        time_s=time_s,
        devices=devices,
        interrupted=broken,
        price_usd_per_hour=price,
        price_date=listed.date if listed else "",
        price_note=(listed.note or "") if listed else "",
        cost_usd=most.cost_usd,
        power_w=powers.limit_w,
        power_of="machines" if rated_watts(cluster) else "devices",
        energy_j=most.energy_j,
        carbon_g=most.carbon_g,
        drawn=powers.drawn,
        wall=powers.wall,
        step=rates.amount(spans.step_s * more) if spans else None,
        epoch=rates.amount(spans.epoch_s * more) if spans else None,
        run=rates.amount(time_s),
        low=rates.bound(time_s, spans.low if spans else None, low),
        high=rates.bound(time_s, spans.high if spans else None, high),
    )


@dataclass(frozen=True)
class _Rates:
    """What a second of all devices costs, and their limit. [USD/s], [W]"""

    usd_per_s: float | None
    power_w: float | None
    limit_w: float | None
    given: Circumstances

    def amount(self, time_s: float, more: float = 1.0) -> Amount:
        """Of so much time; `more` times the power, which stays within the limit."""
        energy_j = _times(self.power_w, time_s * more)
        if energy_j is not None and self.limit_w is not None:
            energy_j = min(energy_j, self.limit_w * time_s)
        carbon = self.given.carbon_g_per_kwh
        carbon_g = None if energy_j is None else _times(carbon, energy_j / JOULES_PER_KWH)
        return Amount(time_s, _times(self.usd_per_s, time_s), energy_j, carbon_g)

    def bound(self, time_s: float, of_time: float | None, of_power: float) -> Amount | None:
        """A bound of the run's amounts, from bounds of its time and of its power."""
        if of_time is None:
            return None
        both = hypot(log(of_time), log(of_power)) * (1 if of_power > 1 else -1)
        return self.amount(time_s * of_time, exp(both) / of_time)


def _times(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


def _price(device: Device, given: Circumstances) -> tuple[float | None, Price | None]:
    """USD an hour of one device, and the listed price that it is of; None where the user gave it or nobody knows."""
    listed = device.profile.price if given.price_usd_per_hour is None else None
    return (listed.usd_per_hour if listed else given.price_usd_per_hour), listed


@dataclass(frozen=True)
class _Powers:
    """What devices draw, what their machines do, and both at most; None for what is not known. [W]"""

    drawn: Power | None
    wall: Wall | None
    limit_w: float | None

    @property
    def expected(self) -> Power | Wall | None:
        """Of whole machines, or of the devices where no machine is known."""
        return self.wall or self.drawn

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the power over the expected; a machine's idle power is sure."""
        wall = self.wall
        return (wall.low_w / wall.power_w, wall.high_w / wall.power_w) if wall else (LOW, HIGH)


def _powers_of(device: Device, devices: int, activity: Activity | None, cluster: Cluster | None) -> _Powers:
    """Of all devices, each like the one whose activity is given."""
    boards_w = parse(device.profile.power, "W", device.name) * devices if device.profile.power else None
    limit_w, draw = rated_watts(cluster) or boards_w, draw_of(device)
    if draw is None or activity is None:
        return _Powers(None, None, limit_w)
    drawn = _drawn(draw, devices, activity)
    return _Powers(drawn, wall_of(cluster, draw, (drawn.power_w, drawn.low_w, drawn.high_w)), limit_w)


def _drawn(draw: Draw, devices: int, activity: Activity) -> Power:
    power_w = activity.power_w(draw) * devices
    computing_w = (activity.lanes_s * draw.vector_w + activity.tensors_s * draw.matrix_w) / activity.time_s
    return Power(
        power_w=power_w,
        low_w=power_w * LOW,
        high_w=min(power_w * HIGH, draw.limit_w * devices),
        static_w=draw.static_w * devices,
        running_w=draw.running_w * devices,
        computing_w=computing_w * devices,
        memory_w=activity.traffic_bytes / activity.time_s * draw.byte_j * devices,
    )
