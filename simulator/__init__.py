"""How long a neural network takes to train or run on a machine, layer by layer, and why.

>>> from simulator import Options, load_device, load_workload, simulate
>>> answer = simulate(load_workload("senet"), load_device("v100"), Options(epochs=100))
>>> answer.run.total_s  # doctest: +SKIP

Names are imported when they are first used, so that `import simulator` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.device.device import Device as Device
    from simulator.device.device import load_device as load_device
    from simulator.errors import SimulatorError as SimulatorError
    from simulator.parallel.plan import Plan as Plan
    from simulator.pipeline import Options as Options
    from simulator.pipeline import Simulation as Simulation
    from simulator.pipeline import simulate as simulate
    from simulator.pipeline import step_seconds as step_seconds
    from simulator.planned import simulate_plan as simulate_plan
    from simulator.planning.capacity import Needs as Needs
    from simulator.planning.capacity import plan as plan
    from simulator.planning.compare import compare as compare
    from simulator.planning.compare import side_of as side_of
    from simulator.planning.explain import explain as explain
    from simulator.planning.fleet import Demand as Demand
    from simulator.planning.provision import Offer as Offer
    from simulator.planning.provision import provision as provision
    from simulator.planning.sweep import sweep as sweep
    from simulator.serving.answer import Service as Service
    from simulator.serving.answer import serve as serve
    from simulator.workload.importers.torch import Tracing as Tracing
    from simulator.workload.importers.torch import from_torch as from_torch
    from simulator.workload.reading import load_workload as load_workload
    from simulator.workload.workload import Workload as Workload

__version__ = "0.1.0"

_PLACES = {
    "Demand": "planning.fleet",
    "Device": "device.device",
    "Needs": "planning.capacity",
    "Offer": "planning.provision",
    "Options": "pipeline",
    "Plan": "parallel.plan",
    "Service": "serving.answer",
    "Simulation": "pipeline",
    "SimulatorError": "errors",
    "Tracing": "workload.importers.torch",
    "Workload": "workload.workload",
    "compare": "planning.compare",
    "explain": "planning.explain",
    "from_torch": "workload.importers.torch",
    "load_device": "device.device",
    "load_workload": "workload.reading",
    "plan": "planning.capacity",
    "provision": "planning.provision",
    "serve": "serving.answer",
    "side_of": "planning.compare",
    "simulate": "pipeline",
    "simulate_plan": "planned",
    "step_seconds": "pipeline",
    "sweep": "planning.sweep",
}

__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _PLACES[name] == "pipeline":  # in a program or a notebook, answers have plots
        import_module("simulator.report.plotting").attach()
    return getattr(import_module(f"simulator.{_PLACES[name]}"), name)
