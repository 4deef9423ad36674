"""The kernels of a step on a device, before an engine's rates are put on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from simulator.device.device import Device
from simulator.op.kernel import Role
from simulator.op.kernels import Columns, FloatArray, IntArray, Kernels, at_points
from simulator.op.mixer import Mixer
from simulator.precision import Engine as Units
from simulator.roofline.setting import Setting
from simulator.roofline.times import Bound, Times, kernel_times
from simulator.serving.called import attention_times, product_times
from simulator.serving.calls import LibraryCall, attention_call, product_call
from simulator.serving.formats import Format
from simulator.serving.load import Load
from simulator.serving.lowered_group import PRICED, LoweredGroup, attention_group, never_called, with_pairs
from simulator.serving.network import Attending
from simulator.serving.points import FEW_ROWS, decode_columns, expert_columns, filled_to, prefill_columns, weights_of
from simulator.serving.states import reading_columns, stepping_columns
from simulator.serving.work import ExpertGroup, Launches, Work
from simulator.units import FLOPS_PER_MAC

JOINED = 32
"""Tokens from which on experts' kernels have tiles; before, each row reads its expert by itself. Source: llama.cpp,
ggml-metal, ne21_mm_id_min."""

UNPACKED_BYTES = 2.0
"""Of a weight that was widened."""

REMEMBERED = 512
"""Steps of few points that are kept, as fits and queues ask for the same ones again."""

FEW_POINTS = 16


@dataclass(frozen=True)
class KernelChoice:
    """Which kernels an engine has, as far as counts follow it.

    Attributes
    ----------
    calls : whether products and attention are calls of a library whose times are fitted.
    absorbs : whether prompts too attend over latent keys that heads share.
    tile, expert_tile : rows that products of more than a few, and each expert's, are filled up to; None where kernels
        of all sizes are.
    """

    calls: bool = False
    absorbs: bool = False
    tile: int | None = None
    expert_tile: int | None = None


@dataclass(frozen=True, eq=False)
class Lowered:
    """One device's share of a network on that device: its kernels at any load.

    Attributes
    ----------
    cache_bytes : of each number of the cache. [byte]
    """

    work: Work
    device: Device
    form: Format
    cache_bytes: float
    choice: KernelChoice
    _known: dict[bytes, tuple[LoweredGroup, ...]] = field(default_factory=dict)

    def groups(self, load: Load) -> tuple[LoweredGroup, ...]:
        """All kernels of steps with so much in them."""
        if len(load.tokens) > FEW_POINTS:
            return tuple(self._groups(load))
        key = load.key
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = tuple(self._groups(load))
        return self._known[key]

    def _groups(self, load: Load) -> Iterator[LoweredGroup]:
        work = self.work
        yield self._launched(work.token, load.tokens, self._call(self.form.name))
        yield self._launched(work.request, load.requests, self._call(self._head))
        for group in work.experts:
            yield self._of_experts(group, load.tokens)
        for attending, layers in work.attention:
            yield from self._attending(attending.absorbed if self.choice.absorbs else attending, float(layers), load)
        for mixer, layers in work.mixing:
            yield from self._mixing(mixer, float(layers), load)

    @property
    def _head(self) -> str:
        """Format of the projection to the vocabulary."""
        return self.form.name if self.form.output_bytes == self.form.weight_bytes else "bf16"

    def _call(self, form: str) -> LibraryCall | None:
        return product_call(self.device, form) if self.choice.calls else None

    def _launched(self, launches: Launches, number: FloatArray, call: LibraryCall | None) -> LoweredGroup:
        """Kernels that follow one number alone, worked out once for each different one."""
        different, place = np.unique(number, return_inverse=True)
        shape = (len(different), len(launches.columns))
        rows = np.repeat(different, shape[1])
        priced = self._priced(at_points(launches.columns, different), rows, launches.times[:, None], place, call)
        return replace(priced, **{name: getattr(priced, name)[0].reshape(shape).T for name in PRICED})

    def _of_experts(self, group: ExpertGroup, tokens: FloatArray) -> LoweredGroup:
        columns = expert_columns(group, tokens, self.choice.expert_tile)
        place = np.arange(len(tokens))
        # Grouped products have kernels of their own, whose calls are not measured.
        priced = self._priced(columns, np.tile(tokens, 2), np.full((2, 1), float(group.layers)), place, None)
        beside = self._call(self.form.name) is not None
        parts = {name: getattr(priced, name).reshape(2, -1) for name in PRICED}
        rows = columns.flops[0] / (FLOPS_PER_MAC * weights_of(columns))
        each, fill = (values.reshape(2, -1) for values in (np.maximum(rows, 1.0), columns.gemm[0, 0] / rows))
        alone = np.where(tokens < JOINED, each, 1.0)
        own = np.where(tokens > FEW_ROWS, columns.groups.reshape(2, -1), 1.0)
        return replace(
            priced, grouped=beside, mixture=True, sparse=each <= FEW_ROWS, alone=alone, experts=own, fill=fill, **parts
        )

    def _priced(
        self, columns: Columns, rows: FloatArray, number: FloatArray, place: IntArray, call: LibraryCall | None
    ) -> LoweredGroup:
        """Kernels that depend on tokens, all in a row."""
        setting = Setting(self.device, self.form.precision)
        times = _times(filled_to(columns, rows, self.choice.tile), setting)
        compute_s, memory_s = times.seconds[Bound.COMPUTE], times.seconds[Bound.MEMORY]
        product = columns.engine == Units.MATRIX
        few = product & (rows <= FEW_ROWS)
        widened = product & ~few & (columns.read[Role.WEIGHT, 0] < UNPACKED_BYTES * weights_of(columns))
        lanes_s = times.flops / setting.lanes_flop_per_s
        unpack_s = np.where(widened, _unpacking(columns, setting), 0.0)
        called = product if call else np.zeros_like(product)
        own = product_times(columns, compute_s, setting, call) if call else never_called(times)
        return LoweredGroup(
            compute_s=np.where(called, own.compute_s, compute_s)[None],
            memory_s=np.where(called, own.memory_s, memory_s)[None],
            lanes_s=lanes_s[None],
            unpack_s=unpack_s[None],
            flops=times.flops[None],
            traffic_bytes=times.traffic_bytes[None],
            product=product[None],
            few=few[None],
            number=number,
            place=place,
            called=called[None],
            beside_s=own.beside_s[None],
            rate=call.compute if call else 1.0,
        )

    def _attending(self, attending: Attending, layers: float, load: Load) -> Iterator[LoweredGroup]:
        setting = Setting(self.device, self.form.cache_precision(self.cache_bytes))
        for columns, present, reading in (
            (decode_columns(attending, load.decoding, load.context), load.decoding > 0, False),
            (prefill_columns(attending, load.prompts, load.new, load.past), load.prompts > 0, True),
        ):
            if not present.any():
                continue
            call = self._attention_call(attending, reading=reading)
            times = _times(columns, setting)
            own = None
            if call:
                own = attention_times(
                    attending,
                    load,
                    (times.seconds[Bound.COMPUTE], times.traffic_bytes),
                    self.device,
                    call,
                    reading=reading,
                )
            lowered = attention_group(times, present, layers, own, reading=reading)
            sharing = attending.heads // attending.kv_heads
            timed = replace(lowered, rate=call.compute if call else 1.0, sharing=sharing)
            yield with_pairs(timed, attending, load, self.cache_bytes)

    def _attention_call(self, attending: Attending, *, reading: bool) -> LibraryCall | None:
        """None where no such call was measured: decoding over latent keys, which all heads share."""
        if not self.choice.calls or (attending.latent and not reading):
            return None
        return attention_call(self.device, reading=reading, cache_bytes=self.cache_bytes)

    def _mixing(self, mixer: Mixer, layers: float, load: Load) -> Iterator[LoweredGroup]:
        """Layers that keep a state of each request, in the width of activations."""
        setting = Setting(self.device, self.form.cache_precision(self.form.activation_bytes))
        for kernels, present, reading in (
            (stepping_columns(mixer, load.decoding, self.form), load.decoding > 0, False),
            (reading_columns(mixer, load.prompts, load.new, self.form), load.prompts > 0, True),
        ):
            for columns in kernels if present.any() else ():
                yield attention_group(_times(columns, setting), present, layers, reading=reading)


@lru_cache(maxsize=256)
def lowered_on(work: Work, device: Device, form: Format, cache_bytes: float, choice: KernelChoice) -> Lowered:
    """A share of a network on a device; the same object each time."""
    return Lowered(work, device, form, cache_bytes, choice)


def _unpacking(columns: Columns, setting: Setting) -> FloatArray:
    """Widening weights in memory: the narrow ones read, two bytes of each written. [s]

    n x k weights a group; worked example: 4096 x 14336 in 4.5 bits are 33 MB read and 117 MB written.
    """
    read_bytes = columns.read[Role.WEIGHT, 0]
    result: FloatArray = (read_bytes + UNPACKED_BYTES * weights_of(columns)) / setting.bandwidth_byte_per_s
    return result


def _times(columns: Columns, setting: Setting) -> Times:
    number = len(columns)
    every = np.arange(number, dtype=np.int64)
    kernels = Kernels(columns, every, np.zeros(number, dtype=np.int64), np.zeros(number, dtype=bool))
    return kernel_times(kernels, setting, 1.0)


__all__ = ["KernelChoice", "Lowered", "LoweredGroup", "lowered_on"]
