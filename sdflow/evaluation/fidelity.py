"""How close an image is to the truth, pixel by pixel and in its structure.

The convention of the super-resolution papers: Y of BT.601 (16 to 235, as MATLAB's ``rgb2ycbcr``,
not rounded), four pixels of border left out, peak 255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from sdflow.evaluation.libraries import library
from sdflow.evaluation.planes import PEAK, level_pair, limited_luma

if TYPE_CHECKING:
    from sdflow.evaluation.planes import Floats, Image

Channel: TypeAlias = Literal["y", "rgb"]
BORDER_PX = 4

_SIGMA_PX = 1.5
_RADIUS_PX = 5  # of the 11 x 11 window of Wang et al. 2004
_TRUNCATE = 3.5  # in sigmas: scikit-image's, which gives that radius
_SMALLEST_PX = 2 * _RADIUS_PX + 1
_C1 = (0.01 * PEAK) ** 2
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003
SMALLEST_MULTISCALE_PX = _SMALLEST_PX * 2 ** (len(_SCALE_WEIGHTS) - 1)


def psnr(
    image: Image, reference: Image, *, channel: Channel = "y", border_px: int = BORDER_PX
) -> float:
    """Peak signal-to-noise ratio.

    Args:
        image: What was made.
        reference: The truth, of the same size.
        channel: Y alone, or the three of RGB together.
        border_px: Left out at every side.

    Returns:
        dB; inf for equal images, NaN where the border leaves nothing.

    Raises:
        UsageError: The sizes differ.
    """
    one, other = _measured(image, reference, channel, border_px)
    if one.size == 0:
        return float("nan")
    error = float(np.mean((one - other) ** 2))
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def consistency(downscaled: Image, lr: Image) -> float:
    """PSNR over all of RGB between an LR image and its upscaled image made small again.

    Returns:
        dB; inf for equal images.

    Raises:
        UsageError: The sizes differ.
    """
    return psnr(downscaled, lr, channel="rgb", border_px=0)


def ssim(
    image: Image, reference: Image, *, channel: Channel = "y", border_px: int = BORDER_PX
) -> float:
    """Structural similarity (Wang et al. 2004), by scikit-image: 11 x 11 Gaussian of 1.5 px.

    Args:
        image: What was made.
        reference: The truth, of the same size.
        channel: Y alone, or the mean of R, G and B.
        border_px: Left out at every side.

    Returns:
        In [-1, 1], 1 for equal images; NaN where fewer than 11 px are left.

    Raises:
        UsageError: The sizes differ, or scikit-image is missing.
    """
    one, other = _measured(image, reference, channel, border_px)
    if min(one.shape[:2]) < _SMALLEST_PX:
        return float("nan")
    return float(np.mean([_similarity(*pair) for pair in _by_channel(one, other)]))


def ms_ssim(
    image: Image, reference: Image, *, channel: Channel = "y", border_px: int = BORDER_PX
) -> float:
    """Multi-scale structural similarity (Wang et al. 2003, eq. 7) with the five weights of there.

    Every scale is the mean of 2 x 2 pixels of the one before, an odd last row or column left out.
    The window has to fit the fifth; fewer scales would be another measure, so a smaller image has
    no value. A negative
    structure (an inverted image) counts as 0.

    Args:
        image: What was made.
        reference: The truth, of the same size.
        channel: Y alone, or the mean of R, G and B.
        border_px: Left out at every side.

    Returns:
        In [0, 1], 1 for equal images; NaN where fewer than 176 px are left.

    Raises:
        UsageError: The sizes differ, or scikit-image is missing.
    """
    one, other = _measured(image, reference, channel, border_px)
    if min(one.shape[:2]) < SMALLEST_MULTISCALE_PX:
        return float("nan")
    return float(np.mean([_multiscale(*pair) for pair in _by_channel(one, other)]))


def _measured(
    image: Image, reference: Image, channel: Channel, border_px: int
) -> tuple[Floats, Floats]:
    """Two arrays of (H, W, 1 or 3), without the border."""
    one, other = level_pair(image, reference)
    if channel == "y":
        one, other = limited_luma(one)[..., None], limited_luma(other)[..., None]
    rows, columns = (slice(border_px, max(side - border_px, 0)) for side in one.shape[:2])
    return one[rows, columns], other[rows, columns]


def _by_channel(one: Floats, other: Floats) -> zip[tuple[Floats, Floats]]:
    return zip(np.moveaxis(one, 2, 0), np.moveaxis(other, 2, 0), strict=True)


def _similarity_map(one: Floats, other: Floats) -> Floats:
    _, similarity = library("skimage.metrics").structural_similarity(
        one,
        other,
        gaussian_weights=True,
        sigma=_SIGMA_PX,
        use_sample_covariance=False,
        data_range=PEAK,
        full=True,
    )
    return _inner(similarity)


def _similarity(one: Floats, other: Floats) -> float:
    return float(_similarity_map(one, other).mean())


def _multiscale(one: Floats, other: Floats) -> float:
    product = 1.0
    for weight in _SCALE_WEIGHTS[:-1]:
        structure = _similarity_map(one, other) / _luminance_map(one, other)
        product *= max(float(structure.mean()), 0.0) ** weight
        one, other = _halved(one), _halved(other)
    return float(product * max(_similarity(one, other), 0.0) ** _SCALE_WEIGHTS[-1])


def _luminance_map(one: Floats, other: Floats) -> Floats:
    """The factor l of SSIM, positive for levels that are: SSIM without it is cs."""
    gaussian = library("scipy.ndimage").gaussian_filter
    means = [gaussian(plane, _SIGMA_PX, truncate=_TRUNCATE) for plane in (one, other)]
    return _inner((2 * means[0] * means[1] + _C1) / (means[0] ** 2 + means[1] ** 2 + _C1))


def _inner(plane: Floats) -> Floats:
    """Where the whole window lies inside."""
    return plane[_RADIUS_PX:-_RADIUS_PX, _RADIUS_PX:-_RADIUS_PX]


def _halved(plane: Floats) -> Floats:
    height, width = (side // 2 for side in plane.shape)
    cells = plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    mean: Floats = cells.mean(axis=(1, 3))
    return mean
