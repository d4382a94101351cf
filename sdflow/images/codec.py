"""Image bytes to pixels, with everything around the pixels, or a refusal; see ``encoding`` too.

The containers are taken apart here (``jpeg``, ``png``, ``webp``, ``tiff_layout``, ``avif``), and
libvips and imagecodecs decode what is left. What cannot be read as it is, is refused and says why;
damaged metadata are left out, with a note. All functions may run in any number of threads.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sdflow.errors import DecodeError, OutOfMemoryError, TooLargeError
from sdflow.geometry import Region
from sdflow.images import avif, ifd, jpeg, png, tiff_layout, tiff_reader, vips_reader, webp
from sdflow.images.exif import ORIENTATION
from sdflow.images.formats import (
    FORMAT_BY_EXTENSION,
    IMAGE_EXTENSIONS,
    BrokenImageError,
    ByteSource,
    DecodedImage,
    ImageFormat,
    ImageInfo,
    Metadata,
    OpenedImage,
    PixelReader,
    Pixels,
    format_of_key,
)
from sdflow.images.orientation import UPRIGHT, upright
from sdflow.images.tiff_metadata import SIGNATURES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "FORMAT_BY_EXTENSION",
    "IMAGE_EXTENSIONS",
    "DecodedImage",
    "ImageFormat",
    "ImageInfo",
    "Metadata",
    "OpenedImage",
    "Pixels",
    "decode",
    "format_of_key",
    "open_image",
    "peek",
]

_ReadInfo: TypeAlias = "Callable[[ByteSource], ImageInfo]"
_OpenPixels: TypeAlias = "Callable[[ByteSource, ImageInfo], tuple[Metadata, PixelReader, str]]"
_READERS: Mapping[ImageFormat, tuple[_ReadInfo, _OpenPixels]] = MappingProxyType(
    {
        ImageFormat.JPEG: (jpeg.read_info, vips_reader.open_jpeg),
        ImageFormat.PNG: (png.read_info, vips_reader.open_png),
        ImageFormat.WEBP: (webp.read_info, vips_reader.open_webp),
        ImageFormat.TIFF: (tiff_layout.read_info, tiff_reader.open_tiff),
        ImageFormat.AVIF: (vips_reader.read_avif_info, vips_reader.open_avif),
    }
)
_MAX_START_BYTES = 64
_LAST_ORIENTATION = 8


def peek(data: ByteSource, *, key: str, first_frame: bool = False) -> ImageInfo:
    """Read an image's header, without decoding a pixel.

    Args:
        data: The file; of one that is read by ranges, little more than the header is read.
        key: Named in errors.
        first_frame: Whether the first frame of an animation is wanted.

    Raises:
        DecodeError: ``decode.empty``, ``decode.unsupported`` (none of the formats, judged by
            content), ``decode.truncated`` or ``decode.corrupt``. An image that ``decode`` would
            refuse for its kind raises nothing here: see ``ImageInfo.refusal``.
    """
    read_info, _ = _READERS[_sniff(data, key)]
    try:
        info = read_info(data)
    except BrokenImageError as error:
        raise _decode_error(key, error) from error
    if info.refusal is None and info.frames > 1 and not first_frame:
        return replace(info, refusal=_animation(info))
    return info


def open_image(
    data: ByteSource, *, key: str, max_pixels: int, first_frame: bool = False
) -> OpenedImage:
    """Open an image, to read its pixels in pieces.

    One-bit and other small greys are scaled to 8 bits, palettes and transparent colours become
    RGB(A) or grey with alpha, premultiplied alpha becomes straight, CMYK becomes sRGB through its
    profile. The reader gives the pixels as they are stored, not turned.

    Args:
        data: The file; of one that is read by ranges, the header and the metadata are read.
        key: Named in errors.
        max_pixels: Largest width times height; larger images are refused by their header.
        first_frame: Whether to take the first frame of an animation, instead of refusing it. Of
            the pages of a TIFF the first one is always taken.

    Raises:
        TooLargeError: More than ``max_pixels``.
        DecodeError: As for ``peek``; ``decode.unsupported`` too for what could not be kept
            faithfully (floating-point and signed samples, colours without a meaning here).
    """
    info = peek(data, key=key, first_frame=first_frame)
    if info.num_pixels > max_pixels:
        raise TooLargeError(
            f"{key} has {info.width} x {info.height} = {info.num_pixels} pixels, the limit is "
            f"{max_pixels}; a job with a higher --max-pixels takes it",
            item=key,
        )
    if info.refusal is not None:
        raise DecodeError(f"{key} cannot be read as it is: {info.refusal}", item=key)
    _, open_pixels = _READERS[info.format]
    try:
        metadata, reader, note = open_pixels(data, info)
    except BrokenImageError as error:
        raise _decode_error(key, error) from error
    # The container of an AVIF turns the image; what its EXIF says of that is to be ignored.
    turned = info.format is ImageFormat.AVIF
    orientation = UPRIGHT if turned else _orientation(metadata.exif)
    return OpenedImage(info, metadata, orientation, _KeyedReader(reader, key), note)


def decode(
    data: ByteSource, *, key: str, max_pixels: int, first_frame: bool = False
) -> DecodedImage:
    """Decode a whole image and turn it upright.

    The metadata stay the file's own: the orientation in ``exif`` has been applied already.

    Args:
        data: See ``open_image``, as for the others.
        key: Named in errors.
        max_pixels: Largest width times height.
        first_frame: Whether to take the first frame of an animation.

    Raises:
        TooLargeError: More than ``max_pixels``.
        OutOfMemoryError: More than fits into memory.
        DecodeError: See ``open_image``.
    """
    opened = open_image(data, key=key, max_pixels=max_pixels, first_frame=first_frame)
    info = opened.info
    with closing(opened.reader):
        stored = opened.reader.read(Region(0, 0, info.height, info.width))
        try:
            pixels = np.require(upright(stored, opened.orientation), requirements=["C", "W"])
        except MemoryError as error:
            raise _memory_error(key, error) from error
    return DecodedImage(pixels, info.format, opened.metadata, opened.note, info.frames)


class _KeyedReader:
    """A reader whose errors name the image."""

    def __init__(self, reader: PixelReader, key: str) -> None:
        self.is_random = reader.is_random
        self._reader = reader
        self._key = key

    def read(self, region: Region) -> Pixels:
        """See ``PixelReader``; raises DecodeError or OutOfMemoryError."""
        try:
            return self._reader.read(region)
        except BrokenImageError as error:
            raise _decode_error(self._key, error) from error
        except MemoryError as error:
            raise _memory_error(self._key, error) from error

    def close(self) -> None:
        """See ``PixelReader``."""
        self._reader.close()


def _sniff(data: ByteSource, key: str) -> ImageFormat:
    start = data[0:_MAX_START_BYTES]
    if not start:
        raise DecodeError(f"{key} has no content", item=key, code="decode.empty")
    if start.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if start.startswith(png.SIGNATURE):
        return ImageFormat.PNG
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if start.startswith(SIGNATURES):
        return ImageFormat.TIFF
    if avif.is_avif(start):
        return ImageFormat.AVIF
    raise DecodeError(
        f"{key} is no JPEG, PNG, WebP, TIFF or AVIF by its content; remove or --exclude it",
        item=key,
    )


def _orientation(exif: bytes | None) -> int:
    """What EXIF says, or upright where it says nothing that can be understood."""
    if exif is None:
        return UPRIGHT
    with suppress(BrokenImageError):
        layout, first = ifd.read_start(exif)
        entry = ifd.read_directory(exif + bytes(8), first, layout, only=(ORIENTATION,))
        values = [item.integers() for item in entry.entries.values()]
        if values and values[0] and UPRIGHT <= values[0][0] <= _LAST_ORIENTATION:
            return values[0][0]
    return UPRIGHT


def _animation(info: ImageInfo) -> str | None:
    if info.format is ImageFormat.TIFF:
        return None
    views = info.format is ImageFormat.JPEG
    kind = "{} views in one file (MPO)" if views else "an animation of {} frames"
    return f"{kind.format(info.frames)}; --first-frame takes the first"


def _decode_error(key: str, error: BrokenImageError) -> DecodeError:
    return DecodeError(f"{key} cannot be decoded: {error}", item=key, code=error.code)


def _memory_error(key: str, error: MemoryError) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"{key} does not fit into this worker's memory now ({error}); "
        "lower --max-pixels or give the worker more",
        item=key,
    )
