"""Numbers by which one can tell how a patch of a photo was degraded, chosen by hand.

Each is about noise, sharpness or compression, rather than about what is shown. All are of the
order of one to ten, in dB or octaves where they are sizes.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np

from sdflow.evaluation.libraries import library
from sdflow.evaluation.natural import normalise_contrast, scene_features, tiled
from sdflow.evaluation.planes import GREY, Floats, mixed

FEATURES = (
    "noise_red",  # dB of what a Gaussian of 1 px takes away
    "noise_green",
    "noise_blue",
    "noise_colour",  # correlation of that between the channels: 1 is grey
    "noise_grain_1px",  # its correlation with its neighbour, in luma
    "noise_grain_2px",
    "gradient",  # dB of differences of neighbours
    "gradient_tails",  # log2 of their kurtosis
    "blocks",  # octaves by which the steps every 8 px stand out
    "fine_detail",  # dB of detail between 0 and 1 px to that between 1 and 2
    "coarse_detail",  # dB of detail between 1 and 2 px to that between 2 and 4
    "edge_width",  # log2 of the range over the steepest step, in px
    "scene_shape",  # of ``natural.scene_features``; those of products averaged over directions
    "scene_scale",
    "product_shape",
    "product_mean",
    "product_left",
    "product_right",
)
PATCH_PX = 32

_PATCHES = 16  # of an image
_BLOCK_PX = 8  # JPEG's
_ROUNDING = 1 / 12  # variance of 8 bits' own noise


def patch_features(rgb: Floats) -> Floats:
    """Measure up to 16 patches, evenly spread over the grid of 32 px.

    Args:
        rgb: (H, W, 3), 8-bit levels.

    Returns:
        (patches, 18) float64, in the order of ``FEATURES``; patches without a pixel above or
        below their surroundings (flat ones) are left out.
    """
    num_cells = (rgb.shape[0] // PATCH_PX) * (rgb.shape[1] // PATCH_PX)
    if not num_cells:
        return np.empty((0, len(FEATURES)))
    chosen = np.linspace(0, num_cells - 1, min(num_cells, _PATCHES)).round().astype(int)

    def patches(plane: Floats) -> Floats:
        cut: Floats = tiled(plane, PATCH_PX)[chosen]
        return cut

    luma = mixed(rgb, GREY)[0]
    noise = np.moveaxis(rgb - _blurred(rgb, (1, 1, 0)), 2, 0)
    blurs = [luma, *(_blurred(luma, sigma) for sigma in (1, 2, 4))]
    bands = [patches(fine - coarse) for fine, coarse in pairwise(blurs)]
    scene = scene_features(patches(normalise_contrast(luma)[0]))
    columns = [
        *_noise(np.stack([patches(plane) for plane in noise])),
        *(_grain(bands[0], lag) for lag in (1, 2)),
        *_gradients(patches(luma)),
        *(_decibels(one) - _decibels(other) for one, other in pairwise(bands)),
        _edge_width(patches(luma)),
        *scene[:, :2].T,
        *scene[:, 2:].reshape(len(scene), -1, 4).mean(axis=1).T,
    ]
    features = np.stack(columns, axis=1)
    known: Floats = features[np.isfinite(features).all(axis=1)]
    return known


def _noise(residual: Floats) -> list[Floats]:
    """Of (3, patches, h, w): dB of every channel, and their mean correlation."""
    pairs = combinations(residual - residual.mean(axis=(2, 3), keepdims=True), 2)
    correlations = [
        (one * other).mean(axis=(1, 2)) / np.sqrt(_power(one) * _power(other))
        for one, other in pairs
    ]
    return [*map(_decibels, residual), np.mean(correlations, axis=0)]


def _grain(residual: Floats, lag: int) -> Floats:
    across = (residual[:, :, lag:] * residual[:, :, :-lag]).mean(axis=(1, 2))
    down = (residual[:, lag:] * residual[:, :-lag]).mean(axis=(1, 2))
    grain: Floats = (across + down) / 2 / _power(residual)
    return grain


def _gradients(luma: Floats) -> list[Floats]:
    """Of (patches, h, w): dB of steps, log2 of their kurtosis, blocks in octaves."""
    steps = [np.diff(luma, axis=1), np.diff(luma, axis=2).swapaxes(1, 2)]
    power = np.mean([(step**2).mean(axis=(1, 2)) for step in steps], axis=0)
    fourth = np.mean([(step**4).mean(axis=(1, 2)) for step in steps], axis=0)
    kurtosis = (fourth + 3 * _ROUNDING**2) / (power + _ROUNDING) ** 2
    blocks = np.mean([_blocks(np.abs(step)) for step in steps], axis=0)
    return [10 * np.log10(power + _ROUNDING), np.log2(kurtosis), blocks]


def _blocks(steps: Floats) -> Floats:
    """Of (patches, 31, w): how far the strongest of eight phases is above the mean of all.

    Any phase, since a crop may begin anywhere.
    """
    rows = steps.mean(axis=2)
    phases = np.stack([rows[:, phase::_BLOCK_PX].mean(axis=1) for phase in range(_BLOCK_PX)])
    floor = np.sqrt(_ROUNDING)
    octaves: Floats = np.log2((phases.max(axis=0) + floor) / (phases.mean(axis=0) + floor))
    return octaves


def _edge_width(luma: Floats) -> Floats:
    steepest = np.maximum(
        np.abs(np.diff(luma, axis=1)).max(axis=(1, 2)),
        np.abs(np.diff(luma, axis=2)).max(axis=(1, 2)),
    )
    width: Floats = np.log2((np.ptp(luma, axis=(1, 2)) + 1) / (steepest + 1))
    return width


def _power(patches: Floats) -> Floats:
    power: Floats = patches.var(axis=(1, 2)) + _ROUNDING
    return power


def _decibels(patches: Floats) -> Floats:
    decibels: Floats = 10 * np.log10(_power(patches))
    return decibels


def _blurred(planes: Floats, sigma_px: float | tuple[int, ...]) -> Floats:
    blurred: Floats = library("scipy.ndimage").gaussian_filter(planes, sigma_px)
    return blurred
