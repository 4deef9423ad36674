"""What every `--json` prints, as types: JSON Schema comes from them, and tests hold answers against them.

Quantities are in SI units; docs/json.md says what each key means. `Known` numbers are null where they are not known.
"""

from typing import Any, NotRequired, TypedDict

from simulator.execution.bill import Bill
from simulator.serving.curve import CurvePoint

Known = float | None


class Dataset(TypedDict):
    name: str
    samples: int


class Workload(TypedDict):
    name: str
    parameters: int
    macs_forward_per_sample: int
    dataset: Dataset | None
    flops_step: float
    batch: NotRequired[int]


class Device(TypedDict):
    name: str
    label: str
    grade: str


class Asked(TypedDict):
    batch: int
    precision: str
    task: str
    epochs: int
    optimizer: str | None
    fidelity: str
    traffic: str
    count: str
    framework: str
    host: str | None
    memory: str | None
    set: list[str]
    ignore_memory: bool
    dataset: str | None
    samples: int | str | None
    image_size: int | str | None
    sequence: int | str | None
    input: str | None
    classes: int | str | None
    attention: str | None
    asked: dict[str, str]
    command: str


class Step(TypedDict):
    batch: int
    time_s: float
    forward_s: float
    backward_s: float
    update_s: float
    communication_s: float
    input_s: float
    samples_per_s: float
    bound: str
    mfu: float


class CourseDocument(TypedDict):
    steps_s: float
    late_s: float
    warm_up_s: float
    evaluation_s: float
    evaluations: int
    dropped: int
    total_s: float


class InputDocument(TypedDict):
    loader: str
    storage: str | None
    workers: int | None
    read_s: float
    prepare_s: float
    copy_s: float
    cached: float
    device_s: float
    enough_workers: int | None
    time_s: float
    slowest: str


class Run(TypedDict):
    samples: NotRequired[int]
    steps_per_epoch: int
    epoch_s: float
    epochs: int
    total_s: float


class Memory(TypedDict):
    total_bytes: float
    parameters_bytes: float
    gradients_bytes: float
    optimizer_bytes: float
    activations_bytes: float
    reserved_bytes: float
    headroom_bytes: float
    capacity_bytes: float
    largest_batch: int
    fits: bool
    at_the_edge: bool


class Exchange(TypedDict):
    devices: int
    nodes: int
    link: str
    network: str | None
    message_bytes: list[float]
    busy_s: float
    exposed_s: float


class Interval(TypedDict):
    low_s: float
    high_s: float
    coverage: float
    validated: bool
    reasons: list[str]


class Pass(TypedDict):
    time_s: float
    bound: str


class LayerTime(TypedDict):
    name: str
    op: str
    output_shape: list[int]
    parameters: int
    macs: float
    flops: float
    traffic_bytes: float
    intensity_flop_per_byte: Known
    compute_s: float
    memory_s: float
    time_s: float
    bound: str | None
    passes: dict[str, Pass]


class OtherDevice(TypedDict):
    name: str
    label: NotRequired[str]
    grade: NotRequired[str]


class Other(TypedDict):
    device: OtherDevice
    reason: NotRequired[str]
    step: NotRequired[Step]
    run: NotRequired[Run]
    memory: NotRequired[Memory]
    interval: NotRequired[Interval | None]
    busy_batch: NotRequired[int | None]
    layers: NotRequired[list[LayerTime]]


class Simulate(TypedDict):
    """`simulate --workload W --device D --json`."""

    workload: Workload
    device: Device
    options: Asked
    step: Step
    run: Run
    memory: Memory
    exchange: Exchange | None
    input: InputDocument | None
    interval: Interval | None
    bill: Bill | None
    course: CourseDocument | None
    busy_batch: int | None
    layers: list[LayerTime]
    coverage: float
    unknown: list[str]
    others: list[Other]


class Layer(TypedDict):
    name: str
    op: str
    input_shapes: list[list[int]]
    output_shape: list[int]
    parameters: int
    weights: int
    macs: float
    flops: float
    backward_flops: float
    activations: float
    receptive_field: list[int] | None
    stride: list[int] | None
    macs_per_parameter: Known
    macs_per_weight: Known


class Layers(TypedDict):
    """`simulate layers W --json`."""

    workload: Workload
    layers: list[Layer]
    coverage: float
    unknown: list[str]


class Differing(TypedDict):
    name: str
    macs: int
    parameters: int


class Difference(TypedDict):
    first: list[Differing]
    against: list[Differing]


class LayersTotal(TypedDict):
    what: str
    first: float
    against: float


class LayersAgainst(TypedDict):
    """`simulate layers W --against W --json`."""

    first: str
    against: str
    totals: list[LayersTotal]
    differences: list[Difference]


class FastestBatch(TypedDict):
    """The largest rate within a limit."""

    batch: int
    streams: int
    replicas: int
    latency_s: float
    samples_per_s: float


class Batches(TypedDict):
    """`simulate --task infer --batch 1:256:x2 --json`."""

    workload: str
    device: str
    precision: str
    framework: str
    streams: int
    replicas: int
    largest_batch: int
    knee_batch: int
    slo_s: Known
    within_slo: CurvePoint | None
    fastest_within_slo: FastestBatch | None
    batches: list[CurvePoint]


Listing = dict[str, list[dict[str, str | float | None]]]
"""`simulate devices --json` and the other lists: tables by name, a row each."""

Validation = dict[str, Any]
"""`simulate validate FILE --json`: by kind of table, as docs/json.md says."""
