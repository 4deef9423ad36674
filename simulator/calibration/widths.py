"""The descent that fits widths of intervals: nine of ten errors on each side, and four of five in each group.

Quantile regression alone holds what it claims of all rows together, while groups that lie near hold everything and
groups that lie far pay for it. So the share that is held is also brought to one goal in each group that was left out
of a fit of the times. The error of a group then sets the widths of what it differs in: batch, format, software.

References
----------
Koenker, Bassett, "Regression quantiles", Econometrica 46(1), 1978. doi:10.2307/1913643
Gibbs, Cherian, Candes, "Conformal prediction with conditional guarantees", 2023. arXiv:2305.12616
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.calibration.measurements import device_of
from simulator.calibration.samples import KEYS, Sample, features, group_of, held_of
from simulator.execution.certainty import PROCESSOR
from simulator.op.kernels import FloatArray

TAIL = 0.9
"""Quantile that is fitted on each side: one of ten errors beyond either bound."""

GOAL = 0.835
"""Share that each group should hold: a point above the middle of 75 to 90 %, since less is worse than more."""

GROUPED = 3.0
"""Weight of the squared distance of groups' shares from the goal beside the loss of the quantiles."""

SOFTNESS = 0.15
"""Of a bound in the share that is held, in widths: a logistic function in place of a step, which has no slope."""

LEAST_ROWS = 20
"""Rows of a group from which on its share says anything."""

MOST_ROWS = 50
"""Rows of a group from which on it weighs as much as any."""

MEASURERS = 2.0
"""Weight of groups whose measurer alone was held out, of those of each other way."""

HELD = 0.53
"""Times the share of its clock that a power limit takes from a board, how far its steps lie from the prediction for
that alone: how cool a board is decides, too. Of large fp32 products DeepBench's T4 makes 4.6 TFLOP/s, NeuSight's 3.7,
where the limit takes 0.38 of the rated clock: a fifth apart."""

UNMEASURED = 0.25
"""Logarithm by which a family, or a number format on it, that nobody measured widens: an assumption, since errors of
families left out differ (an RTX 4090's are small, a 5090's are not)."""

WIDENING = ("waiting", "small_batch", "graph", "compiled", "processor", "device", "framework")
"""What can only widen an interval: frameworks that schedule graphs, too, are no surer than those that do not."""

LEAST_WIDTHS = {"batch": -0.4, "narrow_training": 0.2} | dict.fromkeys(WIDENING, 0.0)
"""Logarithms that a width has at least. Batches of 256 and more narrow by so much at most: timm's alone, on GeForce
cards, would say 0.8, with which 69 % of the later rows of TensorFlow's inference at such batches were held. Training at
half width widens by so much: rows of fits would say nothing, but gradients of groups in channels last lie 50 % below to
90 % above the prediction, why is not known; ten of the later rows of timm's training have such."""

STEPS, RATE, SHRINK, START = 300, 0.03, 0.003, -1.7
"""Steps of the descent, the first one's size, which falls to nothing, what draws coefficients to zero, and the base at
first: a sixth."""


@dataclass(frozen=True)
class HeldOutGroups:
    """Samples by what was held out together.

    Attributes
    ----------
    of : group of each sample, (samples,).
    rows : samples of each group, (groups,).
    weight : of each group's share, (groups,), together 1.
    """

    of: NDArray[np.intp]
    rows: FloatArray
    weight: FloatArray

    def mean(self, values: FloatArray) -> FloatArray:
        """Mean over each group, (groups,)."""
        return np.bincount(self.of, values, len(self.rows)) / self.rows

    def spread(self, values: FloatArray) -> FloatArray:
        """What a mean passes back to each sample, (samples,)."""
        result: FloatArray = (values / self.rows)[self.of]
        return result


def groups_of(found: Sequence[Sample]) -> HeldOutGroups:
    """The groups of samples; those of a handful of rows have no weight, measurers twice that of others."""
    keys = [(sample.split, _group(sample), _on_processor(sample)) for sample in found]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    of = np.array([number[key] for key in keys], dtype=np.intp)
    rows = np.bincount(of).astype(float)
    weight = np.minimum(rows / MOST_ROWS, 1.0) * (rows >= LEAST_ROWS)
    weight *= np.array([MEASURERS if split == "measurer" else 1.0 for split, _, _ in number])
    return HeldOutGroups(of, rows, weight / max(weight.sum(), 1.0))


def _on_processor(sample: Sample) -> bool:
    """A measurer's rows on processors are a group of their own: they err by what those on GPUs do not."""
    return device_of(sample.measured.device).kind == PROCESSOR


def _group(sample: Sample) -> str:
    return group_of(sample.split, sample.measured) if sample.split else ""


def weights_of(found: Sequence[Sample]) -> FloatArray:
    """Weight of each sample: each way of holding out as it should weigh, in it each group alike, and its settings.

    How far a measurer, a device or a framework lies from the others is drawn once a group, however many rows it has;
    in a group each (device, workload) setting weighs the same.
    """
    keys = [(sample.split, _group(sample)) for sample in found]
    rows = Counter((key, sample.measured.setting) for key, sample in zip(keys, found, strict=True))
    settings = Counter(key for key, _ in rows)
    groups = Counter(split for split, _ in settings)
    weights = np.array(
        [
            1 / settings[key] / rows[key, sample.measured.setting] / groups[key[0]]
            for key, sample in zip(keys, found, strict=True)
        ]
    )
    return np.asarray(weights / weights.sum())


def descend(found: Sequence[Sample]) -> FloatArray:
    """Coefficients of `KEYS` below and above the prediction, (2, keys), by Adam's descent.

    What was held out can only widen: those coefficients are kept at or above zero. Where a held clock adds h in squares
    to a width w, d log(root(w^2 + h^2)) / d log w is w^2 / (w^2 + h^2).
    """
    design = np.array([[*features(sample).values()] for sample in found])
    error = np.array([sample.error for sample in found])
    held = np.array([[HELD * held_of(sample)] for sample in found])
    apart = np.array([[UNMEASURED * ("family" in sample.unseen)] for sample in found])
    weights, groups = weights_of(found), groups_of(found)
    least = np.array([LEAST_WIDTHS.get(name, -np.inf) for name in KEYS])
    values = np.zeros((2, len(KEYS)))
    values[:, 0] = START
    first, second = np.zeros_like(values), np.zeros_like(values)
    for step in range(1, STEPS + 1):
        fitted = np.exp(design @ values.T + apart)
        widths = np.hypot(fitted, held)
        gradient = (slope(np.log(widths), error, weights, groups) * (fitted / widths) ** 2).T @ design
        gradient[:, 1:] += SHRINK * values[:, 1:]
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        size = RATE * (1 - step / STEPS) / (1 - 0.9**step)
        values = values - size * first / (np.sqrt(second / (1 - 0.999**step)) + 1e-9)
        values = np.maximum(values, least)
    return values


def slope(logarithms: FloatArray, error: FloatArray, weights: FloatArray, groups: HeldOutGroups) -> FloatArray:
    """Derivatives of the loss by the logarithm of each sample's width below and above, (samples, 2).

    logarithms : of the widths, (samples, 2).
    error : logarithm of measured over predicted, (samples,).
    """
    width = np.exp(logarithms)
    beyond = np.stack((-error, error), axis=1)
    quantile = np.where(beyond <= width, 1 - TAIL, -TAIL) * weights[:, None] * width
    inside = 1 / (1 + np.exp(np.clip((beyond / width - 1) / SOFTNESS, -50, 50)))
    share = groups.mean(inside.sum(axis=1) - 1)
    pull = groups.spread(2 * GROUPED * groups.weight * (share - GOAL))
    moved = inside * (1 - inside) * beyond / width / SOFTNESS
    result: FloatArray = quantile + pull[:, None] * moved
    return result
