"""What the host's issuing adds to layers of experts, where it waits for the router's counts.

Software without a grouped product issues each expert's calls by itself, once the host has read how many positions chose
it: the device has run dry by then, and computes no faster than small calls come. Source: Megatron-LM, `TEGroupedMLP`,
whose `tokens_per_expert` goes to the host; Transformer Engine, `GroupedLinear`, a product and a rounding an expert.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.op.experts import Experts
from simulator.parallel.pieces import LayerSeconds
from simulator.workload.workload import Workload

FORWARD = 1 / 3
"""Share of an expert's calls that the forward pass has: of each of its matrices one product of three."""


def issued(seconds: LayerSeconds, rank: Workload, expert_s: float) -> LayerSeconds:
    """Times of a rank's layers with the issuing of its experts.

    expert_s : of one expert's calls, forward and backward together. [s]
    """
    if not expert_s:
        return seconds
    held = np.array([layer.op.here if isinstance(layer.op, Experts) else 0 for layer in rank.layers]) * expert_s
    return replace(
        seconds,
        forward=seconds.forward + FORWARD * held,
        backward=seconds.backward + (1 - FORWARD) * held,
    )
