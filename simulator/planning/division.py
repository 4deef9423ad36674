"""The founding articles' division: operations over a share of the peak, and how much work it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.pipeline import Simulation, operations_per_sample


@dataclass(frozen=True, slots=True)
class Division:
    """One run by the division, and what it counts.

    Attributes
    ----------
    operations : of a sample's forward pass, each MAC taken for one. [MAC]
    samples, epochs : of the run.
    peak_flop_per_s, assumed_share : of the device, and how much of it is taken to be reached.
    left_out : FLOPs of a step over what is counted.
    """

    operations: float
    samples: int
    epochs: int
    peak_flop_per_s: float
    assumed_share: float
    left_out: float

    @property
    def time_s(self) -> float:
        """Operations of all samples over the assumed rate. [s]

        Worked: 20.7 GMAC x 1,281,167 images x 100 epochs / (70 % of 14 TFLOP/s) = 271,000 s, 3.1 days.
        """
        return self.operations * self.samples * self.epochs / (self.peak_flop_per_s * self.assumed_share)

    @property
    def complete_s(self) -> float:
        """The same with a MAC for two FLOP and all passes counted. [s]"""
        return self.time_s * self.left_out


def division_of(simulation: Simulation) -> Division | None:
    """The division of a simulated run; None where no layer has MACs."""
    operations = operations_per_sample(simulation.workload, simulation.options.count)
    if not operations:
        return None
    device, run = simulation.device, simulation.run
    peak = simulation.setting.matrix_flop_per_s
    return Division(operations, run.samples, run.epochs, peak, device.utilisation, simulation.left_out)
