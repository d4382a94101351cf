"""Windows of a TIFF file: only the strips or tiles that a region touches are read."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sdflow.geometry import Region
from sdflow.images.colour_profile import DAMAGED_PROFILE, SRGB, usable
from sdflow.images.formats import ImageInfo, Metadata, take
from sdflow.images.tiff_colour import to_pixels
from sdflow.images.tiff_layout import TiffLayout, read_layout
from sdflow.images.tiff_metadata import read_metadata
from sdflow.images.tiff_segments import decode_segment
from sdflow.images.tiff_tags import CMYK, RAW

if TYPE_CHECKING:
    from sdflow.images.formats import ByteSource, Pixels

_KEPT_BYTES = 1 << 25  # of decoded strips or tiles, for the next region that touches them


class TiffReader:
    """A ``PixelReader``, for one thread at a time.

    Args:
        data: The file.
        layout: Its first page.
        icc: The profile of its inks, if it has inks.
    """

    def __init__(self, data: ByteSource, layout: TiffLayout, icc: bytes | None) -> None:
        self.is_random = layout.is_random
        self._data = data
        self._layout = layout
        self._icc = icc
        self._kept: OrderedDict[int, Pixels] = OrderedDict()

    def read(self, region: Region) -> Pixels:
        """See ``PixelReader``; raises BrokenImageError."""
        layout, tile = self._layout, self._layout.segment
        grid, dtype = layout.grid, np.uint16 if layout.bits == 16 else np.uint8
        samples = np.empty((region.height, region.width, layout.samples), dtype)
        for row in range(region.y // tile.height, -(-region.bottom // tile.height)):
            for column in range(region.x // tile.width, -(-region.right // tile.width)):
                place = Region(row * tile.height, column * tile.width, tile.height, tile.width)
                shared = place.intersection(region)
                if shared is None:
                    continue
                target = samples[shared.relative_to(region).slices]
                for plane in range(layout.planes):
                    index = (plane * grid.height + row) * grid.width + column
                    piece = self._segment(index, row)[shared.relative_to(place).slices]
                    bands = layout.segment_samples
                    target[..., plane * bands : (plane + 1) * bands] = piece
        return to_pixels(layout, samples, self._icc)

    def close(self) -> None:
        """Forget what was decoded."""
        self._kept.clear()

    def _segment(self, index: int, row: int) -> Pixels:
        """The rows of a strip or tile that lie inside the image."""
        layout = self._layout
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        rows = min(layout.segment.height, layout.size.height - row * layout.segment.height)
        length = layout.lengths[index]
        if layout.compression == RAW:
            length = min(length, rows * layout.row_bytes)
        raw = take(self._data, layout.offsets[index], length, "the pixels")
        most = max(1, _KEPT_BYTES // layout.segment_bytes)
        while len(self._kept) >= most:
            self._kept.popitem(last=False)
        self._kept[index] = decode_segment(layout, raw, rows)
        return self._kept[index]


def open_tiff(data: ByteSource, _info: ImageInfo) -> tuple[Metadata, TiffReader, str]:
    """Windows of the first page, and what is left out of the metadata; raises BrokenImageError."""
    layout = read_layout(data)
    metadata, note = read_metadata(data)
    if layout.photometric != CMYK:
        return metadata, TiffReader(data, layout, None), note
    icc = usable(metadata.icc)
    notes = [note] * bool(note) + [DAMAGED_PROFILE] * (icc != metadata.icc)
    return replace(metadata, icc=SRGB), TiffReader(data, layout, icc), "; ".join(notes)
