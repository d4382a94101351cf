"""How much there is to see in an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sdflow.images.formats import Pixels

_LEVELS = {1: 1.0, 2: 257.0}  # by bytes of a value: of one 8-bit level
_SIGNED = {1: np.int16, 2: np.int32}
_ROWS = 64  # at a time: differences of a whole photo would take several times its memory


def texture(pixels: Pixels) -> float:
    """Mean step from a pixel to the next one, over colours and both axes, in 8-bit levels.

    Photos of sky and blurred backgrounds have less than 2, foliage has 10 and more. Whole numbers
    are added up, so that the figure is the same on every machine.

    Args:
        pixels: (H, W, C) uint8 or uint16; alpha, the second or fourth channel, is not looked at.
    """
    height, width, bands = (int(side) for side in pixels.shape)
    num_colours = 1 if bands < 3 else 3
    total = 0
    for top in range(0, height, _ROWS):
        band = pixels[top : top + _ROWS + 1, :, :num_colours].astype(_SIGNED[pixels.itemsize])
        own = band[:_ROWS]  # the row after belongs to the next band
        for steps in (np.diff(own, axis=1), np.diff(band, axis=0)):
            total += int(np.abs(steps).sum(dtype=np.int64))
    count = num_colours * (height * (width - 1) + (height - 1) * width)
    return float(total) / max(1, count) / _LEVELS[pixels.itemsize]
