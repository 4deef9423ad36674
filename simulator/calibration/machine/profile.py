"""A machine's profile, as people write one: text with units, each number with how it was measured."""

from __future__ import annotations

import re
from pathlib import Path

from simulator import catalog
from simulator.calibration.machine.bandwidth import MeasuredBandwidth, held
from simulator.calibration.machine.calls import CallCosts
from simulator.calibration.machine.fitting import fitted
from simulator.calibration.machine.layers import Timed, product_call
from simulator.calibration.machine.measure import MeasuredMachine
from simulator.catalog import read_text
from simulator.device.device import Device, resolve
from simulator.device.profile import DeviceProfile, Grade
from simulator.errors import InputError
from simulator.units import binary_bytes, si

MADE_BY = "# Made by `simulate calibrate`."

PRECISIONS = ("fp64", "fp32", "bf16")
USUAL_NAME = "my-machine"

FROM_PRODUCTS = ("vector_tile", "vector_depth", "packing")
"""What products of matrices alone can tell."""


def check_replaceable(path: Path) -> None:
    """Refuse a path that no profile can be written to, or that holds what somebody else wrote.

    Raises
    ------
    InputError
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out {path}: a profile's name ends in .yaml")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: no such folder")
    if path.exists() and MADE_BY not in read_text(path):
        raise InputError(f"--out {path}: it exists and was not made by this command; choose another name")


def write_profile(measured: MeasuredMachine, path: Path) -> None:
    """Write the profile of a machine, named after its file."""
    text = profile_text(measured, profile_name(path))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def profile_text(measured: MeasuredMachine, name: str = USUAL_NAME) -> str:
    """The profile of a machine as YAML."""
    base = _base(measured, name)
    kernel = {"cache": _cache_share(measured)}
    if measured.with_torch:
        kernel["first_touch"] = measured.first_touch / measured.rates[-1].best
    device = _device("\n".join([base, *_section(kernel)]))
    coefficients, error = fitted(device, _evidence(measured), None if measured.with_torch else FROM_PRODUCTS)
    kernel |= coefficients
    return (
        "\n".join([base, *_section(kernel), f"notes: {_quoted(_notes(measured))}", *_sources(measured, kernel, error)])
        + "\n"
    )


def _section(kernel: dict[str, float]) -> list[str]:
    return ["kernel:", *(f"  {key}: {value:.3g}" for key, value in kernel.items())]


def profile_name(path: Path) -> str:
    """A device name from a file's."""
    return re.sub(r"[^a-z0-9.-]+", "-", path.stem.lower()).strip("-.") or USUAL_NAME


def _base(measured: MeasuredMachine, name: str) -> str:
    """All but the kernel coefficients and the sources."""
    conditions, memory, cache = measured.conditions, measured.rates[-1], _held(measured)
    peaks = [(key, measured.best(key)) for key in PRECISIONS]
    cores = f"{conditions.threads} thread{'s' if conditions.threads > 1 else ''}"
    return "\n".join(
        [
            f"{MADE_BY} What each number rests on stands under `sources`, the conditions under `notes`.",
            f"name: {name}",
            "kind: cpu",
            f"description: {_quoted(f'{conditions.processor}, {cores}, as measured')}",
            f"units: {{count: {conditions.threads}}}",
            "peak:",
            *[f"  {key}: {si(product.flop_per_s, 'FLOP/s')}" for key, product in peaks if product],
            f"memory: {{capacity: {binary_bytes(conditions.memory_bytes)}, bandwidth: {si(memory.best, 'B/s')}}}",
            f"cache: {{last_level: {binary_bytes(_last_level(measured))}, bandwidth: {si(cache.best, 'B/s')}}}",
            f"sustained: {{vector: {_sustained(measured):.3g}, bandwidth: 1}}",
            f"launch: {_time(measured.costs.launch)}",
            *_calls(measured.costs, with_torch=measured.with_torch),
        ]
    )


def _calls(costs: CallCosts, *, with_torch: bool) -> list[str]:
    if not with_torch:
        return ["calls: {forward: 0 us, backward: 0 us, update: 0 us}"]
    parts = [f"{key}: {_time(getattr(costs, key))}" for key in ("forward", "backward", "update", "step")]
    return [f"calls: {{{', '.join(parts)}}}"]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us"


def _last_level(measured: MeasuredMachine) -> int:
    return measured.conditions.caches[max(measured.conditions.caches)]


def _cache_share(measured: MeasuredMachine) -> float:
    return min(_held(measured).working_set / _last_level(measured), 1.0)


def _sustained(measured: MeasuredMachine) -> float:
    """The framework's best product over the best of any library."""
    best, own = measured.best("fp32"), measured.best("fp32", library="PyTorch")
    return own.flop_per_s / best.flop_per_s if best and own else 1.0


def _evidence(measured: MeasuredMachine) -> list[Timed]:
    """The layers' calls, and the fp32 products of the library that networks will use."""
    library, threads = "PyTorch" if measured.with_torch else "NumPy", measured.conditions.threads
    products = [p for p in measured.products if (p.library, p.precision, p.threads) == (library, "fp32", threads)]
    return [*measured.timed, *(product_call(p.sides, p.seconds) for p in products)]


def _device(base: str) -> Device:
    """The machine with its family's kernel coefficients."""
    where = "this machine"
    profile: DeviceProfile = catalog.convert(catalog.parse_yaml(base, where), DeviceProfile, where)
    return resolve(profile, where)


def _notes(measured: MeasuredMachine) -> str:
    libraries = (
        "with PyTorch"
        if measured.with_torch
        else ("without PyTorch, so that the coefficients of layers are the processor family's assumptions")
    )
    took = f"{measured.seconds:.0f} s, {measured.disturbed:.0%} of the measurements disturbed by other work"
    return f"{measured.conditions.text}; {took}; {libraries}"


def _sources(measured: MeasuredMachine, kernel: dict[str, float], error: float) -> list[str]:
    entries = [*_system_sources(measured), *_rate_sources(measured), *_call_sources(measured)]
    others = [f"kernel.{key}" for key in kernel if key not in ("cache", "first_touch")]
    text = f"fitted to {len(_evidence(measured))} timed calls in fp32, which it predicts within {error:.0%} on average"
    entries.append((others, "calibrated", text))
    lines = [f"  - {{of: [{', '.join(of)}], grade: {grade}, source: {_quoted(text)}}}" for of, grade, text in entries]
    return ["sources:", *lines]


Entry = tuple[list[str], Grade, str]


def _system_sources(measured: MeasuredMachine) -> list[Entry]:
    known = measured.conditions.caches_known
    entries: list[Entry] = [(["units", "memory.capacity"], "measured", "what the system reports")]
    text = "what the system reports" if known else "the system does not say; a usual size"
    return [*entries, (["cache.last_level"], "measured" if known else "assumption", text)]


def _rate_sources(measured: MeasuredMachine) -> list[Entry]:
    library, on = "PyTorch" if measured.with_torch else "NumPy", _on(measured)
    found = [(key, product) for key in PRECISIONS if (product := measured.best(key))]
    entries: list[Entry] = [
        (
            [f"peak.{key}"],
            "measured",
            f"the fastest product of matrices, {' x '.join(map(str, product.sides))}, {product.library} {on}; "
            "no datasheet's peak, since a virtual machine tells neither clock nor units",
        )
        for key, product in found
    ]
    working_set, held = binary_bytes(measured.rates[-1].working_set), binary_bytes(_held(measured).working_set)
    copy = f"the faster of STREAM copy and triad, {library} {on}, working set of {working_set}"
    cached = f"the same in {held}, the largest working set that the last level still served"
    return [
        *entries,
        (["memory.bandwidth"], "measured", copy),
        (["cache.bandwidth", "kernel.cache"], "measured", cached),
        (["sustained"], "measured", "the rates above are sustained ones; vector: the framework's product, of the best"),
    ]


def _call_sources(measured: MeasuredMachine) -> list[Entry]:
    if not measured.with_torch:
        return [
            (["launch"], "measured", "NumPy's smallest call"),
            (["calls"], "assumption", "no framework to measure"),
        ]
    chain = "linear layers and ReLU of four values: forward, backward, SGD with momentum, a step's own part"
    return [
        (["launch"], "measured", "PyTorch's smallest call without a tape"),
        (["calls"], "measured", chain),
        (["kernel.first_touch"], "measured", f"writing new pages, beyond writing them again, {_on(measured)}"),
    ]


def _on(measured: MeasuredMachine) -> str:
    return f"on {measured.conditions.threads} of {measured.conditions.cores} cores"


def _held(measured: MeasuredMachine) -> MeasuredBandwidth:
    return held(list(measured.rates))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
