"""libvips, as the rest of the room uses it: arrays in and out, and files that are read by ranges.

libvips works on whole pipelines in its own threads and without the interpreter lock. Here every
image gets one thread, because several images are always under way.
"""

from __future__ import annotations

import os
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pyvips

if TYPE_CHECKING:
    from sdflow.images.formats import ByteSource, Pixels

VipsError = pyvips.Error

pyvips.vips_lib.vips_concurrency_set(1)
pyvips.cache_set_max(0)  # no result is asked for twice, and every one would keep its pixels alive

_SPACES = MappingProxyType(
    {
        (1, "uint8"): "b-w",
        (2, "uint8"): "b-w",
        (3, "uint8"): "srgb",
        (4, "uint8"): "srgb",
        (1, "uint16"): "grey16",
        (2, "uint16"): "grey16",
        (3, "uint16"): "rgb16",
        (4, "uint16"): "rgb16",
    }
)


def from_array(pixels: Pixels) -> pyvips.Image:
    """An image that shows an array (H, W, C); the array must not change while it is used."""
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    return in_colour_space(image, pixels.dtype)


def in_colour_space(image: pyvips.Image, dtype: np.dtype[np.uint8 | np.uint16]) -> pyvips.Image:
    """The same samples as grey or RGB, with alpha as the last of an even number of bands."""
    return image.copy(interpretation=_SPACES[image.bands, dtype.name])


def to_array(image: pyvips.Image) -> Pixels:
    """The pixels (H, W, C) of an image of 8 or 16 bits, read-only; raises VipsError."""
    dtype = {"uchar": np.uint8, "ushort": np.uint16}[image.format]
    pixels: Pixels = np.frombuffer(image.write_to_memory(), dtype)
    return pixels.reshape(image.height, image.width, image.bands)


class RangedSource:
    """A file for libvips that is read by ranges as it is asked for.

    An exception of the file's cannot pass through libvips: it is kept, and raised by
    :meth:`check` once libvips has complained about what it did not get.

    Args:
        data: The file.
    """

    def __init__(self, data: ByteSource) -> None:
        self._data = data
        self._at = 0
        self._error: Exception | None = None
        self.source = pyvips.SourceCustom()
        self.source.on_read(self._read)
        self.source.on_seek(self._seek)

    def check(self) -> None:
        """Raise what reading the file has raised."""
        if self._error is not None:
            raise self._error

    def _read(self, size: int) -> bytes:
        try:
            found = self._data[self._at : self._at + size]
        except Exception as error:  # noqa: BLE001  # libvips hands none on
            self._error = self._error or error
            return b""
        self._at += len(found)
        return found

    def _seek(self, offset: int, whence: int) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self._data)}[whence]
        self._at = base + offset
        return self._at
