"""What `--json` of serving, and of plans for it, prints, as types; see `documents.py`."""

from typing import Any, NotRequired, TypedDict

from simulator.report.documents import Known


class Named(TypedDict):
    name: str
    parameters: int


class Devices(TypedDict):
    name: str
    devices: int
    cluster: NotRequired[str]


class Served(TypedDict):
    precision: str
    cache_bytes: float
    engine: str
    tp: int
    pp: int
    expert_parallel: bool
    input: int
    output: int
    prefix: int
    guessed: int
    acceptance: float
    prefill_devices: int
    memory_fraction: float
    step_tokens: int
    step_requests: int


class Prefill(TypedDict):
    bound: str
    time_s: float
    compute_s: float
    memory_s: float
    gap_s: float
    cache_s: float
    exchange_s: float
    host_s: float
    flops: float
    traffic_bytes: float


class Concurrency(TypedDict):
    requests: float
    first_s: float
    token_s: float
    request_s: float
    request_tokens_per_s: float
    tokens_per_s: float
    bound: str
    cost_usd: Known
    energy_j: Known
    cache_bytes: float
    fits: bool


class Factors(TypedDict):
    low: float
    high: float


class Interval(TypedDict):
    coverage: float
    first: Factors
    token: Factors


class Serve(TypedDict):
    """`simulate serve --json`."""

    workload: Named
    device: Devices
    options: Served
    memory: dict[str, float]
    interval: Interval
    prefill: Prefill
    concurrency: list[Concurrency]
    queue: dict[str, Any] | None


class Demanded(TypedDict):
    rate_per_s: float
    input: str
    output: str
    arrivals: str
    requests: int
    seed: int
    prefix: int
    guessed: int
    acceptance: float
    slo: dict[str, float]


class Ends(TypedDict):
    low: float
    middle: float
    high: float


class Chosen(TypedDict):
    device: str
    system: str | None
    devices: int
    replicas: int
    tp: int
    pp: int
    expert_parallel: bool
    precision: str
    engine: str
    replica_per_s: Ends
    devices_fast: int | None
    devices_slow: int | None
    sure: bool
    latency: dict[str, dict[str, float]]
    usd_per_hour: Known
    usd_per_million_tokens: Known


class RunnersUp(TypedDict):
    cheapest: Chosen | None
    fewest: Chosen | None


class NotChosen(TypedDict):
    device: str
    cheapest: str | None
    fewest: str | None


class FleetPlan(TypedDict):
    """`simulate plan --serve --json`."""

    workload: str
    demand: Demanded
    coverage: float
    considered: int
    simulated: int
    cheapest: Chosen | None
    fewest: Chosen | None
    runners_up: RunnersUp
    lost: list[NotChosen]
