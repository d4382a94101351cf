"""Images that come as bands of rows, from the top, and are never whole in memory.

libvips reads no raw pixels from a stream. It does read TIFF, and a TIFF without compression is a
header and then the rows: so the bands are shown to it as such a file, which is nowhere.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from sdflow.geometry import Size
from sdflow.images import ifd, vips

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.images.formats import Pixels

_STRIP_BYTES = 1 << 19
_HEADER_BYTES = 16


@dataclass(frozen=True, eq=False, slots=True)
class Bands:
    """An image that comes in pieces, once.

    Attributes:
        rows: (any, W, C) of ``dtype``, one below the other, from the top to the end.
        size: Of the whole image.
        num_bands: Channels, 1 to 4.
        dtype: uint8 or uint16.
    """

    rows: Iterable[Pixels]
    size: Size
    num_bands: int
    dtype: np.dtype[np.uint8 | np.uint16]

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.size.width * self.num_bands * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        """Size of all rows."""
        return self.size.height * self.row_bytes

    def cut(self, rows: int) -> Iterator[Pixels]:
        """The pixels anew, so that each band but the last has ``rows`` rows, at least 1.

        Raises:
            ValueError: The bands are not those of such an image.
        """
        total, filled = 0, 0
        none = part = np.empty((0, 0, 0), self.dtype)
        for band in self.rows:
            total += len(band)
            self._check(band, total)
            while len(band):
                if not filled and len(band) >= rows:
                    yield band[:rows]
                    band = band[rows:]
                    continue
                if not filled:
                    left = self.size.height - total + len(band)
                    part = np.empty((min(rows, left), *band.shape[1:]), self.dtype)
                count = min(len(band), len(part) - filled)
                part[filled : filled + count] = band[:count]
                band, filled = band[count:], filled + count
                if filled == len(part):
                    yield part
                    part, filled = none, 0  # let go before the next one is made
        if total != self.size.height:
            raise ValueError(f"{total} rows are not {self.size}")

    def _check(self, band: Pixels, total: int) -> None:
        if band.shape[1:] != (self.size.width, self.num_bands) or band.dtype != self.dtype:
            raise ValueError(f"a band of shape {band.shape} {band.dtype} is not of {self}")
        if total > self.size.height:
            raise ValueError(f"{total} rows are not {self.size}")


def bands_of(pixels: Pixels) -> Bands:
    """An array (H, W, C) as one band."""
    height, width, num_bands = pixels.shape
    return Bands((pixels,), Size(height, width), num_bands, pixels.dtype)


class BandImage:
    """A libvips image of bands that are asked for one by one, from whichever thread reads it.

    It can be read once, from the top. An exception of the bands cannot pass through libvips: it is
    kept, and raised by :meth:`check`, which must be called once the image is read.

    Args:
        bands: The image.

    Attributes:
        image: The same for libvips.
    """

    def __init__(self, bands: Bands) -> None:
        rows = min(bands.size.height, max(1, _STRIP_BYTES // bands.row_bytes))
        self._header = _tiff_header(bands, rows)
        self._strips = bands.cut(rows)
        self._length = len(self._header) + bands.num_bytes
        self._strip = b""
        self._strip_at = len(self._header)
        self._at = 0
        self._error: Exception | None = None
        self._source = pyvips.SourceCustom()
        self._source.on_read(self._read)
        self._source.on_seek(self._seek)
        image = pyvips.Image.tiffload_source(self._source, access="sequential", fail_on="error")
        self.image: pyvips.Image = vips.in_colour_space(image, bands.dtype)

    def check(self) -> None:
        """Raise what the bands have raised."""
        if self._error is not None:
            raise self._error

    def _read(self, size: int) -> bytes:
        try:
            part = self._part(size)
        except Exception as error:  # noqa: BLE001  # libvips hands none on
            self._error = self._error or error
            return b""
        self._at += len(part)
        return part

    def _part(self, size: int) -> bytes:
        if self._at < len(self._header):
            return self._header[self._at : self._at + size]
        while self._at >= self._strip_at + len(self._strip) and self._at < self._length:
            self._strip_at += len(self._strip)
            self._strip = next(self._strips).tobytes()
        start = self._at - self._strip_at
        if start < 0:
            raise ValueError("libvips went back to rows that are gone")
        return self._strip[start : start + size]

    def _seek(self, offset: int, whence: int) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = base + offset
        return self._at


def _tiff_header(bands: Bands, rows: int) -> bytes:
    """All of an uncompressed BigTIFF that stands before its first strip of ``rows`` rows."""
    size, num_bands, bits = bands.size, bands.num_bands, 8 * bands.dtype.itemsize
    strips = -(-size.height // rows)
    lengths = np.full(strips, rows * bands.row_bytes, "<u8")
    lengths[-1] = bands.num_bytes - (strips - 1) * rows * bands.row_bytes
    starts = np.cumsum(lengths, dtype="<u8") - lengths
    is_grey = num_bands < 3

    def directory(first: int) -> bytes:
        numbers = {256: (size.width,), 257: (size.height,), 258: (bits,) * num_bands, 259: (1,)}
        numbers |= {262: (1,) if is_grey else (2,), 277: (num_bands,), 278: (rows,)}
        numbers |= {338: (2,)} if num_bands in (2, 4) else {}
        entries = {
            tag: ifd.Entry(ifd.LONG, struct.pack(f"<{len(values)}I", *values))
            if tag in (256, 257, 278)
            else ifd.Entry(ifd.SHORT, struct.pack(f"<{len(values)}H", *values))
            for tag, values in numbers.items()
        }
        entries[273] = ifd.Entry(ifd.LONG8, (starts + np.uint64(first)).tobytes())
        entries[279] = ifd.Entry(ifd.LONG8, lengths.tobytes())
        return ifd.write_directory(ifd.Directory(entries), _HEADER_BYTES, ifd.BIG)

    start = struct.pack("<2sHHHQ", b"II", 43, 8, 0, _HEADER_BYTES)
    return start + directory(_HEADER_BYTES + len(directory(0)))
