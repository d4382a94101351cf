"""Means over images, and how well they are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdflow.evaluation.libraries import library

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its interval of 95 %.

    Attributes:
        mean: NaN of no value.
        low: NaN of fewer than two values, or of one that is infinite.
        high: As ``low``.
        num: Values that counted.
    """

    mean: float
    low: float
    high: float
    num: int


def mean_interval(values: Sequence[float]) -> Interval:
    """Give the mean over images, and Student's t interval around it.

    It says how the mean would move with other images of the same kind. Set5 has five, where a
    bootstrap is too sure of itself.

    Args:
        values: One for every image; NaN is left out.

    Raises:
        UsageError: scipy is missing.
    """
    known = np.array([value for value in values if not np.isnan(value)])
    if not known.size:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(known.mean())
    if known.size < 2 or not np.isfinite(mean):
        return Interval(mean, np.nan, np.nan, known.size)
    quantile = library("scipy.special").stdtrit(known.size - 1, (1 + _CONFIDENCE) / 2)
    half = float(quantile * known.std(ddof=1) / np.sqrt(known.size))
    return Interval(mean, mean - half, mean + half, known.size)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Give the interval of ``values - baseline``, image by image.

    Two means can be far less certain than their difference, as hard images are hard for both.
    Equal infinities differ by nothing.

    Args:
        values: One for every image.
        baseline: Of the same images, in the same order. A pair with a NaN is left out.

    Raises:
        ValueError: There are not as many.
        UsageError: scipy is missing.
    """
    pairs = zip(values, baseline, strict=True)
    return mean_interval([0.0 if one == other else one - other for one, other in pairs])
