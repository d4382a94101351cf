"""Image bytes to pixels and back, with everything around the pixels, or a refusal.

The containers are taken apart here (``jpeg``, ``png``, ``webp``, ``tiff``) and Pillow decodes what
is left. What cannot be read or written as it is, is refused and says why; nothing is changed in
silence. All functions are pure and may run in any number of threads.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sdflow.errors import DecodeError, EncodeError, OutOfMemoryError, TooLargeError
from sdflow.images import jpeg, png, tiff, webp
from sdflow.images.formats import (
    FORMAT_BY_EXTENSION,
    IMAGE_EXTENSIONS,
    BrokenImageError,
    DecodedImage,
    ImageFormat,
    ImageInfo,
    Metadata,
    Pixels,
    Unpacked,
    format_of_key,
)

__all__ = [
    "FORMAT_BY_EXTENSION",
    "IMAGE_EXTENSIONS",
    "DecodedImage",
    "ImageFormat",
    "ImageInfo",
    "Metadata",
    "Pixels",
    "decode",
    "encode",
    "format_of_key",
    "peek",
]

# Pillow warns above 89 megapixels and raises above 179, wherever it opens or allocates, and offers
# no other switch than this one for the whole process. decode() applies a limit of its own, from
# the header, before Pillow sees a byte.
Image.MAX_IMAGE_PIXELS = None

# What Pillow raises for bytes that it cannot follow; it has no base class of its own. Warnings
# are left out on purpose: none may arise.
_PILLOW_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error),
)
_READERS = MappingProxyType(
    {
        ImageFormat.JPEG: (jpeg.read_info, jpeg.unpack, JpegImageFile),
        ImageFormat.PNG: (png.read_info, png.unpack, PngImageFile),
        ImageFormat.WEBP: (webp.read_info, webp.unpack, WebPImageFile),
        ImageFormat.TIFF: (tiff.read_info, tiff.unpack, TiffImageFile),
    }
)
_PLAIN_MODES = frozenset({"L", "LA", "RGB", "RGBA"})
_CONVERTED_MODES = MappingProxyType({"1": "L", "La": "LA", "P": "RGB", "PA": "RGBA"})


def peek(data: bytes, *, key: str) -> ImageInfo:
    """Read an image's header, without decoding a pixel.

    Args:
        data: The whole file.
        key: Named in errors.

    Raises:
        DecodeError: ``decode.empty``, ``decode.unsupported`` (none of the four formats, judged by
            content), ``decode.truncated`` or ``decode.corrupt``. An image that ``decode`` would
            refuse for its kind raises nothing here: see ``ImageInfo.refusal``.
    """
    read_info, _, _ = _READERS[_sniff(data, key)]
    try:
        return read_info(data)
    except BrokenImageError as error:
        raise _decode_error(key, error) from error


def decode(data: bytes, *, key: str, max_pixels: int) -> DecodedImage:
    """Decode an image as it is stored.

    One-bit and other small greys are scaled to 8 bits, palettes and transparent colours become
    RGB(A) or grey with alpha, premultiplied alpha becomes straight. The EXIF orientation is
    neither applied nor reset, so it still holds for the result.

    Args:
        data: The whole file.
        key: Named in errors.
        max_pixels: Largest width times height; larger images are refused by their header.

    Raises:
        TooLargeError: More than ``max_pixels``.
        OutOfMemoryError: More than fits into memory.
        DecodeError: As for ``peek``; ``decode.unsupported`` too for what could not be kept
            faithfully (16-bit colour, CMYK, signed and floating-point samples, several frames).
    """
    info = peek(data, key=key)
    size = f"{info.width} x {info.height}"
    if info.num_pixels > max_pixels:
        raise TooLargeError(
            f"{key} has {size} = {info.num_pixels} pixels, the limit is {max_pixels}; "
            "a job with a higher --max-pixels takes it",
            item=key,
        )
    if info.refusal is not None:
        raise DecodeError(f"{key} cannot be read as it is: {info.refusal}", item=key)
    _, unpack, _ = _READERS[info.format]
    try:
        unpacked = unpack(data)
        pixels = _decode_pixels(info, unpacked)
    except BrokenImageError as error:
        raise _decode_error(key, error) from error
    except MemoryError as error:
        raise OutOfMemoryError(
            f"{key} has {size} pixels, which do not fit into this worker's memory now; "
            "lower --max-pixels or give the worker more",
            item=key,
        ) from error
    return DecodedImage(pixels, info.format, unpacked.metadata)


def encode(
    pixels: Pixels, metadata: Metadata, *, format: ImageFormat, quality: int, key: str
) -> bytes:
    """Encode pixels with their metadata.

    JPEG is written in 4:4:4, PNG at level 6, TIFF with deflate: the last two decode to the very
    same pixels. WebP is lossy, has no grey (it becomes three equal channels) and no density field.

    Args:
        pixels: See ``Pixels``.
        metadata: Written as far as the format has a place for it.
        format: What to write.
        quality: 1 to 100, for JPEG and WebP.
        key: Named in errors.

    Raises:
        EncodeError: ``encode.unsupported``: the format cannot hold this depth, alpha, size or
            metadata; the message says which ``--format`` can.
    """
    height, width, bands = pixels.shape
    problem = _problem(format, height, width, bands, deep=pixels.dtype == np.uint16)
    if problem is not None:
        raise EncodeError(f"{key}: {problem}", item=key)
    if format is ImageFormat.WEBP and bands < 3:
        pixels = np.concatenate((pixels[..., :1], pixels[..., :1], pixels), axis=2)
    elif bands == 1:
        pixels = pixels[..., 0]
    buffer = BytesIO()
    try:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.save(buffer, format=format.upper(), **_write_options(format, metadata, quality))
        data = buffer.getvalue()
        return tiff.attach(data, metadata) if format is ImageFormat.TIFF else data
    except (BrokenImageError, *_PILLOW_ERRORS) as error:
        raise EncodeError(
            f"{key} cannot be written as {format}: {error}; try --format png", item=key
        ) from error


def _write_options(name: ImageFormat, metadata: Metadata, quality: int) -> dict[str, Any]:
    if name is ImageFormat.JPEG:
        return jpeg.write_options(metadata, quality)
    if name is ImageFormat.PNG:
        return png.write_options(metadata)
    if name is ImageFormat.WEBP:
        return webp.write_options(metadata, quality)
    return {"compression": "tiff_adobe_deflate"}


def _sniff(data: bytes, key: str) -> ImageFormat:
    if not data:
        raise DecodeError(f"{key} has no content", item=key, code="decode.empty")
    if data.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if data.startswith(png.SIGNATURE):
        return ImageFormat.PNG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if data.startswith(tiff.SIGNATURES):
        return ImageFormat.TIFF
    raise DecodeError(
        f"{key} is no JPEG, PNG, WebP or TIFF by its content; remove or --exclude it", item=key
    )


def _decode_error(key: str, error: BrokenImageError) -> DecodeError:
    return DecodeError(f"{key} cannot be decoded: {error}", item=key, code=error.code)


def _decode_pixels(info: ImageInfo, unpacked: Unpacked) -> Pixels:
    """Let Pillow decode the payload; raises BrokenImageError or MemoryError."""
    _, _, reader = _READERS[info.format]
    try:
        image = reader(BytesIO(unpacked.payload))
    except _PILLOW_ERRORS as error:
        # Only TIFF has kinds that the header check above does not know one by one.
        code = "decode.unsupported" if info.format is ImageFormat.TIFF else "decode.corrupt"
        raise BrokenImageError(f"Pillow: {error}", code=code) from error
    try:
        image.load()
        pixels = _as_array(image, info.bands)
    except _PILLOW_ERRORS as error:
        cut = "truncated" in str(error)
        code = "decode.truncated" if cut else "decode.corrupt"
        raise BrokenImageError(f"Pillow: {error}", code=code) from error
    if unpacked.transparent is not None:
        pixels = _with_alpha(pixels, unpacked.transparent)
    if pixels.shape != (info.height, info.width, info.bands):
        raise BrokenImageError("the pixels are not of the kind that the header announces")
    return pixels


def _as_array(image: Image.Image, bands: int) -> Pixels:
    """(H, W, C) of a loaded image in any mode that holds its pixels faithfully."""
    if image.mode.startswith("I;16"):
        return np.array(image, np.uint16)[..., None]
    if image.mode not in _PLAIN_MODES:
        if image.mode not in _CONVERTED_MODES:
            raise BrokenImageError(f"pixels of mode {image.mode}", code="decode.unsupported")
        keyed = image.mode == "P" and bands == 4
        image = image.convert("RGBA" if keyed else _CONVERTED_MODES[image.mode])
    pixels = np.array(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _with_alpha(pixels: Pixels, transparent: tuple[int, ...]) -> Pixels:
    opaque = (pixels != np.array(transparent, np.uint8)).any(axis=2, keepdims=True)
    return np.concatenate((pixels, opaque * np.uint8(255)), axis=2)


def _problem(name: ImageFormat, height: int, width: int, bands: int, *, deep: bool) -> str | None:
    """Why a format cannot hold such pixels and which can, or None."""
    side, alpha = max(height, width), bands in (2, 4)
    if deep and bands > 1:
        return "16-bit colour or alpha cannot be written; convert to 8 bits"
    if deep and name in (ImageFormat.JPEG, ImageFormat.WEBP):
        return f"{name} has no 16 bits; use --format png or tiff"
    if alpha and name is ImageFormat.JPEG:
        return "jpeg has no alpha channel; use --format png, webp or tiff"
    limit = {ImageFormat.JPEG: jpeg.MAX_SIDE, ImageFormat.WEBP: webp.MAX_SIDE}.get(name)
    if limit is not None and side > limit:
        return f"{width} x {height} is more than {name}'s {limit} a side; use --format png or tiff"
    return None
