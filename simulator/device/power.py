"""What a board's power limit and its error correction leave of the rates of its family.

A board runs at the clock at which its static power, its memory's and its lanes' together stay within the limit. The
power of lanes is their rate times the energy of an operation; since the voltage falls with the clock, that energy falls
about in proportion to it, and the power with its square. Most boards of 250 W and more keep their rated clock; cards of
70 W do not.

    static + memory + operations/s x energy(clock) <= limit,    energy(clock) = energy(rated) x clock / rated

Worked: a T4 of 40 units, 70 W and 8.1 TFLOP/s at 1590 MHz. Static 15 + 40 x 0.35 = 29 W; a quarter of 320 GB/s at 60 pJ
a byte 4.8 W; left 36.2 W. At the rated clock its lanes take 8.1e12 x 11.4 pJ x 1590/1545 = 95 W, so that the clock is
held to the root of 36.2/95, 0.62: 980 MHz. In DeepBench's fp32 GEMMs it keeps 0.57 of its peak, its family 0.92.

A GeForce card runs above the clock that it is sold with, a Titan or Quadro of the same chip at its own: their lanes
reach about the same clock, which their stated peaks do not tell (`_highest`).

Products are timed in bursts of some milliseconds, which end before the limiter has seen them; in a step one follows the
other, and the clock comes down to what the limit allows. The energy of an operation is then that of all that keeps the
units busy: operands, registers, instructions. An A100 of 400 W makes 251 to 257 TFLOP/s of products of 8,192 and more
after 10,000 others, on random numbers, where bursts reach 277 to 285; an H100 and an H200 make 706 to 747 in products
of more than 3 ms, where shorter ones reach 770 to 855. Boards of 70 to 350 W are held most: BERT large in int8 has
0.55 of an A100 SXM's share of the peak on a T4, 0.79 on an A10, 0.80 on an L40S (MLPerf inference). Chips of one
process and way of feeding their tensor cores share these energies, whatever their family's name: a device may have its
own.
Rates of convolutions are those of whole steps, which have been held already, as are rates in 8 bits where long products
in 8 bits were timed, and those of a B200's long products.

Error correction of GDDR memory has no chips of its own: its codes lie in the same memory and take part of its
bandwidth.

Reference: Dennard et al., "Design of ion-implanted MOSFET's", IEEE J. Solid-State Circuits 9(5), 1974 (dynamic power is
capacitance x voltage^2 x frequency). doi:10.1109/JSSC.1974.1050511
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import sqrt

import msgspec

from simulator.device.profile import DeviceProfile, Energy, FamilyProfile, MemorySection
from simulator.units import parse

STATIC_W, UNIT_W = 15.0, 0.35
"""Power of a board that computes nothing at its rated clock, and of each of its units: a T4 of 40 units shows 27 W in
that state, an L4 of 58 30 W, an A100 of 108 55 W, an RTX 4090 of 128 60 W (nvidia-smi, from memory). [W]"""

GEMM_TRAFFIC = 0.25
"""Share of the bandwidth that large products use: an assumption; it decides 2 to 25 W."""

HBM_J, GDDR_J = 31e-12, 60e-12
"""Energy of a byte moved: HBM2 3.9 pJ a bit (O'Connor et al., "Fine-Grained DRAM", MICRO 2017), GDDR6 about 7.5
(Micron's technical note, from memory). [J]"""

CORRECTION = 0.87
"""Bandwidth of GDDR memory with error correction over that without: BabelStream's triad on a K40c, 191 of 221 GB/s.
FluidX3D agrees: of their bandwidth an A10 and an A40 reach 0.75, an RTX 3090 0.89 and an RTX A4000 0.85; an L4 0.76, an
RTX 4090 0.85."""


SLOWEST = 0.1
"""The least clock that a board goes down to, of its rated one: 210 MHz of 1,410 to 2,520 on A100 to RTX 4090."""


class Limit(msgspec.Struct, frozen=True):
    """What is left of a sustained rate of the family, and why."""

    share: float
    why: str


def limits(
    profile: DeviceProfile, family: FamilyProfile | None, peaks: Mapping[str, float], bandwidth: float
) -> Iterator[tuple[str, Limit]]:
    """Name of a sustained rate ("vector", "matrix", "bandwidth") and what a device has of its family's, where less.

    "steady" is the share of the rated clock that products keep which follow each other for long.

    Parameters
    ----------
    family : with the energy of an operation; no clock is limited without it.
    peaks : of the device. [FLOP/s]
    bandwidth : of its memory. [byte/s]
    """
    if profile.memory.error_correction:
        why = f"error correction in the same memory leaves {CORRECTION} of its bandwidth (BabelStream, K40c)"
        yield "bandwidth", Limit(CORRECTION, why)
    used = energy_of(profile, family)
    if used is None or profile.power is None or profile.units is None:
        return
    limit_w, left_w = parse(profile.power, "W"), power_of_lanes(profile, bandwidth)
    highest = _highest(profile, used)
    for name, peak, energy in (
        ("vector", peaks.get("fp32"), used.vector),
        ("matrix", peaks.get("fp16_tensor"), used.matrix),
        ("steady", peaks.get("fp16_tensor"), used.steady),
    ):
        if peak is None or energy is None:
            continue
        needed_w = peak * parse(energy, "J") * rated_clock(profile, used)
        share = max(sqrt(max(left_w, 0.0) / needed_w), SLOWEST) if needed_w > left_w else 1.0
        if name == "vector" and highest < share:
            yield name, Limit(highest, f"lanes of its family reach {used.top}, whatever a board is rated at")
        elif share < 1:
            yield name, Limit(share, f"{limit_w:.0f} W hold its clock to {share:.2f} of the rated one")


def _highest(profile: DeviceProfile, energy: Energy) -> float:
    """What a board's lanes have of its family's rates by the clocks alone: those are of one rated at another clock.

    Worked example: an RTX 2080 Ti rated at 1545 MHz runs its lanes at 1760, a Titan RTX rated at 1770 at 1770: of the
    peaks that they are sold with the second reaches 1545/1760 = 0.88 of what the first does.
    """
    if energy.top is None:
        return 1.0
    raised, rated = parse(energy.top, "Hz") / parse(energy.clock, "Hz"), rated_clock(profile, energy)
    return min(1.0, max(raised, rated) / rated / raised)


def power_of_lanes(profile: DeviceProfile, bandwidth: float) -> float:
    """What a board's limit leaves for computing in a large product. [W]"""
    count = (profile.units.count if profile.units else None) or 0
    return (
        parse(profile.power or "0 W", "W", positive=False)
        - STATIC_W
        - UNIT_W * count
        - GEMM_TRAFFIC * bandwidth * memory_energy(profile.memory)
    )


def memory_energy(memory: MemorySection) -> float:
    """Energy of a byte that a memory moves, by its technology. [J]"""
    return HBM_J if (memory.technology or "").startswith("hbm") else GDDR_J


def energy_of(profile: DeviceProfile, family: FamilyProfile | None) -> Energy | None:
    """Energies of a device's operations: its own, else its family's."""
    return profile.energy or (family.energy if family else None)


def rated_clock(profile: DeviceProfile, energy: Energy) -> float:
    """A device's rated clock over the one that the energies are of."""
    if profile.units is None or profile.units.clock is None:
        return 1.0
    return parse(profile.units.clock, "Hz") / parse(energy.clock, "Hz")
