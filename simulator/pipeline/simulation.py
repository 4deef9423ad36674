"""The answer for a workload on a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from simulator.device.device import Device
from simulator.execution.certainty import Interval
from simulator.execution.memory import Footprint
from simulator.execution.run import Run
from simulator.execution.step import LayerTimes, Step
from simulator.op.kernels import Kernels
from simulator.pipeline.options import Options
from simulator.pipeline.stages import operations_per_sample
from simulator.roofline.setting import Setting
from simulator.roofline.times import OF_KERNELS, Bound, Times
from simulator.roofline.used import Used
from simulator.workload.dataset import NO_DATASET
from simulator.workload.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

    from simulator.device.system import Cluster
    from simulator.execution.bill import Bill
    from simulator.execution.course import Course
    from simulator.execution.input import Input
    from simulator.parallel.data import Exchange


@dataclass(frozen=True)
class Simulation:
    """The answer: everything a report shows."""

    workload: Workload
    setting: Setting = field(repr=False)
    options: Options
    kernels: Kernels = field(repr=False)
    times: Times = field(repr=False)
    layers: LayerTimes = field(repr=False)
    step: Step
    run: Run
    memory: Footprint
    used: tuple[Used, ...] = field(repr=False)
    """Every number that the time rests on, with its source."""
    grade: str
    interval: Interval | None = None
    """How sure the calibrated time is; None for the other fidelities, which are bounds."""
    command: str = ""
    """The command line that asked, if one did."""
    cluster: Cluster | None = None
    exchange: Exchange | None = field(default=None, repr=False)
    """What several devices exchange in a training step."""
    bill: Bill | None = None
    """What the run costs, where that is asked for."""
    input: Input | None = None
    """How samples reach the device, where that is asked for."""
    course: Course | None = None
    """The run on the calendar, where that is asked for."""
    plot: ClassVar[Any]
    """Plots on axes, `plot.roofline(ax=...)`; `report.plotting` adds it where the package hands out `simulate`."""

    @property
    def device(self) -> Device:
        """The device, in the computer that was asked for."""
        return self.setting.device

    @property
    def calibrated(self) -> bool:
        """Whether the time holds all that is known, and not the datasheet alone."""
        return self.setting.calibrated

    @property
    def batch(self) -> int:
        """Samples a step."""
        return self.step.batch

    @property
    def counts_epochs(self) -> bool:
        """Whether the answer is a time of epochs: a dataset is known and, at inference, epochs were asked for."""
        asked = self.options.training or self.options.epochs is not None
        return asked and self.workload.dataset != NO_DATASET

    def to_frame(self) -> pd.DataFrame:
        """One row a layer, by name: `op`, `parameters`, `flops`, `traffic_bytes`, `time_s` and its parts, `bound`."""
        import pandas as pd

        layers, times = self.workload.layers, self.layers
        columns = {
            "op": [layer.op.kind for layer in layers],
            "parameters": [layer.parameters for layer in layers],
            "flops": times.flops,
            "traffic_bytes": times.traffic_bytes,
            **{f"{bound.word}_s": times.seconds[bound] for bound in OF_KERNELS},
            "time_s": times.time_s,
            "bound": [Bound(bound).word for bound in times.bound.tolist()],
        }
        return pd.DataFrame(columns, index=pd.Index([layer.name for layer in layers], name="layer"))

    @property
    def left_out(self) -> float:
        """FLOPs of the step over what the napkin estimate counts: how many times more work; infinite for none."""
        counted = operations_per_sample(self.workload, self.options.count) * self.batch
        return self.step.flops / counted if counted else float("inf")
