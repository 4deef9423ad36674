"""Capacity planning: which machines, and how many, meet a deadline, a budget and a power limit; how surely.

The probability that a set-up meets its deadline comes from the interval of its time: a normal distribution of the
logarithm, one half as wide as the lower bound says, the other as the upper one does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import erf, inf, isnan, log, sqrt
from typing import TYPE_CHECKING

from simulator.device.columns import DeviceColumns
from simulator.device.device import Device, load_device
from simulator.errors import InputError, SimulatorError
from simulator.execution.run import endless
from simulator.pipeline import Options, footprint_of
from simulator.planning.answers import Asked, Column, answers
from simulator.units import parse
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

QUANTILE_80 = 1.2816
"""Standard deviations from the median within which a normal value lies with a probability of 80 %."""

LARGEST_BATCH = 1024
HOUR_S = 3600.0


@dataclass(frozen=True)
class Needs:
    """What a set-up must keep; infinite where nothing is asked. [s], [USD], [W]"""

    deadline_s: float = inf
    budget_usd: float = inf
    power_w: float = inf


@dataclass(frozen=True)
class SetUp:
    """Some devices that train or infer a workload.

    Attributes
    ----------
    batch : samples of each device a step: of those that fit, the one with the highest throughput.
    time_s, low_s, high_s : of the whole run, and between what it lies with a probability of 80 %. [s]
    cost_usd, power_w : None where the device's profile does not know its price or power. [USD], [W]
    """

    device: Device
    devices: int
    precision: str
    batch: int
    time_s: float
    low_s: float
    high_s: float
    cost_usd: float | None
    power_w: float | None

    def probability(self, deadline_s: float) -> float:
        """That the run ends by then."""
        if deadline_s == inf:
            return 1.0
        slower = deadline_s >= self.time_s
        width = log(self.high_s / self.time_s) if slower else log(self.time_s / self.low_s)
        if not width:
            return float(slower)
        return 0.5 * (1 + erf(log(deadline_s / self.time_s) * QUANTILE_80 / (width * sqrt(2))))

    def strain(self, needs: Needs) -> dict[str, float]:
        """What it takes of each limit that is set: more than one where it misses it, infinite where that is unknown."""
        found = {}
        if needs.deadline_s < inf:
            found["deadline"] = self.time_s / needs.deadline_s
        if needs.budget_usd < inf:
            found["budget"] = inf if self.cost_usd is None else self.cost_usd / needs.budget_usd
        if needs.power_w < inf:
            found["power"] = inf if self.power_w is None else self.power_w / needs.power_w
        return found

    def meets(self, needs: Needs) -> bool:
        """Whether it keeps all limits."""
        return all(share <= 1 for share in self.strain(needs).values())


@dataclass(frozen=True)
class CapacityPlan:
    """The answer.

    Attributes
    ----------
    cheapest, fastest, smallest : of those that meet everything; None where none does, or no price is known.
    nearest : where none does, the set-up whose worst miss is least; None where nothing runs.
    considered, meeting : set-ups that run, and that meet everything.
    refused : device -> why nothing of it runs.
    """

    needs: Needs
    cheapest: SetUp | None
    fastest: SetUp | None
    smallest: SetUp | None
    nearest: SetUp | None
    considered: tuple[SetUp, ...]
    meeting: int
    refused: dict[str, str]

    def to_frame(self) -> pd.DataFrame:
        """One row a set-up that runs: its fields, the `probability` that it is done in time, whether it `meets`
        everything, and at what it is `best`.
        """
        import pandas as pd

        best = {"cheapest": self.cheapest, "fastest": self.fastest, "smallest": self.smallest, "nearest": self.nearest}
        plain = ("devices", "precision", "batch", "time_s", "low_s", "high_s", "cost_usd", "power_w")
        rows = [
            {
                "device": one.device.name,
                **{name: getattr(one, name) for name in plain},
                "probability": one.probability(self.needs.deadline_s),
                "meets": one.meets(self.needs),
                "best": ", ".join(name for name, chosen in best.items() if chosen is one),
            }
            for one in self.considered
        ]
        return pd.DataFrame(rows)

    def obstacle(self) -> str:
        """What stands in the way of the nearest set-up, and by how much."""
        if self.nearest is None:
            return "nothing runs it"
        strain = self.nearest.strain(self.needs)
        worst = max(strain, key=lambda name: strain[name])
        if strain[worst] == inf:
            return f"its {'price' if worst == 'budget' else worst} is not known"
        return f"it takes {strain[worst]:.2f} times the {worst}"


def plan(
    workload: Workload,
    devices: Sequence[str | Device],
    counts: Sequence[int] = (1,),
    *,
    needs: Needs | None = None,
    options: Options | None = None,
    precisions: Sequence[str] = (),
) -> CapacityPlan:
    """The cheapest, the fastest and the smallest set-ups that meet what is needed.

    Parameters
    ----------
    devices, counts : names, or devices with prices of your own (`device.prices.Pricing`), and how many of each step
        together over the machine's usual link.
    options : `epochs`, `task`, `framework`, `optimizer`; the batch is chosen unless it is set.
    precisions : those to choose from; the options' own if none is given.

    Raises
    ------
    InputError
        If the workload names no dataset, so that a run has no end.
    """
    wanted, asked = needs or Needs(), options or Options()
    if workload.dataset == NO_DATASET:
        raise endless(workload.name)
    found: list[SetUp] = []
    refused: dict[str, str] = {}
    for one in devices:
        device = load_device(one) if isinstance(one, str) else one
        reasons = []
        for precision in precisions or (asked.precision,):
            try:
                found += _set_ups(workload, device, replace(asked, precision=precision, ignore_memory=True), counts)
            except SimulatorError as error:
                reasons.append(str(error))
        if len(reasons) == len(precisions or (asked.precision,)):
            refused[one if isinstance(one, str) else one.name] = reasons[-1]
    meeting = [one for one in found if one.meets(wanted)]
    priced = [one for one in meeting if one.cost_usd is not None]
    return CapacityPlan(
        needs=wanted,
        cheapest=_least(priced, lambda one: (one.cost_usd or 0.0, one.time_s)),
        fastest=_least(meeting, lambda one: (one.time_s, one.devices)),
        smallest=_least(meeting, lambda one: (one.devices, one.power_w or inf, one.time_s)),
        nearest=None
        if meeting
        else _least(found, lambda one: (max(one.strain(wanted).values(), default=0.0), one.time_s)),
        considered=tuple(found),
        meeting=len(meeting),
        refused=refused,
    )


def _least(found: Sequence[SetUp], key: Callable[[SetUp], tuple[float, ...]]) -> SetUp | None:
    return min(found, key=key) if found else None


def _set_ups(workload: Workload, device: Device, options: Options, counts: Sequence[int]) -> list[SetUp]:
    """Each number of a device, at the batch of those that fit that has the highest throughput."""
    batch = options.batch or _best_batch(workload, device, options)
    asked = Asked(workload, [batch], counts, [options.epochs or 1])
    known = {name: column[0, :, 0, 0, 0] for name, column in answers(DeviceColumns(device, {}), options, asked).items()}
    able = [place for place in range(len(counts)) if known["reason"][place] is None]
    if not able:
        raise InputError(str(known["reason"][0]))
    return [_set_up(device, counts[place], options, batch, (known, place)) for place in able]


def _best_batch(workload: Workload, device: Device, options: Options) -> int:
    largest = footprint_of(workload, device, replace(options, batch=1)).largest_batch
    if not largest:
        raise InputError(f"{workload.name} does not fit the {device.name}'s memory, not even one sample")
    batches = [size for size in (2**power for power in range(11)) if size <= min(largest, LARGEST_BATCH)]
    known = answers(DeviceColumns(device, {}), options, Asked(workload, batches))
    best: int = batches[int(known["step.samples_per_s"][0, 0, :, 0, 0].argmax())]
    return best


def _set_up(device: Device, count: int, options: Options, batch: int, answer: tuple[dict[str, Column], int]) -> SetUp:
    names = ("run.total_s", "step.time_s", "interval.low_s", "interval.high_s")
    total, step, *ends = (float(answer[0][name][answer[1]]) for name in names)
    low, high = (step if isnan(end) else end for end in ends)
    price, power = device.profile.price, device.profile.power
    return SetUp(
        device=device,
        devices=count,
        precision=options.precision,
        batch=batch,
        time_s=total,
        low_s=total * low / step,
        high_s=total * high / step,
        cost_usd=price.usd_per_hour * count * total / HOUR_S if price else None,
        power_w=parse(power, "W", device.name) * count if power else None,
    )
