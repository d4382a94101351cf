"""How much there is to see in an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sdflow.images.formats import Pixels

_LEVELS = {1: 1.0, 2: 257.0}  # by bytes of a value: of one 8-bit level


def texture(pixels: Pixels) -> float:
    """Mean step from a pixel to the next one, over colours and both axes, in 8-bit levels.

    Photos of sky and blurred backgrounds have less than 2, foliage has 10 and more. Whole numbers
    are added up, so that the figure is the same on every machine.

    Args:
        pixels: (H, W, C) uint8 or uint16; alpha, the second or fourth channel, is not looked at.
    """
    colours = pixels[..., : 1 if pixels.shape[2] < 3 else 3].astype(np.int32)
    total = count = 0
    for axis in (0, 1):
        steps = np.abs(np.diff(colours, axis=axis))
        total, count = total + int(steps.sum(dtype=np.int64)), count + steps.size
    return total / max(1, count) / _LEVELS[pixels.dtype.itemsize]
