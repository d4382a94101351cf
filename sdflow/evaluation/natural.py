"""Statistics of natural scenes: contrast-normalised pixels and the shapes they are spread in.

Mittal, Soundararajan, Bovik: Making a "completely blind" image quality analyzer, IEEE Signal
Processing Letters 20(3), 2013 (NIQE). Equations are of there.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from sdflow.evaluation.libraries import library
from sdflow.evaluation.planes import Floats

_SIGMA_PX = 7 / 6
_RADIUS_PX = 3
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to the right, below, and both diagonals
NUM_FEATURES = 2 + 4 * len(_NEIGHBOURS)


def normalise_contrast(plane: Floats) -> tuple[Floats, Floats]:
    """Take away the local mean and divide by the local deviation (eq. 1 to 3).

    The window is a Gaussian of 7 x 7 px; beyond the border the last pixel is repeated.

    Args:
        plane: (H, W), 8-bit levels.

    Returns:
        MSCN coefficients and the local standard deviation in levels, (H, W) each.
    """
    mean, of_squares = _blurred(plane), _blurred(plane**2)
    deviation = np.sqrt(np.abs(of_squares - mean**2))
    return (plane - mean) / (deviation + 1), deviation


def tiled(plane: Floats, side: int) -> Floats:
    """Cut (H, W) into patches side by side, from the top left.

    Returns:
        (patches, side, side), row by row; what does not fill a patch is left out.
    """
    rows, columns = (length // side for length in plane.shape)
    cells = plane[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return cells.swapaxes(1, 2).reshape(-1, side, side)


def scene_features(patches: Floats) -> Floats:
    """Fit generalised Gaussians to the coefficients of patches and to products of neighbours.

    Args:
        patches: (patches, h, w) of MSCN coefficients.

    Returns:
        (patches, 18): shape and mean scale of the coefficients; then shape, mean, left and right
        scale of the products to the right, below and on the two diagonals. NaN where a patch has
        nothing on one side of zero.
    """
    shape, _, left, right = _fitted(patches)
    features = [shape, (left + right) / 2]
    for down, across in _NEIGHBOURS:
        features += _fitted(_neighbour_products(patches, down, across))
    return np.stack(features, axis=1)


def _neighbour_products(patches: Floats, down: int, across: int) -> Floats:
    height, width = patches.shape[1:]
    left = max(-across, 0)
    here = patches[:, : height - down, left : width - max(across, 0)]
    there = patches[:, down:, left + across : width + min(across, 0)]
    return here * there


def _fitted(patches: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Asymmetric generalised Gaussians by moments (eq. 5 to 8): shape, mean, left, right scale.

    Lasmar, Stitou, Berthoumieu: Multiscale skewed heavy tailed model for texture analysis, 2009.
    """
    values = patches.reshape(len(patches), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (
            np.sqrt(np.sum(values**2, axis=1, where=side) / np.sum(side, axis=1))
            for side in (values < 0, values > 0)
        )
        ratio = left / right
        moments = np.mean(np.abs(values), axis=1) ** 2 / np.mean(values**2, axis=1)
        asymmetric = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, ratios = _shape_table()
    shape = np.interp(asymmetric, ratios, shapes)
    log_gamma = library("scipy.special").gammaln
    one, two, three = (log_gamma(order / shape) for order in (1, 2, 3))
    unit = np.exp((one - three) / 2)
    left, right = left * unit, right * unit
    mean = (right - left) * np.exp(two - one)
    return shape, mean, left, right


@cache
def _shape_table() -> tuple[Floats, Floats]:
    """Shapes from 0.2 to 10, and the ratio of squared first to second moment, which grows."""
    log_gamma = library("scipy.special").gammaln
    shapes = np.arange(0.2, 10.0005, 0.001)
    one, two, three = (log_gamma(order / shapes) for order in (1, 2, 3))
    return shapes, np.exp(2 * two - one - three)


def _blurred(plane: Floats) -> Floats:
    blurred: Floats = library("scipy.ndimage").gaussian_filter(
        plane, _SIGMA_PX, radius=_RADIUS_PX, mode="nearest"
    )
    return blurred
