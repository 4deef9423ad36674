"""`plan --serve`: the cheapest and the fewest devices that serve a rate of requests within limits, and why others lose.

Each device, number format, engine and degree is a site. A site's rate at best bounds the devices that it needs from
below; sites are taken in that order and looked at with simulated queues until no other can be better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, inf
from typing import TYPE_CHECKING

from simulator.device.device import Device, load_device
from simulator.device.prices import Pricing
from simulator.device.system import SystemProfile, load_system
from simulator.errors import InputError, OutOfMemoryError, SimulatorError
from simulator.op.experts import Experts
from simulator.planning.fleet import Carried, Demand, FleetSite, Trials, carried, site_of
from simulator.planning.fleet_search import KEYS, Search
from simulator.serving.answer import Service
from simulator.serving.traffic import percentiles
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

WAYS = (1, 2, 4, 8)
STAGES = (1, 2, 4)

MOST_TOGETHER = 8
"""Devices of a replica at most, where no machine says how many are joined and neither degree is asked for."""
HOUR_S = 3600.0
MILLION = 1e6


@dataclass(frozen=True)
class Offer:
    """What there is to choose from.

    Attributes
    ----------
    devices, systems : names; of systems, whole machines are bought.
    ways, stages : devices that share a layer, and groups of layers in a row; of a replica are their product.
    by_experts : whether devices share out whole experts, of mixtures.
    together : devices of a replica at most; those of a machine where whole ones are bought.
    prices : where those of a device come from.
    most : devices at most.
    """

    devices: Sequence[str]
    systems: Sequence[str] = ()
    precisions: Sequence[str] = ("bf16",)
    engines: Sequence[str] = ("vllm",)
    ways: Sequence[int] = WAYS
    stages: Sequence[int] = STAGES
    by_experts: Sequence[bool] = (False, True)
    together: int = MOST_TOGETHER
    cache: str | None = None
    prices: Pricing = Pricing()
    most: int | None = None


@dataclass(frozen=True)
class Fleet:
    """A choice.

    Attributes
    ----------
    carries : what one replica carries.
    fewest_devices, surest_devices : at the fast and the slow end of the spans; None where no number would do there.
    latency : of the queue of one replica at its share of the rate, as `traffic.percentiles` has it. [s]
    """

    site: FleetSite
    replicas: int
    carries: Carried
    fewest_devices: int | None
    surest_devices: int | None
    latency: dict[str, dict[str, float]]

    @property
    def devices(self) -> int:
        """Of all replicas, in whole machines where these are bought."""
        return self.site.devices(self.replicas)

    @property
    def usd_per_hour(self) -> float | None:
        """Of all devices; None where the price is unknown."""
        return self.site.usd_per_hour(self.replicas)

    @property
    def sure(self) -> bool:
        """Whether so many keep the limits at the slow end too."""
        return self.surest_devices is not None and self.surest_devices <= self.devices


@dataclass(frozen=True)
class Lost:
    """Why a device is not chosen; "" where it is."""

    device: str
    cheapest: str
    fewest: str


@dataclass(frozen=True)
class Provision:
    """The answer.

    Attributes
    ----------
    cheapest, fewest : None where no site keeps the limits, or, of the cheapest, no price is known.
    runners_up : "cheapest" and "fewest" -> the best choice on another device.
    considered, simulated : sites that run the model, and that queues were simulated of.
    lost : one entry a device that is not chosen.
    """

    demand: Demand
    cheapest: Fleet | None
    fewest: Fleet | None
    runners_up: dict[str, Fleet]
    considered: int
    simulated: int
    lost: tuple[Lost, ...]

    def usd_per_million(self, fleet: Fleet) -> float | None:
        """Price of a million output tokens at the rate that is asked for."""
        tokens_per_s = self.demand.rate_per_s * self.demand.request.output
        return None if fleet.usd_per_hour is None else fleet.usd_per_hour / HOUR_S / tokens_per_s * MILLION

    def to_frame(self) -> pd.DataFrame:
        """One row a device that is not chosen: why."""
        import pandas as pd

        return pd.DataFrame(
            [{"device": one.device, "cheapest": one.cheapest, "fewest": one.fewest} for one in self.lost]
        )


def provision(workload: Workload, offer: Offer, demand: Demand) -> Provision:
    """The cheapest and the fewest devices that serve a rate within limits.

    Raises
    ------
    InputError
        If nothing is offered, or nothing of it runs the model at any degree.
    """
    sites, refused = _sites(workload, offer, demand)
    if not sites:
        raise InputError(f"nothing that is offered runs {workload.name}: {_refusals(refused)}")
    search = Search(demand, sites, offer.most or inf)
    fleets = {name: [_fleet(trials, replicas) for trials, replicas in search.best(key)] for name, key in KEYS.items()}
    chosen = {name: found[0].site.name if found else "" for name, found in fleets.items()}
    names = [*dict.fromkeys([site.name for site in sites]), *refused]
    return Provision(
        demand=demand,
        cheapest=next(iter(fleets["cheapest"]), None),
        fewest=next(iter(fleets["fewest"]), None),
        runners_up={name: found[1] for name, found in fleets.items() if len(found) > 1},
        considered=len(sites),
        simulated=search.simulated,
        lost=tuple(
            Lost(name, *(_why(search, refused, name, goal) if name != chosen[goal] else "" for goal in KEYS))
            for name in sorted(names, key=search.nearness)
            if any(name != winner for winner in chosen.values())
        ),
    )


def _refusals(refused: Mapping[str, str]) -> str:
    """Why nothing runs: the one reason, or the first."""
    name, reason = next(iter(refused.items()), ("", "no degree divides a machine's devices"))
    others = len(refused) - 1
    if len(set(refused.values())) == 1 or not others:
        return reason
    return f"{name} {reason}, and {others} more"


def _why(search: Search, refused: Mapping[str, str], name: str, goal: str) -> str:
    return refused.get(name) or search.why_not(name, goal)


def _sites(workload: Workload, offer: Offer, demand: Demand) -> tuple[list[FleetSite], dict[str, str]]:
    """What runs the model, and name -> why nothing of it does."""
    found: list[FleetSite] = []
    refused: dict[str, str] = {}
    for name, device, system in _places(offer):
        errors: list[SimulatorError] = []
        before = len(found)
        for service in _services(offer, demand, system, mixture=_is_mixture(workload)):
            try:
                found.append(site_of(workload, device, service, system))
            except SimulatorError as error:
                errors.append(error)
        if len(found) == before:
            short = [error for error in errors if isinstance(error, OutOfMemoryError)]
            refused[name] = f"does not fit: {short[-1]}".partition("; try")[0] if short else str(errors[0])
    return found, refused


def _places(offer: Offer) -> Iterator[tuple[str, Device, SystemProfile | None]]:
    """Name, device, and the machine where whole ones are bought."""
    if not offer.devices and not offer.systems:
        raise InputError("nothing to choose from; name a --device or a --system")
    for name in offer.devices:
        device = load_device(name)
        yield device.name, offer.prices.of(device), None
    for name in offer.systems:
        system = load_system(name)
        yield system.name, offer.prices.of(load_device(system.device)), system


def _is_mixture(workload: Workload) -> bool:
    return any(isinstance(layer.op, Experts) for layer in workload.layers)


def _services(offer: Offer, demand: Demand, system: SystemProfile | None, *, mixture: bool) -> Iterator[Service]:
    """Formats, engines and degrees; of a machine, degrees that its devices divide into."""
    given = demand.traffic.conditions
    base = Service(cache=offer.cache, request=demand.request, shared=given.shared, speculation=given.speculation)
    for precision, engine in product(offer.precisions, offer.engines):
        for ways, stages, by_experts in product(offer.ways, offer.stages, offer.by_experts):
            if _fits(ways * stages, system, offer) and (not by_experts or (mixture and ways > 1)):
                yield replace(
                    base,
                    precision=precision,
                    engine=engine,
                    devices=ways * stages,
                    ways=ways,
                    stages=stages,
                    by_experts=by_experts,
                )


def _fits(devices: int, system: SystemProfile | None, offer: Offer) -> bool:
    """Whether so many devices are joined: in a machine, as many as it divides into."""
    if system is None:
        return devices <= offer.together
    return devices <= system.devices and system.devices % devices == 0


def _fleet(trials: Trials, replicas: int) -> Fleet:
    rate = trials.demand.rate_per_s
    carries = carried(trials, rate / replicas)
    fast, slow = (
        trials.site.devices(ceil(rate / end)) if end else None for end in (carries.high, carries.low)
    )  # fmt: skip
    return Fleet(trials.site, replicas, carries, fast, slow, percentiles(trials.queue(rate / replicas)))
