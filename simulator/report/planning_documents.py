"""What `--json` of planning and of plans prints, as types; see `documents.py`."""

from typing import Any, TypedDict

from simulator.execution.bill import Bill
from simulator.report.documents import (
    Batches,
    CourseDocument,
    InputDocument,
    Known,
    Layers,
    LayersAgainst,
    Listing,
    Run,
    Simulate,
    Validation,
)
from simulator.report.serving_documents import Devices, FleetPlan, Named, Serve


class Plan(TypedDict):
    data: int
    tensor: int
    pipeline: int
    expert: int
    context: int
    zero: int
    microbatch: int | None
    schedule: str
    virtual: int
    recompute: str
    sequence: bool
    overlap: bool
    pipelined: bool
    label: str


class PlanOptions(TypedDict):
    precision: str
    optimizer: str
    framework: str
    global_batch: int
    microbatch: int
    microbatches: int


class PlanStep(TypedDict):
    time_s: float
    low_s: float
    high_s: float
    parts_s: dict[str, float]
    samples_per_s: float
    tokens_per_s_per_device: Known
    mfu: float
    model_flops: float
    binds: str
    hop_s: float


class Piece(TypedDict):
    forward_s: float
    again_s: float
    backward_s: float
    weights_s: float
    sent_s: float
    returned_s: float
    update_s: float
    first_layer: str
    last_layer: str


class Stage(TypedDict):
    pieces: list[Piece]
    memory: dict[str, float]


class PlanMemory(TypedDict):
    fits: bool
    fullest_stage: int
    total_bytes: float


class Planned(TypedDict):
    """`simulate --parallel ... --json`."""

    workload: Named
    device: Devices
    plan: Plan
    options: PlanOptions
    step: PlanStep
    run: Run | None
    bill: Bill | None
    course: CourseDocument | None
    input: InputDocument | None
    memory: PlanMemory
    stages: list[Stage]


class Parallel(TypedDict):
    """`simulate parallel W --json`."""

    evaluated: int
    fit: int
    too_large: int
    refused: int
    best: str | None
    runner_up: str | None
    plans: list[Planned]
    nearest: Planned | None


class SetUp(TypedDict):
    device: str
    devices: int
    precision: str
    batch: int
    time_s: float
    low_s: float
    high_s: float
    probability_in_time: float
    cost_usd: Known
    power_w: Known
    margins: dict[str, Known]


class Needs(TypedDict):
    deadline_s: Known
    budget_usd: Known
    power_w: Known


class Capacity(TypedDict):
    """`simulate plan --json`."""

    workload: str
    epochs: int
    needs: Needs
    considered: int
    meeting: int
    cheapest: SetUp | None
    fastest: SetUp | None
    smallest: SetUp | None
    nearest: SetUp | None
    obstacle: str | None
    refused: dict[str, str]


class Share(TypedDict):
    cause: str
    seconds: float


class Help(TypedDict):
    what: str
    option: str
    time_s: float
    fits: bool


class Worst(TypedDict):
    layer: str
    above_s: float
    cause: str


class Explanation(TypedDict):
    """`simulate explain --json`."""

    workload: str
    device: str
    layer: str | None
    time_s: float
    roofline_s: float
    bound: str
    shares: list[Share]
    helps: list[Help]
    worst: list[Worst]


class Side(TypedDict):
    label: str
    workload: str
    batch: int
    devices: int
    step_s: float
    sample_s: float
    by_bound_s: dict[str, float]
    memory_bytes: Known


class Moved(TypedDict):
    before: str
    after: str
    layers: int
    sample_s: float


class Gained(TypedDict):
    name: str
    gained_s: float
    before: str | None
    after: str | None


class Difference(TypedDict):
    other: str
    speedup: float
    bounds_moved: list[Moved]
    layers: list[Gained]
    only_first: list[str]
    only_other: list[str]


class Comparison(TypedDict):
    """`simulate compare --json`."""

    sides: list[Side]
    differences: list[Difference]


class Size(TypedDict):
    parameters: float
    macs: float
    activations: float
    disk_bytes: float


class Rewrite(TypedDict):
    """`simulate rewrite W --apply ... --json`."""

    workload: str
    apply: str
    before: Size
    after: Size
    layers: list[dict[str, str]]


class ScalingPoint(TypedDict):
    devices: int
    batch: int
    time_s: Known
    samples_per_s: Known
    speed_up: Known
    efficiency: Known
    lost: dict[str, Known]
    reason: str | None


class Scaling(TypedDict):
    """`simulate scaling --json`."""

    workload: str
    device: str
    points: list[ScalingPoint]


Rows = list[dict[str, str | float | bool | None]]
"""`simulate sweep --json`: a row a configuration."""

DOCUMENTS: dict[str, Any] = {
    "simulate": Simulate,
    "simulate-batches": Batches,
    "simulate-parallel": Planned,
    "layers": Layers,
    "layers-against": LayersAgainst,
    "workloads": Listing,
    "devices": Listing,
    "frameworks": Listing,
    "precisions": Listing,
    "datasets": Listing,
    "compare": Comparison,
    "explain": Explanation,
    "sweep": Rows,
    "plan": Capacity,
    "plan-serve": FleetPlan,
    "parallel": Parallel,
    "scaling": Scaling,
    "rewrite": Rewrite,
    "serve": Serve,
    "validate": Validation,
}
"""Command, and where its `--json` has several forms what asks for them -> the type of what it prints."""


def document_schema(name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of what a command's `--json` prints."""
    import msgspec

    schema: dict[str, Any] = msgspec.json.schema(DOCUMENTS[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
