"""HaarPSI: how alike two images look, from Haar wavelets alone.

Reisenhofer, Bosse, Kutyniok, Wiegand: A Haar wavelet-based perceptual similarity index for image
quality assessment, Signal Processing: Image Communication 61, 2018. Equations are of there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.evaluation.libraries import library
from sdflow.evaluation.planes import level_pair, mixed

if TYPE_CHECKING:
    from sdflow.evaluation.planes import Floats, Image

_C = 30.0
_ALPHA = 4.2
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_SCALES = (1, 2, 3)  # the two finest are compared, the third weighs them


def haarpsi(image: Image, reference: Image) -> float:
    """Give HaarPSI of two colour images, symmetric in them.

    Args:
        image: What was made.
        reference: The truth, of the same size. Both are halved first, as in the paper.

    Returns:
        In [0, 1], 1 for equal images; NaN for flat ones, where no edge has a weight.

    Raises:
        UsageError: The sizes differ, or scipy is missing.
    """
    pair = [_halved(mixed(rgb, _YIQ)) for rgb in level_pair(image, reference)]
    luma, *chroma = zip(*pair, strict=True)
    similarities, weights = [], []
    for axis in (0, 1):
        one, other = ([_haar(plane, scale, axis) for scale in _SCALES] for plane in luma)
        local = [_similarity(*bands) for bands in zip(one[:2], other[:2], strict=True)]
        similarities.append(_sigmoid(np.mean(local, axis=0)))
        weights.append(np.maximum(one[2], other[2]))
    local = [_similarity(*(np.abs(_mean_of_four(plane)) for plane in planes)) for planes in chroma]
    similarities.append(_sigmoid(np.mean(local, axis=0)))
    weights.append(np.mean(weights, axis=0))
    total = float(np.sum(weights))
    if not total:
        return float("nan")
    mean = float(np.sum(np.multiply(similarities, weights))) / total
    return float((np.log(mean / (1 - mean)) / _ALPHA) ** 2)  # eq. 12 with the inverse of eq. 9


def _similarity(one: Floats, other: Floats) -> Floats:
    """Eq. 8: in (0, 1] for what is not negative."""
    return (2 * one * other + _C) / (one**2 + other**2 + _C)


def _sigmoid(values: Floats) -> Floats:
    return 1 / (1 + np.exp(-_ALPHA * values))


def _haar(plane: Floats, scale: int, axis: int) -> Floats:
    """Magnitudes of Haar coefficients of 2^scale px, at every position; zero outside."""
    side = 2**scale
    step = np.repeat((1.0, -1.0), side // 2)
    filtered = _correlated(_correlated(plane, np.ones(side), 1 - axis), step, axis)
    magnitudes: Floats = np.abs(filtered) / side
    return magnitudes


def _mean_of_four(plane: Floats) -> Floats:
    half = np.full(2, 0.5)
    return _correlated(_correlated(plane, half, 0), half, 1)


def _halved(planes: Floats) -> list[Floats]:
    return [_mean_of_four(plane)[::2, ::2] for plane in planes]


def _correlated(plane: Floats, weights: Floats, axis: int) -> Floats:
    # an even filter begins half its length before, less one, as MATLAB's conv2 "same" has it
    result: Floats = library("scipy.ndimage").correlate1d(
        plane, weights, axis=axis, mode="constant", origin=-1
    )
    return result
