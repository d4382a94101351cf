"""One strip or tile of a TIFF: from its bytes to samples."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

from sdflow.images import jpeg
from sdflow.images.formats import BrokenImageError, ImageFormat, ImageInfo
from sdflow.images.tiff_tags import (
    CCITT_3,
    CCITT_4,
    CCITT_RLE,
    DEFLATE,
    JPEG,
    LZMA,
    LZW,
    OLD_DEFLATE,
    PACKBITS,
    RAW,
    RGB,
    YCBCR,
    ZSTD,
)
from sdflow.images.vips_reader import decode_jpeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.images.formats import Pixels
    from sdflow.images.tiff_layout import TiffLayout

_UNPACKERS: MappingProxyType[int, Callable[..., bytes | bytearray]] = MappingProxyType(
    {
        LZW: imagecodecs.lzw_decode,
        DEFLATE: imagecodecs.deflate_decode,
        OLD_DEFLATE: imagecodecs.deflate_decode,
        PACKBITS: imagecodecs.packbits_decode,
        ZSTD: imagecodecs.zstd_decode,
        LZMA: imagecodecs.lzma_decode,
    }
)
_INKS = 4
# What imagecodecs raises for bytes that it cannot follow: its own errors are RuntimeErrors.
_CODEC_ERRORS = (RuntimeError, ValueError, TypeError, OverflowError)


def decode_segment(layout: TiffLayout, raw: bytes, rows: int) -> Pixels:
    """Unpack the first rows of a strip or tile.

    Args:
        layout: The page it belongs to.
        raw: Its bytes.
        rows: How many rows lie inside the image.

    Returns:
        (rows, width of the strip or tile, samples), each sample as it is stored, in an element of
        8 or 16 bits.

    Raises:
        BrokenImageError: They are damaged, or not all there.
    """
    if layout.compression == JPEG:
        return _from_jpeg(layout, raw, rows)
    if layout.reversed_bits:
        raw = bytes(imagecodecs.bitorder_decode(raw))
    shape = (rows, layout.segment.width, layout.segment_samples)
    try:
        if layout.compression in (CCITT_RLE, CCITT_3, CCITT_4):
            return _from_fax(layout, raw, rows).reshape(shape)
        unpacked = _unpacked(layout, raw)[: rows * layout.row_bytes]
        if len(unpacked) < rows * layout.row_bytes:
            raise BrokenImageError("a strip or tile is shorter than its pixels")
        return _samples(layout, unpacked, shape)
    except _CODEC_ERRORS as error:
        raise BrokenImageError(f"a strip or tile is damaged ({error})") from error


def _unpacked(layout: TiffLayout, raw: bytes) -> bytes | bytearray:
    if layout.compression == RAW:
        return raw
    return _UNPACKERS[layout.compression](raw, out=layout.segment.height * layout.row_bytes)


def _samples(
    layout: TiffLayout, unpacked: bytes | bytearray, shape: tuple[int, int, int]
) -> Pixels:
    samples: Pixels
    if layout.bits == 16:
        samples = np.frombuffer(unpacked, f"{layout.order}u2").astype(np.uint16)
    elif layout.bits == 8:
        samples = np.frombuffer(unpacked, np.uint8)
    else:
        samples = imagecodecs.packints_decode(
            unpacked, np.uint8, layout.bits, runlen=shape[1] * shape[2]
        )
    samples = samples.reshape(shape)
    if layout.differences:
        samples = imagecodecs.delta_decode(samples, axis=1)
    return samples


def _from_fax(layout: TiffLayout, raw: bytes, rows: int) -> Pixels:
    width = layout.segment.width
    if layout.compression == CCITT_4:
        bits = imagecodecs.ccittfax4_decode(raw, rows, width)
    elif layout.compression == CCITT_3:
        bits = imagecodecs.ccittfax3_decode(raw, rows, width, t4options=layout.t4_options)
    else:
        bits = imagecodecs.ccittrle_decode(raw, rows, width)
    found: Pixels = np.asarray(bits, np.uint8)
    return found


def _from_jpeg(layout: TiffLayout, raw: bytes, rows: int) -> Pixels:
    """An Adobe segment tells libjpeg what the samples mean, which TIFF says elsewhere."""
    frame = jpeg.read_frame(raw)
    fits = frame.width == layout.segment.width and rows <= frame.height <= layout.segment.height
    bands = len(frame.sampling)
    if not fits or frame.depth != 8 or bands != layout.segment_samples:
        raise BrokenImageError("a JPEG strip or tile is of another size than the file says")
    transform = {RGB: 0, YCBCR: 1}.get(layout.photometric) if bands == 3 else None
    stream = jpeg.join(layout.jpeg_tables, raw, transform)
    info = ImageInfo(ImageFormat.JPEG, frame.width, frame.height, bands, frame.depth)
    samples = decode_jpeg(stream, info)[:rows]
    # libvips takes the inks of a JPEG for inverted, as Adobe writes them, but not into a TIFF.
    return np.invert(samples) if bands == _INKS else samples
