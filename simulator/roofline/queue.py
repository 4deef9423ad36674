"""The queue between host and device: a device that outruns its host waits for it."""

from __future__ import annotations

import numpy as np

from simulator.op.kernels import FloatArray


def waiting_seconds(busy_s: FloatArray, dispatch_s: FloatArray) -> FloatArray:
    """How long the device idles before each kernel, waiting for the host to issue it. [s]

    The host issues kernel i at h_i = sum of dispatch_s up to i, without waiting; the device runs kernels in order, so
    kernel i ends at e_i = max(h_i, e_{i-1}) + busy_i. Unrolled, with C the running sum of busy_s,
    e_i = C_i + max over j <= i of (h_j - C_{j-1}), a running maximum.
    Worked example: busy 1, 1, 5 us and dispatch 3, 3, 3 us: issued at 3, 6, 9; ends at 4, 7, 14; idle 3, 2, 2.

    >>> waiting_seconds(np.array([1.0, 1.0, 5.0]), np.array([3.0, 3.0, 3.0])).tolist()
    [3.0, 2.0, 2.0]

    Parameters
    ----------
    busy_s, dispatch_s : in launch order along the last axis, shapes that broadcast to that of `busy_s`. [s]
    """
    delay = np.cumsum(busy_s, axis=-1)
    np.subtract(busy_s, delay, out=delay)
    delay = delay + np.cumsum(dispatch_s, axis=-1)
    np.maximum(delay, 0.0, out=delay)
    np.maximum.accumulate(delay, axis=-1, out=delay)
    waiting = np.empty_like(delay)
    waiting[..., :1] = delay[..., :1]
    np.subtract(delay[..., 1:], delay[..., :-1], out=waiting[..., 1:])
    return waiting
