"""How sure a plan's time is: as far as measured steps of many devices lay from predicted ones.

Quantiles of measured over predicted time, 10 and 90 %, over published training steps of language models. Those of a
source weigh by the root of their number, since software differs more than devices do. Networks with experts stand
apart: their routing, host and all-to-all exchange vary most between releases of the same software. docs/scaling.md says
how often the interval holds for sources that were left out when it was drawn.
"""

from __future__ import annotations

from simulator.execution.certainty import Interval
from simulator.op.experts import Experts
from simulator.workload.workload import Workload

COVERAGE = 0.8
DENSE = (0.92, 1.13)
EXPERTS = (0.86, 1.24)
"""Bounds of the true time, as factors of the predicted one. Those of dense networks are the mean of quantiles over
sources and over devices; those with experts are over devices, since all but four steps are of one source."""


def plan_interval(workload: Workload, *, waits: bool = False) -> Interval:
    """The interval of a plan's step; unvalidated for networks that are no language models.

    waits : whether the step waits for its samples.
    """
    routed = any(isinstance(layer.op, Experts) for layer in workload.layers)
    low, high = EXPERTS if routed else DENSE
    reads_text = len(workload.inputs[0]) == 1
    reasons = ("experts: their routing and exchange differ most between releases",) if routed else ()
    unlike: tuple[str, ...] = () if reads_text else ("no shared step of such a network was measured",)
    unlike += ("no shared step that waits for its samples was measured",) if waits else ()
    return Interval(low, high, COVERAGE, validated=not unlike, reasons=reasons + unlike)
