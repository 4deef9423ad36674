"""`serve`: a model on devices under an engine, answered without a queue."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simulator.device.device import Device
from simulator.errors import InputError
from simulator.serving.cache import Capacity, capacity, held_requests, request_bytes
from simulator.serving.conditions import RequestConditions
from simulator.serving.costs import Speculation
from simulator.serving.engine import ServingEngine, load_engine
from simulator.serving.formats import BLOCK_BYTES, Format, get_format
from simulator.serving.loops import Steady, steady_at
from simulator.serving.settings import EngineSettings
from simulator.serving.static import RequestLengths, first_token_times
from simulator.serving.step import Deployment
from simulator.serving.times import StepTimes
from simulator.units import parse
from simulator.workload.workload import Workload

CACHE_FORMATS = {"fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "q8_0": BLOCK_BYTES["q8_0"], "int4": 0.5625}
"""Bytes of each number of the cache."""

NARROW_PEAKS = ("fp8_tensor", "fp4_tensor")
MILLION = 1e6
HOUR_S = 3600.0


@dataclass(frozen=True)
class Service:
    """What is asked of a served model; names are checked when it is answered.

    Attributes
    ----------
    precision : format of weights and products, such as fp8, bf16 or q4_k_m.
    cache : format of the cache; the weights' usual one if None.
    ways, stages : devices that share a layer, and groups of layers in a row; all devices share a layer if None.
    request : prompt and output. [tokens]
    concurrency : requests at a time to answer for; powers of two up to what fits if empty.
    by_experts : the devices share out whole experts instead of slices of each.
    settings : what the engine is started with, where it is not its default.
    shared : tokens at the start of all prompts, which are read and kept once.
    speculation : guessing tokens ahead.
    prefill_devices : further devices that read the prompts; 0 where the same ones do both.
    graphs : whether the engine launches decoding steps as recorded graphs, where it does so at all; else each kernel
        is launched by itself, as while prompts are read.
    """

    precision: str = "bf16"
    cache: str | None = None
    engine: str = "vllm"
    devices: int = 1
    ways: int | None = None
    stages: int | None = None
    request: RequestLengths = RequestLengths(1024, 256)
    concurrency: tuple[int, ...] = ()
    by_experts: bool = False
    graphs: bool = True
    settings: EngineSettings = EngineSettings()
    shared: int = 0
    speculation: Speculation = Speculation()
    prefill_devices: int = 0


@dataclass(frozen=True)
class Point:
    """The answer at so many requests at a time.

    Attributes
    ----------
    first_s, token_s, request_s : time to the first token, mean time a token, of the whole request. [s]
    request_tokens_per_s, tokens_per_s : output, of one request and of all. [1/s]
    bound : what most of a decoding step waits for.
    cost_usd, energy_j : of a million output tokens, and of a token at the boards' full power; None where the device
        has no price or power. [USD], [J]
    cache_bytes : held on one device. [byte]
    fits : whether the cache holds all of them in full length.
    """

    requests: int
    first_s: float
    token_s: float
    request_s: float
    request_tokens_per_s: float
    tokens_per_s: float
    bound: str
    cost_usd: float | None
    energy_j: float | None
    cache_bytes: float
    fits: bool


@dataclass(frozen=True)
class Serving:
    """Everything a report of a served model shows."""

    deployment: Deployment
    service: Service
    capacity: Capacity
    prefill: StepTimes
    points: tuple[Point, ...]
    reader: Deployment | None = None

    @property
    def most_requests(self) -> int:
        """Requests of the asked length that the cache holds at a time, at most as many as the engine takes."""
        return most_requests(self.deployment, self.service.request, self.service.shared)

    @property
    def devices(self) -> int:
        """All of them, those that read prompts among them."""
        return self.deployment.devices + self.service.prefill_devices


def serve(workload: Workload, device: Device, service: Service | None = None) -> Serving:
    """How long a model takes a request on devices, at each concurrency, and why.

    Raises
    ------
    UnsupportedError
        If the network does not generate, or the device lacks a peak.
    InputError
        If a degree does not divide the heads, or a context is longer than the network's.
    OutOfMemoryError
        If the weights or a single request's cache do not fit.
    """
    asked = service or Service()
    deployment = deploy(workload, device, asked)
    room = capacity(deployment)
    most = most_requests(deployment, asked.request, asked.shared)
    if most < 1:
        longest = int(room.tokens - room.state_bytes // max(room.token_bytes, 1.0))
        raise InputError(
            f"a request of {asked.request.total} tokens needs more than the cache's {longest} tokens; "
            f"ask for at most {longest}, or more --devices"
        )
    numbers, reader = asked.concurrency or _powers(most), _reader(workload, device, asked)
    conditions = RequestConditions(asked.shared, asked.speculation, reader)
    past = conditions.past(asked.request.prompt)
    loops = zip(numbers, steady_at(deployment, numbers, asked.request, conditions=conditions), strict=True)
    return Serving(
        deployment,
        asked,
        room,
        first_token_times(reader or deployment, asked.request.prompt - past, past),
        tuple(_point(deployment, asked, (requests, most), found) for requests, found in loops),
        reader,
    )


def deploy(workload: Workload, device: Device, service: Service) -> Deployment:
    """The model on its devices."""
    form = get_format(service.precision)
    if service.cache is not None and service.cache not in CACHE_FORMATS:
        raise InputError(f"--kv {service.cache!r}: unknown format of the cache; known: {', '.join(CACHE_FORMATS)}")
    if service.shared >= service.request.prompt:
        raise InputError(
            f"--prefix: {service.shared} shared tokens leave none of a prompt of {service.request.prompt}; "
            f"at most {service.request.prompt - 1}"
        )
    if service.prefill_devices < 0:
        raise InputError(f"--prefill-devices must be at least 1, found {service.prefill_devices}")
    ways, stages = _degrees(service)
    engine = service.settings.over(load_engine(service.engine, device.profile.family))
    if not service.graphs:
        engine = replace(engine, gap_s=max(engine.gap_s, engine.prefill_gap_s), recorded=False)
    cache = CACHE_FORMATS[service.cache] if service.cache else usual_cache(engine, form)
    deployment = Deployment(workload, device, engine, form, ways, stages, cache, by_experts=service.by_experts)
    if stages > deployment.generator.depth:
        raise InputError(
            f"{workload.name} has {deployment.generator.depth} layers, which are no {stages} groups; "
            f"at most --pp {deployment.generator.depth}"
        )
    limit = deployment.generator.limit
    if limit is not None and service.request.total > limit:
        raise InputError(
            f"{workload.name} has a context of {limit} tokens, prompt and output are {service.request.total}; "
            f"shorten one by {service.request.total - limit}"
        )
    return deployment


def _degrees(service: Service) -> tuple[int, int]:
    """Devices that share a layer, and groups of layers."""
    numbers = {"--devices": service.devices, "--tp": service.ways, "--pp": service.stages}
    lengths = {"--input": service.request.prompt, "--output": service.request.output}
    for option, number in {**numbers, **lengths}.items():
        if number is not None and number < 1:
            raise InputError(f"{option} must be at least 1, found {number}")
    stages = service.stages or 1
    ways = service.ways or max(service.devices // stages, 1)
    if ways * stages != service.devices:
        raise InputError(f"--tp {ways} times --pp {stages} must be the {service.devices} devices")
    return ways, stages


def usual_cache(engine: ServingEngine, form: Format) -> float:
    """Bytes of each number of the cache, where nothing is asked."""
    return 1.0 if engine.memory.narrow_cache and form.peaks[0] in NARROW_PEAKS else form.cache_bytes


def most_requests(deployment: Deployment, request: RequestLengths, shared: int = 0) -> int:
    """Requests of full length that the cache holds, at most as many as the engine runs.

    shared : tokens at the start of each that are kept once for all.
    """
    return min(
        held_requests(deployment, request.total, min(shared, request.prompt)), deployment.engine.scheduler.requests
    )


def _powers(most: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and the most."""
    return (*(1 << power for power in range(most.bit_length()) if 1 << power < most), most)


def _point(deployment: Deployment, asked: Service, numbers: tuple[int, int], found: Steady) -> Point:
    """The answer at a number of requests, of which so many fit."""
    (requests, most), request = numbers, asked.request
    rate, devices = found.output_tokens_per_s, deployment.devices + asked.prefill_devices
    price, power = deployment.device.profile.price, deployment.device.profile.power
    usd_per_s = price.usd_per_hour * devices / HOUR_S if price else None
    watts = parse(power, "W", f"{deployment.device.name}: power") * devices if power else None
    return Point(
        requests=requests,
        first_s=found.first_s,
        token_s=found.token_s,
        request_s=found.request_s,
        request_tokens_per_s=1 / found.token_s,
        tokens_per_s=rate,
        bound=found.bound,
        cost_usd=usd_per_s / rate * MILLION if usd_per_s is not None else None,
        energy_j=watts / rate if watts is not None else None,
        cache_bytes=requests * request_bytes(deployment, request.prompt + request.output / 2),
        fits=requests <= most,
    )


def _reader(workload: Workload, device: Device, asked: Service) -> Deployment | None:
    """The same model on devices of its own, which read prompts.

    Raises
    ------
    OutOfMemoryError
        If the weights do not fit there.
    """
    if not asked.prefill_devices:
        return None
    reader = deploy(workload, device, replace(asked, devices=asked.prefill_devices, ways=None, stages=None))
    capacity(reader)
    return reader
