"""Colours under full transparency: often garbage, never seen, and in the way of every filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sdflow.geometry import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sdflow.images.formats import Pixels

_BLOCK_PX = 256  # side of what is worked on at once: inside a processor's cache
_Sums: TypeAlias = "NDArray[np.unsignedinteger]"


def fill_hidden(colour: Pixels, alpha: Pixels, *, radius: int) -> Pixels:
    """Continue visible colours into fully transparent surroundings.

    A pixel whose alpha is 0 gets the mean of its surroundings, weighted by alpha: of the smallest
    square of 3, 5, 9, ... pixels around it in which something is visible. Sums are whole numbers
    and means are rounded to the nearest, so that a window gives what the whole image gives.

    Args:
        colour: (H, W, C), uint8 or uint16; never changed.
        alpha: (H, W) of the same dtype.
        radius: How many pixels away something visible may lie; further off colours stay as they
            are. At most 63.

    Returns:
        Like ``colour``; itself where there is nothing to fill.
    """
    if alpha.all():
        return colour
    filled: Pixels | None = None
    height, width = alpha.shape
    for block in _blocks(height, width):
        if alpha[block.slices].all():
            continue
        around = _grown(block, radius, height, width)
        near = np.ascontiguousarray(alpha[around.slices])
        if not near.any():
            continue
        filled = colour.copy() if filled is None else filled
        _fill(filled[block.slices], colour[around.slices], near, block.relative_to(around), radius)
    return colour if filled is None else filled


def restore_hidden(
    result: Pixels, alpha: Pixels, source: Pixels, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> None:
    """Give pixels that nobody sees the colour that the source hides there, in place.

    Args:
        result: (H, W, C).
        alpha: (H, W), of the result.
        source: (h, w, C) of the dtype of ``result``.
        rows: (H,), for every row of the result the nearest of the source.
        columns: (W,), for every column.
    """
    for block in _blocks(*alpha.shape):
        hidden = alpha[block.slices] == 0
        if hidden.any():
            down, across = block.slices
            nearest = source[rows[down, None], columns[across]]
            np.copyto(result[block.slices], nearest, where=hidden[..., None])


def _fill(target: Pixels, colour: Pixels, alpha: Pixels, inner: Region, radius: int) -> None:
    """Fill one block, given what is around it, in which it lies at ``inner``."""
    # Sums may pass the end of 32 bits and begin anew: differences, being small, come out right.
    exact = np.dtype(np.uint32 if alpha.dtype == np.uint8 else np.uint64)
    weight: _Sums = alpha.astype(exact)
    visible = _summed(weight)
    pending_y, pending_x = np.nonzero(alpha[inner.slices] == 0)
    reachable = _box(visible, pending_y + inner.y, pending_x + inner.x, radius) > 0
    pending_y, pending_x = pending_y[reachable], pending_x[reachable]
    colours = [_summed(weight * colour[..., band]) for band in range(colour.shape[2])]
    reach = 1
    while len(pending_y):
        y, x = pending_y + inner.y, pending_x + inner.x
        total = _box(visible, y, x, reach)
        found = total > 0
        total, y, x = total[found], y[found], x[found]
        for band, sums in enumerate(colours):
            mean = (_box(sums, y, x, reach) + total // 2) // total
            target[pending_y[found], pending_x[found], band] = mean
        pending_y, pending_x = pending_y[~found], pending_x[~found]
        reach = min(2 * reach, radius)


def _summed(values: _Sums) -> _Sums:
    """Sums of all that is above and to the left, (h + 1, w + 1), modulo the dtype's range."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1), values.dtype)
    np.cumsum(values, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return sums


def _box(sums: _Sums, y: NDArray[np.intp], x: NDArray[np.intp], radius: int) -> _Sums:
    """Sums over the squares around some pixels, cut at the border."""
    top, bottom = np.maximum(y - radius, 0), np.minimum(y + radius + 1, sums.shape[0] - 1)
    left, right = np.maximum(x - radius, 0), np.minimum(x + radius + 1, sums.shape[1] - 1)
    box: _Sums = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return box


def _blocks(height: int, width: int) -> Iterator[Region]:
    for y in range(0, height, _BLOCK_PX):
        for x in range(0, width, _BLOCK_PX):
            yield Region(y, x, min(_BLOCK_PX, height - y), min(_BLOCK_PX, width - x))


def _grown(region: Region, margin: int, height: int, width: int) -> Region:
    y, x = max(0, region.y - margin), max(0, region.x - margin)
    bottom, right = min(height, region.bottom + margin), min(width, region.right + margin)
    return Region(y, x, bottom - y, right - x)
