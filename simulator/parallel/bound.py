"""What a step of a plan waits for, on the average over its stages."""

from __future__ import annotations

from simulator.roofline.resource import Resource


class PlanBound(Resource):
    """The first axis of a plan's seconds; a step's sum to its time."""

    COMPUTE = 0
    RECOMPUTE = 1
    """Computing again what was not kept."""
    EXCHANGE = 2
    """Among ranks that share layers."""
    GATHERS = 3
    """Of weights that other ranks keep."""
    BUBBLE = 4
    """Other stages of the pipeline."""
    GRADIENTS = 5
    """Exchange after the last backward pass that nothing hides."""
    UPDATE = 6
    LATE = 7
    """The slowest of the devices."""
    INPUT = 8
    """Samples, where their way is asked for (`feeding.py`)."""
