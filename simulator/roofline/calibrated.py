"""The calibrated fidelity: the causes that keep kernels from the datasheet's peaks, put together."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simulator.causes.cache import Cache
from simulator.causes.passes import Passes
from simulator.device.device import Device
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, FloatArray, at_batch
from simulator.op.views import KEPT, activations, matrix_part
from simulator.precision import Engine, Role
from simulator.roofline.depthwise import large_depthwise_seconds
from simulator.roofline.fourier import fourier_seconds
from simulator.roofline.gradients import gradients_slower
from simulator.roofline.products import (
    many_filters_seconds,
    off_tensor_cores_seconds,
    poor_groups_seconds,
    product_seconds,
)
from simulator.roofline.setting import GRAPHICS, Setting
from simulator.roofline.winograd import winograd_seconds


def calibrated_seconds(
    columns: Columns, setting: Setting, batch: FloatArray | float, moved_bytes: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Seconds that each distinct kernel computes and moves data, shape (kernels,) or (batches, kernels)."""
    moved_bytes = moved_bytes - setting.width * at_batch(_skipped(columns), batch)
    memory_s = _moving_seconds(columns, setting, moved_bytes)
    compute_s = _walks(columns, setting) * at_batch(columns.flops, batch) / setting.lanes_flop_per_s
    if setting.path.channel_operations:
        compute_s = np.maximum(compute_s, _finding_channels(columns, setting, batch))
    matrix, part = matrix_part(columns)
    if len(matrix):
        moving_s = memory_s[..., matrix]
        compute_s[..., matrix], memory_s[..., matrix] = _product_seconds(part, setting, batch, moving_s)
    slower = gradients_slower(columns, setting)
    return (compute_s, memory_s) if slower is None else (compute_s * slower, memory_s * slower)


def _walks(columns: Columns, setting: Setting) -> FloatArray:
    """Operations in place of each that a kernel counts, (kernels,): pooling also finds each value of its windows.

    Worked example: under XLA at 100 for each, 9 x 2 million values of Inception v3's windows of averages take 0.12 ms
    an image on a board of 15 TFLOP/s, a quarter of what its inference takes there at half width.
    """
    result: FloatArray = np.where(columns.op_class == OpClass.POOLING, setting.path.windows, 1.0)
    return result


MOST_SCALING = 4
"""Operations a value of a scale and shift, an addition and an activation: layer and local norms take more."""


def _finding_channels(columns: Columns, setting: Setting, batch: FloatArray | float) -> FloatArray:
    """Seconds in which normalisation at inference finds the channel of each value, by two divisions of its place. [s]

    Worked example: 200 operations for each of 0.8 million values, the first of ResNet-50, are 0.16 GFLOP, 10 us an
    image at 15.7 TFLOP/s, whatever the format; moving them takes 7.1 us at fp32 and 0.9 TB/s, 3.6 at half width.
    """
    values = columns.write[Role.ACTIVATION]
    training = (columns.phase == Phase.WEIGHT_GRADIENT).any()
    scales = (columns.op_class == OpClass.NORMALIZATION) & (columns.flops <= MOST_SCALING * values).all(axis=0)
    found = np.where(scales & (columns.phase == Phase.FORWARD) & ~training, values, 0.0)
    return setting.path.channel_operations * at_batch(found, batch) / setting.full_width_flop_per_s


def _moving_seconds(columns: Columns, setting: Setting, moved_bytes: FloatArray) -> FloatArray:
    """Seconds of moving data, the shape of `moved_bytes`."""
    device = setting.device
    efficiency = np.minimum(device.sustained["bandwidth"] * class_efficiency(columns, setting), 1.0)
    memory_s = uncached_bytes(moved_bytes, setting) / (device.memory.bandwidth_byte_per_s * efficiency)
    result: FloatArray = memory_s * np.where(columns.engine == Engine.VECTOR, setting.path.elementwise, 1.0)
    return result


def _product_seconds(
    part: Columns, setting: Setting, batch: FloatArray | float, moving_s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Seconds that products compute and move data, in lanes or on tensor cores, as the library would choose.

    moving_s : without copies into another layout. [s]
    """
    path, convolution = setting.path, part.op_class == OpClass.CONVOLUTION
    own = path.on_families.get(str(setting.device.profile.family), 1.0)
    rate = own * np.where(convolution, path.convolution, path.products)
    rate = np.where(part.op_class == OpClass.ATTENTION, attention_rate(setting) * _backward(part, setting.device), rate)
    if setting.on_tensor_cores and not convolution.any():
        # Convolutions alone have an algorithm or a library that leaves the tensor cores.
        return product_seconds(part, setting, batch, tensor=True) / rate, moving_s
    direct_s = product_seconds(part, setting, batch, tensor=False)
    transformed_s = np.minimum(winograd_seconds(part, setting, batch), fourier_seconds(part, setting, batch))
    lanes_s = np.minimum(direct_s, transformed_s) / rate
    if not setting.on_tensor_cores:
        for poor_s in (poor_groups_seconds(part, setting, batch), many_filters_seconds(part, setting, batch)):
            lanes_s = np.where(np.isnan(poor_s), lanes_s, poor_s / rate)
        return lanes_s, moving_s
    last = path.layout == "channels last"
    moving_s = moving_s + large_depthwise_seconds(part, setting, batch)
    copies_s = 0.0 if last else path.transposes * _transposes(part, batch) / setting.bandwidth_byte_per_s
    cores_s = product_seconds(part, setting, batch, tensor=True, channels_last=last)
    elsewhere_s = off_tensor_cores_seconds(part, setting, batch, direct_s)
    on_cores = np.isnan(elsewhere_s)
    lanes_s = np.where(on_cores, lanes_s, elsewhere_s / rate)
    cores_s = np.where(on_cores, cores_s / rate + copies_s, np.inf)
    slower = convolution & (np.maximum(lanes_s, moving_s) < np.maximum(cores_s, moving_s + copies_s))
    return np.where(slower, lanes_s, cores_s), np.where(slower, moving_s, moving_s + copies_s)


AMPERES_ON_HOPPER = 0.62
"""Rate of Hopper's matrix units under Ampere's instructions (mma) over that under its own (wgmma). Source: Luo et al.,
"Benchmarking and Dissecting the Nvidia Hopper GPU Architecture", 2024, arXiv 2402.13499, table 8."""


ATTENTION_BACKWARD = 0.85
"""Rate of fused attention's backward kernel over that of its products at the forward kernel's: five products share the
registers, and queries' gradients are added up in memory. Flash attention 2 reaches 0.73 of an A100's peak forward and
0.63 backward (Dao, 2023, arXiv 2307.08691, section 4.1), 3 reaches 0.75 and 0.56 of an H100's (Shah et al., 2024, arXiv
2407.08608, section 4.1); forward kernels here are a tenth slower than those."""


def _backward(columns: Columns, device: Device) -> FloatArray:
    held = (columns.phase == Phase.INPUT_GRADIENT) & (device.kind == GRAPHICS)
    result: FloatArray = np.where(held, ATTENTION_BACKWARD, 1.0)
    return result


def attention_rate(setting: Setting) -> float:
    """Rate of a framework's fused attention over that of the kernels that the device was calibrated with."""
    older = setting.device.profile.family == "hopper" and not setting.path.hopper_attention
    return setting.path.attention * (AMPERES_ON_HOPPER if older else 1.0)


@lru_cache(maxsize=KEPT)
def _skipped(columns: Columns) -> FloatArray:
    """Inputs in rows that no window of a convolution meets, (2, kernels): half of them for 1 x 1 with a stride of 2.

    Within a row, what lies between the windows comes with the same lines of the cache.
    """
    met = np.minimum(columns.window[0] / np.maximum(columns.window[2], 1), 1)
    reads_inputs = (columns.op_class == OpClass.CONVOLUTION) & (columns.phase != Phase.INPUT_GRADIENT)
    result: FloatArray = columns.read[Role.ACTIVATION] * np.where(reads_inputs, 1 - met, 0.0)
    return result


def _transposes(columns: Columns, batch: FloatArray | float) -> FloatArray:
    """Bytes of copying a convolution's activations into channels-last layout and back: each is read and written.

    Tensor cores take no other layout; frameworks that keep channels first pay for it. A window of 1 x 1 without stride
    is a plain product, which has kernels for either layout. Values go one by one, so that narrow ones take as long as
    those of 4 bytes.
    """
    moved = 2 * 4 * at_batch(activations(columns), batch)
    windows = columns.window[:4].max(axis=0) > 1
    return np.where((columns.op_class == OpClass.CONVOLUTION) & windows & ~columns.last, moved, 0.0)


@lru_cache(maxsize=KEPT)
def class_efficiency(columns: Columns, setting: Setting) -> FloatArray:
    """Fraction of the sustained bandwidth that each kernel's class reaches, as `Passes` says."""
    path = setting.path
    return setting.cause(Passes).efficiency(columns, setting.width, compiled=path.fuses, walks=path.walks_windows)


def uncached_bytes(moved_bytes: FloatArray, setting: Setting) -> FloatArray:
    """Traffic in units of main memory's: what the last kernel left in the cache comes faster."""
    return setting.cause(Cache).uncached_bytes(moved_bytes, setting.device.cache_bytes, setting.device.cache_speedup)
