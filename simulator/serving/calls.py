"""What calls of an engine's libraries cost beside the roofline of their kernels, by kind of kernels and format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

from msgspec import Meta

from simulator import catalog
from simulator.causes.passes import Passes
from simulator.device.device import Device
from simulator.device.profile import Source, Strict
from simulator.units import parse

FOLDER = "hardware_profiles/calls"
NAME = "tensorrt-llm"

PRODUCTS = {"bf16": "bfloat16", "fp16": "bfloat16", "mxfp4_experts": "bfloat16", "fp8": "fp8",
            "fp8_block": "fp8_block", "fp4": "nvfp4", "int8": "sq", "w8a16": "int8_wo", "int4": "int4_wo"}  # fmt: skip
"""Formats of weights -> formats of products as calls are named."""

DEPTH = 1024
"""Steps that a call's `depth_s` is for."""

BLOCK = 128
"""Queries of one request and head that a unit takes at once. Source: Dao, "FlashAttention-2", 2023, tiles of 128."""

GROUP = 32
"""Heads of queries that one block of attention over a cache serves at most, where they share keys: on H100 and H200
calls of up to 32 take the same for each head of keys, of 64 and more many times that."""

WIDE_BYTES = 2.0
"""Of an activation before it is rounded and of a product's result."""


class CallSection(Strict, frozen=True, kw_only=True):
    """One library's call on one family of devices; `LibraryCall` says what each number does."""

    start: str
    compute: Annotated[float, Meta(gt=0)]
    stream: Annotated[float, Meta(gt=0)]
    depth: str
    block: str = "0 s"
    alone: Annotated[float, Meta(gt=0)] = 1.0
    chain: str = "0 s"


class CallsProfile(Strict, frozen=True, kw_only=True):
    """`hardware_profiles/calls/<name>.yaml`: kind of kernels ("hopper") -> operation and format -> call."""

    name: str
    kind: Literal["calls"]
    description: str
    families: dict[str, dict[str, CallSection]]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class LibraryCall:
    """What a library's call costs beside the roofline of its kernel.

    Attributes
    ----------
    start_s : of the kernels of a call whose work is nothing. [s]
    compute : rate of its products over that of the family's.
    stream : share of the memory's bandwidth that operands, results and cache pass at.
    depth_s : of each 1,024 steps of a product's sum, or tokens that a query sees: pieces are read one after the other,
        however few there are. [s]
    block_s : of each wave of `BLOCK` queries of a head over the device's units: attention's blocks start, read their
        queries and write their results however few keys these see. [s]
    alone : of a block over that, where no heads share keys: such have kernels of their own, without rows to fill.
    chain_s: of each 1,024 steps of a product's sum, which a tile takes one after the other while other tiles stream: of
        kernels that do not split the sum, as those of 4 bits, the least that a product takes. [s]
    """

    start_s: float
    compute: float
    stream: float
    depth_s: float
    block_s: float = 0.0
    chain_s: float = 0.0
    alone: float = 1.0


@lru_cache
def load_calls() -> Mapping[str, Mapping[str, LibraryCall]]:
    """The costs of the shipped profile: kind of kernels -> call -> costs."""
    path = catalog.find(FOLDER, NAME)
    profile: CallsProfile = catalog.convert(catalog.read_yaml(path), CallsProfile, str(path))

    def seconds(text: str) -> float:
        return parse(text, "s", str(path), positive=False)

    return {
        family: {
            name: LibraryCall(
                seconds(call.start),
                call.compute,
                call.stream,
                seconds(call.depth),
                seconds(call.block),
                seconds(call.chain),
                call.alone,
            )
            for name, call in calls.items()
        }
        for family, calls in profile.families.items()
    }


def kernels_of(device: Device) -> str:
    """Which kind of kernels a device runs: its family's.

    Blackwell's boards with GDDR memory have others than its modules (compute capability 12 and 10).
    """
    board = device.profile.family == "blackwell" and "gddr" in str(device.profile.memory.technology)
    return "blackwell-board" if board else str(device.profile.family)


def usual_call(device: Device) -> LibraryCall:
    """The costs that a device's own profile says, where no call of its kind was measured."""
    return LibraryCall(device.launch_s, 1.0, min(device.sustained["bandwidth"] * Passes.of(device).operand, 1.0), 0.0)


def product_call(device: Device, form: str) -> LibraryCall | None:
    """The call of products of a format's weights where an engine runs them; None where none was measured."""
    return load_calls().get(kernels_of(device), {}).get(f"gemm {PRODUCTS.get(form)}")


def attention_call(device: Device, *, reading: bool, cache_bytes: float) -> LibraryCall | None:
    """The call of attention over prompts, or over a cache; None where none was measured.

    Prompts beside an 8-bit cache are attended to in 8 bits throughout; what decodes has half-width queries.
    """
    narrow = cache_bytes <= 1
    name = f"context_attention {'fp8 fp8' if narrow else 'bfloat16 bfloat16'}"
    if not reading:
        name = f"generation_attention bfloat16 {'fp8' if narrow else 'bfloat16'}"
    return load_calls().get(kernels_of(device), {}).get(name)
