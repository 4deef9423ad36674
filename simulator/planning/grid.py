"""The roofline of one step over millions of devices: bandwidths and peaks in a closed form.

A kernel takes max(FLOPs / peak, bytes / bandwidth). Sorted by intensity, those above the ridge peak / bandwidth wait
for the peak and the others for the memory, so that a step is two prefix sums and one search a configuration:

    time = FLOPs of kernels with intensity >= ridge / peak + bytes of the others / bandwidth

once for products, whose peak is the matrix engine's, and once for the rest. Worked example: kernels of (10 FLOP, 10
byte) and (100 FLOP, 10 byte), a peak of 20 FLOP/s, 10 byte/s: the ridge is 2; 100 / 20 + 10 / 10 = 6 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.device.device import Device
from simulator.errors import InputError
from simulator.op.kernels import FloatArray, at_batch
from simulator.pipeline import Options, kernels_of
from simulator.planning.storage import check_disk
from simulator.precision import Engine
from simulator.roofline.traffic import traffic_bytes
from simulator.units import parse
from simulator.workload.workload import Workload

CHUNK = 16_384
"""Configurations evaluated together: what they need stays in a core's cache."""


@dataclass(frozen=True)
class Sorted:
    """Kernels of one engine, sorted by intensity.

    Attributes
    ----------
    intensity : (kernels,). [FLOP/byte]
    bytes_below, flops_above : (kernels + 1,), of the first n kernels and of all but these. [byte], [FLOP]
    """

    intensity: FloatArray
    bytes_below: FloatArray
    flops_above: FloatArray

    def seconds(self, peak: FloatArray, bandwidth: FloatArray) -> FloatArray:
        """Time at each pair of peak and bandwidth, shapes (n,). [s]"""
        place = np.searchsorted(self.intensity, peak / bandwidth)
        result: FloatArray = self.flops_above[place] / peak + self.bytes_below[place] / bandwidth
        return result


def _sorted(flops: FloatArray, moved: FloatArray) -> Sorted:
    order = np.argsort(flops / moved, kind="stable")
    flops, moved = flops[order], moved[order]
    above = np.concatenate([np.cumsum(flops[::-1])[::-1], [0.0]])
    return Sorted(flops / moved, np.concatenate([[0.0], np.cumsum(moved)]), above)


@dataclass(frozen=True)
class ClosedForm:
    """A step's roofline as a function of a device's numbers."""

    matrix: Sorted
    vector: Sorted

    def seconds(self, bandwidth: FloatArray, matrix_peak: FloatArray, vector_peak: FloatArray) -> FloatArray:
        """Step time of each configuration, shapes (n,) or broadcastable, chunk by chunk. [s]"""
        columns = np.broadcast_arrays(bandwidth, matrix_peak, vector_peak)
        flat = [np.ascontiguousarray(column).reshape(-1) for column in columns]
        result = np.empty(flat[0].size)
        for start in range(0, result.size, CHUNK):
            memory, products, rest = (column[start : start + CHUNK] for column in flat)
            result[start : start + CHUNK] = self.matrix.seconds(products, memory) + self.vector.seconds(rest, memory)
        return result.reshape(columns[0].shape)


def closed_form(workload: Workload, device: Device, options: Options) -> ClosedForm:
    """The closed form of a workload's step at a batch, a precision and a traffic model.

    Raises
    ------
    InputError
        For another fidelity, whose times are no sums of two terms.
    """
    if options.fidelity != "roofline":
        raise InputError("only the roofline has a closed form; ask for --fidelity roofline")
    kernels, batch = kernels_of(workload, options, device), float(options.batch or workload.batch)
    columns = kernels.distinct
    times = np.bincount(kernels.row, minlength=len(columns))
    flops = at_batch(columns.flops, batch) * times
    moved = traffic_bytes(columns, options.on(device), batch) * times
    products = columns.engine == Engine.MATRIX
    return ClosedForm(_sorted(flops[products], moved[products]), _sorted(flops[~products], moved[~products]))


def grid(form: ClosedForm, bandwidth: FloatArray, peaks: tuple[FloatArray, FloatArray]) -> Iterator[FloatArray]:
    """Times of every bandwidth with every pair of peaks, a row a bandwidth, shape (peaks,). [s]"""
    matrix, vector = peaks
    for one in bandwidth.tolist():
        yield form.seconds(np.full(matrix.shape, one), matrix, vector)


BANDWIDTH = "memory.bandwidth"


def grid_axes(
    device: Device, options: Options, overrides: Mapping[str, Sequence[str]]
) -> tuple[FloatArray, tuple[FloatArray, FloatArray]]:
    """Bandwidths, and pairs of the matrix and the vector engine's peak, of two axes of a sweep.

    Raises
    ------
    InputError
        If the axes are others than the bandwidth and a peak that the precision runs at.
    """
    setting = options.on(device)
    names = [setting.matrix_peak, setting.vector_peak]
    (peak,) = [key for key in overrides if key != BANDWIDTH] if len(overrides) == 2 else [""]
    if BANDWIDTH not in overrides or peak.removeprefix("peak.") not in names:
        raise InputError(f"the closed form is of {BANDWIDTH} and peak.{names[0]}, found {', '.join(overrides)}")
    changed = _numbers(overrides[peak], device.peak[peak.removeprefix("peak.")], "FLOP/s")
    pair = [changed if f"peak.{name}" == peak else np.full_like(changed, device.peak[name]) for name in names]
    return _numbers(overrides[BANDWIDTH], device.memory.bandwidth_byte_per_s, "byte/s"), (pair[0], pair[1])


def _numbers(texts: Sequence[str], stock: float, unit: str) -> FloatArray:
    """Values, or times of the stock value: "2x"."""
    found = [stock * float(text[:-1]) if text.endswith("x") else parse(text, unit) for text in texts]
    return np.array(found)


def write_grid(
    path: Path, form: ClosedForm, bandwidth: FloatArray, peaks: tuple[FloatArray, FloatArray], names: tuple[str, str]
) -> int:
    """Every configuration of a grid as Parquet, in row groups of one bandwidth each; returns how many.

    names : columns of the bandwidth and of the peak that changes. Memory stays that of one row group.

    Raises
    ------
    InputError
        If pyarrow is not installed, the disk is too small, or the file cannot be written.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise InputError("Parquet needs pyarrow: pip install '.[parquet]'") from None
    check_disk(path, bandwidth.size * peaks[0].size, BYTES_A_ROW)
    changed = peaks[0] if np.ptp(peaks[0]) else peaks[1]
    schema = arrow.schema([(name, arrow.float64()) for name in (*names, "step.time_s")])
    try:
        with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for one, times in zip(bandwidth.tolist(), grid(form, bandwidth, peaks), strict=True):
                columns = [np.full(times.shape, one), changed, times]
                writer.write_table(arrow.table([arrow.array(column) for column in columns], schema=schema))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return int(bandwidth.size * peaks[0].size)


BYTES_A_ROW = 19.0
"""Of a row of three numbers as Parquet keeps it, measured over 10^8 rows."""
