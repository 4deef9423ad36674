"""What was asked beyond the defaults, in words: every answer, figure and file names it."""

from __future__ import annotations

from dataclasses import fields

from simulator.execution.certainty import why_none
from simulator.pipeline import Options, Simulation

SAID_ELSEWHERE = ("batch", "precision", "task", "epochs")
"""Options that every headline states anyway."""


def asked(simulation: Simulation) -> dict[str, str]:
    """Option -> value of each that is not the default; the machine's changes stand in its name."""
    options = simulation.options
    different = {
        field.name.replace("_", "-"): str(getattr(options, field.name))
        for field in fields(Options)
        if getattr(options, field.name) != field.default
    }
    return different | dict(simulation.workload.changes)


def asked_line(simulation: Simulation) -> str:
    """The options that the headline does not say, such as "attention fused, framework jax"; empty if there are none."""
    return ", ".join(
        name if value == "True" else f"{name} {value}"
        for name, value in asked(simulation).items()
        if name not in SAID_ELSEWHERE
    )


def no_interval(simulation: Simulation) -> str:
    """Why a calibrated time has no interval."""
    if simulation.step.input_s:
        return "no interval: no step that waits for its input was measured"
    traffic = simulation.options.traffic
    return why_none(simulation.device) if traffic == "ideal" else f"no interval: --traffic {traffic} is a bound"


def utilisation_words(mfu: float, peak: str) -> str:
    """What share of a peak is used; above all of it, that operations are counted of which fewer are done."""
    if mfu <= 1:
        return f"{mfu:.0%} of the {peak} used (MFU)"
    return (
        f"operations counted are {mfu:.0%} of what the {peak} does in that time (MFU): fewer are done, by Winograd's "
        "algorithm, or some beside the units of that peak"
    )
