"""Images as planes of 8-bit levels, which is what every measure here is defined on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdflow.errors import UsageError

if TYPE_CHECKING:
    from sdflow.images.formats import Pixels

Floats: TypeAlias = NDArray[np.float64]
Image: TypeAlias = "Pixels | Floats"
"""(H, W), (H, W, 1) or (H, W, 3): uint8, uint16, or floats that are 8-bit levels already."""

PEAK = 255.0
_DEEP_STEPS = 257  # of 16 bits in one of 8: 65535 / 255

GREY = np.array([[0.299, 0.587, 0.114]])
"""BT.601's luma in the whole range, as MATLAB's ``rgb2gray`` weighs it."""

YCBCR = np.vstack((GREY, [[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]))
"""JPEG's (JFIF's) luma and colour differences, these without their offset of 128."""

_LIMITED_Y = np.array([65.481, 128.553, 24.966]) / 255  # ITU-R BT.601, of levels 0..255


def levels(image: Image) -> Floats:
    """Give 8-bit levels of three channels.

    Args:
        image: See ``Image``. Grey is repeated three times, uint16 divided by 257.

    Returns:
        (H, W, 3) float64, in [0, 255] for integers.

    Raises:
        UsageError: It has two channels, or more than three.
    """
    planes = np.atleast_3d(image)
    if planes.ndim != 3 or planes.shape[2] not in (1, 3):
        raise UsageError(f"an image of grey or RGB is measured, not one of shape {image.shape}")
    scale = _DEEP_STEPS if planes.dtype == np.uint16 else 1
    scaled: Floats = planes.astype(np.float64) / scale
    return scaled if planes.shape[2] == 3 else np.repeat(scaled, 3, axis=2)


def level_pair(image: Image, reference: Image) -> tuple[Floats, Floats]:
    """Give the levels of both.

    Raises:
        UsageError: Their sizes differ, or as ``levels``.
    """
    pair = levels(image), levels(reference)
    if pair[0].shape != pair[1].shape:
        (height, width), (rows, columns) = (one.shape[:2] for one in pair)
        raise UsageError(
            f"images of one size are compared, not {width} x {height} px with {columns} x {rows} px"
        )
    return pair


def mixed(rgb: Floats, weights: Floats) -> Floats:
    """Mix three channels to as many planes as there are rows of weights.

    Args:
        rgb: (H, W, 3).
        weights: (planes, 3).

    Returns:
        (planes, H, W) float64.
    """
    planes: Floats = np.einsum("pc,hwc->phw", weights, rgb)
    return planes


def limited_luma(rgb: Floats) -> Floats:
    """BT.601 luma from 16 to 235, as MATLAB's ``rgb2ycbcr`` gives it, but not rounded.

    Args:
        rgb: (H, W, 3) levels.

    Returns:
        (H, W) float64.
    """
    luma: Floats = 16 + rgb @ _LIMITED_Y
    return luma
