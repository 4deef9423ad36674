"""What `simulate calibrate` found, in a few rows."""

from __future__ import annotations

from simulator.calibration.machine.bandwidth import held
from simulator.calibration.machine.gemm import SQUARE
from simulator.calibration.machine.measure import MeasuredMachine
from simulator.report.listing import Row
from simulator.units import binary_bytes, duration, si

LOAD = 0.5
"""Load average a core from which on others surely take part of the time."""
DISTURBED = 0.05


def machine_rows(measured: MeasuredMachine) -> list[Row]:
    """Quantity, value and how it was measured."""
    return [*_products(measured), *_bandwidths(measured), *_calls(measured)]


def _row(quantity: str, value: str, how: str) -> Row:
    return {"quantity": quantity, "value": value, "how": how}


def _products(measured: MeasuredMachine) -> list[Row]:
    rows = []
    for library in ("NumPy", "PyTorch"):
        for precision in ("fp32", "fp64", "bf16"):
            best = measured.best(precision, library=library)
            if best:
                sides = " x ".join(map(str, best.sides))
                rows.append(_row(f"{precision} product, {library}", si(best.flop_per_s, "FLOP/s"), f"best, {sides}"))
    single = measured.best("fp32", library="NumPy", threads=1)
    if single and measured.conditions.threads > 1:
        sides = " x ".join(map(str, SQUARE[-1]))
        rows.append(_row("fp32 product, 1 thread", si(single.flop_per_s, "FLOP/s"), f"best up to {sides}, NumPy"))
    return rows


def _bandwidths(measured: MeasuredMachine) -> list[Row]:
    fastest = max(measured.rates, key=lambda rate: rate.best)
    places = {"fastest cache": fastest, "last-level cache": held(list(measured.rates)), "memory": measured.rates[-1]}
    return [
        *(_row(place, si(r.best, "B/s"), f"working set {binary_bytes(r.working_set)}") for place, r in places.items()),
        _row("new pages", si(measured.first_touch, "B/s"), "first writing, beyond writing again"),
    ]


def _calls(measured: MeasuredMachine) -> list[Row]:
    costs = measured.costs
    if not measured.with_torch:
        return [_row("call", duration(costs.launch), "NumPy's smallest")]
    how = {"forward": "a module, with its tape", "backward": "a module's tape", "update": "SGD, a layer"}
    return [
        _row("call", duration(costs.launch), "PyTorch's smallest"),
        *(_row(f"call, {phase}", duration(getattr(costs, phase)), f"{text}, beyond it") for phase, text in how.items()),
        _row("layers", f"{len(measured.timed)}", "calls timed, from which the coefficients are fitted"),
    ]


def warning(measured: MeasuredMachine) -> str | None:
    """Why the numbers may be too slow, or None."""
    conditions = measured.conditions
    if measured.disturbed > DISTURBED or conditions.load > LOAD * conditions.cores:
        return (
            f"something else ran (load average {conditions.load:.1f} before; {measured.disturbed:.0%} of the "
            "measurements disturbed): the profile may be too slow; measure again when the machine is idle"
        )
    return None
