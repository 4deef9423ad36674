"""The search for a fleet: sites in the order of what they need at least, until none that is left can be better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, inf

from simulator.planning.fleet import IDLE, Demand, FleetSite, Trials
from simulator.units import duration

Key = tuple[float, ...]
Rule = Callable[[FleetSite, int], Key]

NEVER: Key = (inf,)


def _cost(site: FleetSite, replicas: int) -> Key:
    """By price, then devices."""
    usd = site.usd_per_hour(replicas)
    return NEVER if usd is None else (usd, site.devices(replicas), -site.full_per_s)


def _number(site: FleetSite, replicas: int) -> Key:
    """By devices, then price, then what a replica carries at best."""
    usd = site.usd_per_hour(replicas)
    return site.devices(replicas), inf if usd is None else usd, -site.full_per_s


KEYS: dict[str, Rule] = {"cheapest": _cost, "fewest": _number}
"""What is sought -> by what fleets are ordered; neither falls as replicas are added."""


class Search:
    """Sites under a demand, and what is known of each."""

    def __init__(self, demand: Demand, sites: Sequence[FleetSite], most: float) -> None:
        self.demand, self.most = demand, most
        self.trials = [Trials(site, demand) for site in sites]
        self.least = {site: ceil(demand.rate_per_s / site.full_per_s) for site in sites}
        """Replicas that a site needs at least, as far as is known."""
        self.enough: dict[FleetSite, int] = {}
        """Replicas that are enough, and one fewer is not."""
        self.hopeless: dict[FleetSite, tuple[str, ...]] = {}
        """Latencies that a request alone misses."""
        for site in sites:
            if missed := site.alone(demand.promise):
                self.hopeless[site] = missed

    @property
    def simulated(self) -> int:
        """Sites of which queues were simulated."""
        return sum(bool(trials.served) for trials in self.trials)

    def best(self, key: Rule) -> list[tuple[Trials, int]]:
        """The best fleet, and the best one under another name; fewer where there are not so many."""
        found: dict[str, tuple[Key, Trials, int]] = {}
        for bound, trials in self._in_order(key):
            ranked = sorted(entry[0] for entry in found.values())
            second = ranked[1] if len(ranked) > 1 else NEVER
            if bound >= second:
                break
            own = found.get(trials.site.name)
            replicas = self._fewer(trials, key, min(second, own[0]) if own else second)
            if replicas is not None:
                found[trials.site.name] = key(trials.site, replicas), trials, replicas
        return [entry[1:] for entry in sorted(found.values(), key=lambda entry: entry[0])[:2]]

    def _in_order(self, key: Rule) -> list[tuple[Key, Trials]]:
        """Sites that may do, by the least that each needs."""
        bounds = ((key(trials.site, self.least[trials.site]), trials) for trials in self.trials)
        able = [(bound, trials) for bound, trials in bounds if bound < NEVER and trials.site not in self.hopeless]
        return sorted(able, key=lambda entry: entry[0])

    def _fewer(self, trials: Trials, key: Rule, limit: Key) -> int | None:
        """The least replicas that keep the limits, if that is better than a limit."""
        site = trials.site
        if site not in self.enough and not self._reach(trials, key, limit):
            return None
        replicas = self.enough[site]
        return replicas if self._may(site, key, limit, replicas) else None

    def _may(self, site: FleetSite, key: Rule, limit: Key, replicas: int) -> bool:
        return key(site, replicas) < limit and site.devices(replicas) <= self.most

    def _reach(self, trials: Trials, key: Rule, limit: Key) -> bool:
        """Whether the least number that is enough was found below the limit."""
        site = trials.site
        low = high = self.least[site]
        while not self._keeps(trials, high):
            self.least[site] = high + 1
            if site in self.hopeless or not self._may(site, key, limit, high + 1):
                return False
            low, high = high + 1, self._further(trials, key, limit, high)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._keeps(trials, middle) else (middle + 1, high)
        self.enough[site] = self.least[site] = low
        return True

    def _further(self, trials: Trials, key: Rule, limit: Key, replicas: int) -> int:
        """Twice as many replicas, or the most of them that may still be better."""
        low, high = replicas + 1, 2 * replicas
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._may(trials.site, key, limit, middle) else (low, middle - 1)
        return low

    def _keeps(self, trials: Trials, replicas: int) -> bool:
        """Whether so many do; where they do not, whether requests that never meet would."""
        if trials.keeps(replicas):
            return True
        missed = trials.missed(IDLE * trials.site.full_per_s)
        if missed:
            self.hopeless[trials.site] = missed
        return False

    def nearness(self, name: str) -> Key:
        """By what the devices of a name are ordered that are not chosen: what is known of their price, then number."""
        able = [trials.site for trials in self.trials if trials.site.name == name and trials.site not in self.hopeless]
        keys = [min((rule(site, self.least[site]) for site in able), default=NEVER)[0] for rule in KEYS.values()]
        return tuple(keys)

    def why_not(self, name: str, goal: str) -> str:
        """Why the device of a name is not what is sought."""
        own = [trials.site for trials in self.trials if trials.site.name == name]
        able = [site for site in own if site not in self.hopeless]
        if not able:
            return "; ".join(dict.fromkeys(self._misses(own)))
        if all(KEYS[goal](site, 1) == NEVER for site in able):
            return "price unknown"
        site = min(able, key=lambda site: KEYS[goal](site, self.least[site]))
        replicas = self.least[site]
        least = "" if self.enough.get(site) == replicas else "at least "
        number = site.devices(replicas)
        devices = f"{number:,} {'device' if number == 1 else 'devices'}"
        if number > self.most:
            return f"{least}{devices}, more than {self.most:,.0f}"
        usd = site.usd_per_hour(replicas)
        return f"{least}{usd:,.2f} USD/h, {devices}" if goal == "cheapest" else f"{least}{devices}"

    def _misses(self, sites: Sequence[FleetSite]) -> Iterator[str]:
        """What of a request alone even the site misses that takes least; else what one or another misses."""
        limits = dict(self.demand.promise.limits)
        least = {"ttft": min(site.first_s for site in sites), "tpot": min(site.token_s for site in sites)}
        beyond = [name for name, time_s in least.items() if time_s > limits.get(name, inf)]
        for name in beyond:
            yield f"misses {name}: a request alone takes {duration(least[name])} at best"
        for name in () if beyond else sorted({name for site in sites for name in self.hopeless[site]}):
            yield f"misses {name}, however few the requests"
