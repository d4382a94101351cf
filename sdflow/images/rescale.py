"""Lanczos resampling in exact arithmetic, of images that come as bands (``--outscale``).

The kernel is the usual one with three lobes, widened when making smaller, sampled at pixel centres
and cut at the edges (Duchon 1979; the same geometry as Pillow's). Weights are whole multiples of
2^-17 and sum to one, so a weighted sum of 16-bit levels, and one of such sums, fits into the 53
bits of float64: nothing is ever rounded before the end. So the result does not depend on how the
image is cut or in which order a library adds.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdflow.images.bands import Bands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sdflow.geometry import Size
    from sdflow.images.formats import Pixels

_LOBES = 3
_ONE = 1 << 17
_BLOCK = 16  # outputs that one small matrix makes: larger ones hold more zeros
_BAND_ROWS = 16
_SLAB_BYTES = 1 << 20  # of float64, so that the work stays in the cache


class _Block(NamedTuple):
    """A matrix that makes some neighbouring outputs of one axis.

    Attributes:
        first: Index of the first input.
        weights: (outputs, inputs), in units of 1 / ``_ONE``.
    """

    first: int
    weights: NDArray[np.float64]

    @property
    def end(self) -> int:
        """Index after the last input."""
        return self.first + int(self.weights.shape[1])


def rescale_bands(bands: Bands, target: Size) -> Bands:
    """Resample an image that comes as bands, in memory that does not grow with its height.

    Every channel on its own, alpha too. Flat stays exactly flat; levels are rounded to the
    nearest (halves up) and clipped to the range of the dtype.

    Args:
        bands: The image, uint8 or uint16.
        target: Size of the result, at least 1 x 1.
    """
    return Bands(_rows(bands, target), target, bands.num_bands, bands.dtype)


def _rows(bands: Bands, target: Size) -> Iterator[Pixels]:
    down = _axis(bands.size.height, target.height)
    across = _axis(bands.size.width, target.width)
    window: deque[tuple[int, NDArray[np.float64]]] = deque()
    source = bands.cut(_BAND_ROWS)
    read = 0
    for block in down:
        while read < block.end:
            band = next(source)
            window.append((read, _horizontally(band, across, target.width)))
            read += len(band)
        while window[0][0] + window[0][1].shape[1] <= block.first:
            window.popleft()
        yield _vertically(block, window, bands.dtype)
    for _ in source:  # rows without weight at the end, and the check of how many there are
        pass


def _horizontally(band: Pixels, across: list[_Block], width: int) -> NDArray[np.float64]:
    """(C, rows, width) in units of 1 / ``_ONE``."""
    rows, _, channels = band.shape
    levels = band.transpose(2, 0, 1).astype(np.float64, order="C").reshape(channels * rows, -1)
    result = np.empty((channels * rows, width))
    at = 0
    for block in across:
        end = at + len(block.weights)
        np.matmul(levels[:, block.first : block.end], block.weights.T, out=result[:, at:end])
        at = end
    return result.reshape(channels, rows, width)


def _vertically(
    block: _Block,
    window: deque[tuple[int, NDArray[np.float64]]],
    dtype: np.dtype[np.uint8 | np.uint16],
) -> Pixels:
    """(outputs, width, C), from rows that begin at the numbers in ``window``."""
    parts = [
        rows[:, max(0, block.first - at) : block.end - at] for at, rows in window if at < block.end
    ]
    channels, _, width = parts[0].shape
    outputs, inputs = block.weights.shape
    result = np.empty((outputs, width, channels), dtype)
    top = np.iinfo(dtype).max
    step = max(1, _SLAB_BYTES // (8 * channels * inputs))
    for x in range(0, width, step):
        column = np.concatenate([part[:, :, x : x + step] for part in parts], axis=1)
        levels = (block.weights @ column) * (1 / _ONE**2) + 0.5
        np.floor(levels, out=levels)
        result[:, x : x + step] = levels.clip(0, top, out=levels).transpose(1, 2, 0)
    return result


def _axis(length: int, target: int) -> list[_Block]:
    """The matrices for one axis, from ``length`` inputs to ``target`` outputs."""
    scale = length / target
    stretch = max(1.0, scale)
    blocks = []
    for start in range(0, target, _BLOCK):
        centres = (np.arange(start, min(target, start + _BLOCK)) + 0.5) * scale
        first = max(0, int(centres[0] - _LOBES * stretch))
        end = min(length, int(centres[-1] + _LOBES * stretch) + 1)
        distances = (np.arange(first, end) + 0.5 - centres[:, None]) / stretch
        weights = np.where(
            np.abs(distances) < _LOBES, np.sinc(distances) * np.sinc(distances / _LOBES), 0
        )
        blocks.append(_Block(first, _whole(weights)))
    return blocks


def _whole(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale rows to whole numbers with the sum ``_ONE``; the largest weight takes the rest."""
    whole: NDArray[np.float64] = np.rint(weights * (_ONE / weights.sum(axis=1, keepdims=True)))
    largest = np.abs(whole).argmax(axis=1)
    whole[np.arange(len(whole)), largest] += _ONE - whole.sum(axis=1)
    return whole
