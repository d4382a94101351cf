"""Windows of an image that can only be read from top to bottom."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from sdflow.geometry import Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdflow.images.formats import ImageInfo, PixelReader, Pixels

_ROWS = 64  # read at once


def cut_windows(
    reader: PixelReader, info: ImageInfo, windows: Mapping[int, Region]
) -> Iterator[tuple[int, Pixels]]:
    """Read an image once and cut windows out of it, in memory of one band of them.

    Args:
        reader: Of the stored pixels, not read yet.
        info: What the header says.
        windows: Where they are stored, by number; they may overlap.

    Yields:
        Every number and its pixels, C-contiguous, band by band.
    """
    order = sorted(windows.items(), key=lambda window: (window[1].y, window[1].x))
    band = _Band(reader, info)
    for _, group in groupby(order, key=lambda window: window[1].y):
        row = list(group)
        pixels = band.move_to(row[0][1].y, max(window.bottom for _, window in row))
        for number, window in row:
            yield number, np.ascontiguousarray(pixels[: window.height, window.x : window.right])


class _Band:
    """Rows that move down an image."""

    def __init__(self, reader: PixelReader, info: ImageInfo) -> None:
        self._reader = reader
        self._info = info
        self._top = self._bottom = 0
        self._pixels = np.empty((0, info.width, info.bands), info.dtype)

    def move_to(self, top: int, bottom: int) -> Pixels:
        """Have the rows from ``top``, not above the last one, to before ``bottom`` at least."""
        bottom = max(bottom, self._bottom)
        rows = np.empty((bottom - top, *self._pixels.shape[1:]), self._pixels.dtype)
        kept = self._pixels[max(0, top - self._top) :]
        rows[: len(kept)] = kept
        while self._bottom < bottom:
            height = min(_ROWS, bottom - self._bottom)
            piece = self._reader.read(Region(self._bottom, 0, height, self._info.width))
            skipped = max(0, top - self._bottom)  # rows that no window holds
            place = max(0, self._bottom - top)
            rows[place : place + height - skipped] = piece[skipped:]
            self._bottom += height
        self._top, self._pixels = top, rows
        return rows
