"""What a device file may say: the schema of `hardware_profiles/devices/*.yaml`, as people write it (text with units).

`device.py` turns a profile into a `Device` of plain SI numbers.
"""

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from simulator.causes.registry import coefficients

Grade = Literal["measured", "calibrated", "family default", "datasheet", "assumption"]
GRADES: tuple[Grade, ...] = ("measured", "calibrated", "family default", "datasheet", "assumption")
"""From the most to the least trustworthy; a result is as good as the weakest number it rests on."""

Kind = Literal["cpu", "gpu", "tpu", "npu"]

Rate = Annotated[str, Meta(description="operations a second, such as '14 TFLOP/s' or '130 TOP/s'; dense, not sparse")]
Bandwidth = Annotated[str, Meta(description="bytes a second, such as '900 GB/s'; GB is 1e9 bytes")]
Size = Annotated[str, Meta(description="bytes, such as '16 GiB'; GiB is 2**30 bytes")]
Time = Annotated[str, Meta(description="seconds, such as '4 us'")]
Count = Annotated[int, Meta(gt=0)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A section in which an unknown key is an error."""


class Units(Strict, frozen=True, kw_only=True):
    """The parallel units: streaming multiprocessors, compute units or cores."""

    count: Count | None = None
    lanes: Annotated[int, Meta(gt=0, description="fp32 multiply-add lanes of all units")] | None = None
    matrix: Annotated[int, Meta(gt=0, description="tensor cores or matrix units")] | None = None
    clock: Annotated[str, Meta(description="the clock behind the fp32 peak, such as '1380 MHz'")] | None = None


class Peak(Strict, frozen=True, kw_only=True):
    """Peak rates by number format: vector lanes, and matrix units as `<format>_tensor` (fp32 accumulation, dense)."""

    fp64: Rate | None = None
    fp32: Rate | None = None
    fp16: Rate | None = None
    bf16: Rate | None = None
    int8: Rate | None = None
    fp64_tensor: Rate | None = None
    fp32_tensor: Rate | None = None
    tf32_tensor: Rate | None = None
    fp16_tensor: Rate | None = None
    bf16_tensor: Rate | None = None
    fp8_tensor: Rate | None = None
    int8_tensor: Rate | None = None
    fp4_tensor: Rate | None = None


class MemorySection(Strict, frozen=True, kw_only=True):
    """The main memory: a technology, how much of it, and the totals where the datasheet prints them."""

    technology: (
        Annotated[str, Meta(description="a memory profile, such as 'hbm2'; left out where it is not known")] | None
    ) = None
    stacks: Count | None = None
    channels: Count | None = None
    chips: Count | None = None
    capacity: Size | None = None
    bandwidth: Bandwidth | None = None
    error_correction: Annotated[
        bool,
        Meta(description="codes lie in the memory itself and take part of its bandwidth, as on GDDR server boards"),
    ] = False


class CacheSection(Strict, frozen=True, kw_only=True):
    """The cache in front of the main memory."""

    last_level: Size | None = None
    per_unit: Annotated[str, Meta(description="L1 and shared memory of one unit, such as '128 KiB'")] | None = None
    bandwidth: Annotated[str, Meta(description="bandwidth of the last level, such as '2.5 TB/s'")] | None = None


class LinkSection(Strict, frozen=True, kw_only=True):
    """A link, per direction."""

    type: str
    bandwidth: Annotated[str, Meta(description="bytes a second in one direction, such as '15.75 GB/s'")]
    latency: Time | None = None


class Links(Strict, frozen=True, kw_only=True):
    """Links to the host and to other devices."""

    host: LinkSection | None = None
    peer: LinkSection | None = None


class Sustained(Strict, frozen=True, kw_only=True):
    """Fractions of the peaks that well-written kernels sustain."""

    matrix: Annotated[float, Meta(gt=0, description="of a tensor peak, large GEMM")] | None = None
    matrix_fp32: (
        Annotated[float, Meta(gt=0, description="of the fp32 tensor peak of full width, where it is another")] | None
    ) = None
    matrix_fp8: Annotated[float, Meta(gt=0, description="of the fp8 tensor peak, where it is another")] | None = None
    matrix_fp4: Annotated[float, Meta(gt=0, description="of the fp4 tensor peak, where it is another")] | None = None
    vector: Annotated[float, Meta(gt=0, description="of a vector peak, large GEMM")] | None = None
    bandwidth: Annotated[float, Meta(gt=0, le=1, description="of the memory bandwidth, streaming")] | None = None
    steady: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=1,
                description="of the rate of 16-bit products, where one follows the other for longer than a burst",
            ),
        ]
        | None
    ) = None


if TYPE_CHECKING:

    class KernelCoefficients(Strict, frozen=True, kw_only=True):
        """How kernels fall short of the sustained rates; `causes/` says what each does to a time."""

else:
    KernelCoefficients = msgspec.defstruct(
        "KernelCoefficients",
        [
            (one.name, Annotated[float, Meta(description=one.words, **one.unit.bounds)] | None, None)
            for one in coefficients().values()
        ],
        bases=(Strict,),
        namespace={
            "__doc__": "How kernels fall short of the sustained rates; `causes/` says what each does to a time."
        },
        frozen=True,
        kw_only=True,
    )


class Calls(Strict, frozen=True, kw_only=True):
    """Processors: what a framework's call costs before its work begins, by phase, and a step once."""

    forward: Time
    backward: Time
    update: Time
    step: Time = "0 s"


class Price(Strict, frozen=True, kw_only=True):
    """A dated price."""

    usd_per_hour: Annotated[float, Meta(gt=0)]
    date: str
    note: str | None = None


class Source(Strict, frozen=True, kw_only=True):
    """Where numbers come from: `of` lists key paths ('peak.fp32', or 'memory' for all below it)."""

    of: list[str]
    grade: Grade
    source: Annotated[str, Meta(min_length=1)]


class Coefficients(Strict, frozen=True, kw_only=True):
    """What a family of devices has in common; a device's own file overrides any of them."""

    utilisation: Annotated[float, Meta(gt=0, description="fraction of peak assumed by the napkin estimate")] | None = (
        None
    )
    sustained: Sustained | None = None
    kernel: KernelCoefficients | None = None
    launch: (
        Annotated[str, Meta(description="time from one kernel's end to the next one's start, such as '4 us'")] | None
    ) = None
    start: (
        Annotated[str, Meta(description="processors: starting and joining one core's thread, such as '0.5 us'")] | None
    ) = None
    calls: Calls | None = None
    sources: list[Source] = []


class Energy(Strict, frozen=True, kw_only=True):
    """Energy of a floating-point operation at a clock, its operands' ways on the chip included.

    Other formats take energy in inverse proportion to their peaks.
    """

    clock: Annotated[str, Meta(description="of the processor, such as '1545 MHz'")]
    vector: Annotated[str, Meta(description="fp32 in lanes, such as '11 pJ'")]
    matrix: Annotated[str, Meta(description="16 bits on tensor cores")] | None = None
    steady: (
        Annotated[str, Meta(description="the same with what instructions and caches take, product after product")]
        | None
    ) = None
    top: (
        Annotated[
            str,
            Meta(
                description="clock that lanes reach where the limit allows it, whatever a board is rated at; the "
                "family's rates are of a board rated at `clock`"
            ),
        ]
        | None
    ) = None


class DeviceProfile(Coefficients, frozen=True, kw_only=True):
    """One device: `hardware_profiles/devices/<name>.yaml`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Kind
    description: str
    peak: Peak
    memory: MemorySection
    aliases: list[str] = []
    vendor: str | None = None
    host: Annotated[
        Literal["server", "desktop", "desktop-2023"], Meta(description="the computer it usually sits in")
    ] = "server"
    family: Annotated[str, Meta(description="a file of hardware_profiles/families, such as 'volta'")] | None = None
    year: Annotated[int, Meta(ge=1970, le=2100)] | None = None
    units: Units | None = None
    cache: CacheSection | None = None
    links: Links | None = None
    power: Annotated[str, Meta(description="thermal design power, such as '250 W'")] | None = None
    energy: Annotated[Energy, Meta(description="where its process is not its family's")] | None = None
    price: Price | None = None
    notes: str | None = None


class FamilyProfile(Coefficients, frozen=True, kw_only=True):
    """Default coefficients of a family: `hardware_profiles/families/<name>.yaml`."""

    name: str
    kind: Literal["family"]
    description: str
    energy: Energy | None = None


class MemoryProfile(Strict, frozen=True, kw_only=True):
    """One unit of a memory technology: `hardware_profiles/memories/<name>.yaml`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]*$")]
    kind: Literal["memory"]
    description: str
    unit: Literal["stack", "channel", "chip"]
    bandwidth: Bandwidth
    capacity: Size
    aliases: list[str] = []
    notes: str | None = None
    sources: list[Source] = []
