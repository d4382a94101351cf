"""Pixels and metadata to files, whole or as bands of rows.

libvips writes JPEG, WebP and AVIF, tifffile writes TIFF, and PNG is put together around
libdeflate, except for giant ones, which are libvips' too; all work outside the interpreter lock.
They write no metadata: that is put in here, byte for byte (``metadata``, ``containers``).
What a format cannot hold is refused and names those that can.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyvips

from sdflow.errors import EncodeError
from sdflow.images import containers, png_writer, tiff_writer, vips
from sdflow.images.avif_items import avif_with_metadata
from sdflow.images.bands import BandImage, Bands, bands_of
from sdflow.images.formats import (
    BrokenImageError,
    ImageFormat,
    Metadata,
    Pixels,
    WriteOptions,
)
from sdflow.images.metadata import fitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.geometry import Size

# As ``sdflow bench --encoders`` has it: filter "up" is fast and small, and level 1 of the zlib of
# libvips is not, unlike that of libdeflate.
_GIANT_PNG_FILTER, _GIANT_PNG_LEVELS = "up", (0, 2, 2, 3, 4, 5, 6, 7, 8, 9)
_LONGEST = {ImageFormat.JPEG: 65_500, ImageFormat.WEBP: 16_383, ImageFormat.AVIF: 16_384}
_SPLICED = {
    ImageFormat.JPEG: containers.jpeg_with_metadata,
    ImageFormat.PNG: containers.png_with_metadata,
}
_WEBP_EFFORT, _AVIF_EFFORT = 2, 0  # more takes several times as long for half a decibel


def encode(pixels: Pixels, metadata: Metadata, options: WriteOptions, *, key: str) -> bytes:
    """Encode pixels with their metadata.

    PNG and TIFF decode to the very same pixels. JPEG and AVIF keep the resolution of colours
    (4:4:4). WebP and AVIF keep colours under full transparency, WebP alpha exactly, AVIF nearly;
    grey becomes three channels in them.

    Args:
        pixels: See ``Pixels``.
        metadata: Written as far as the format has a place for it (``metadata.fitted`` says what
            is left out).
        options: What to write.
        key: Named in errors.

    Returns:
        The file. ``encode_bands`` writes the same bytes, but for PNG, which it packs otherwise.

    Raises:
        EncodeError: ``encode.unsupported``: the format cannot hold this depth, alpha or size; the
            message says which ``--format`` can.
    """
    bands = bands_of(pixels)
    check_writable(bands, options.format, key=key)
    metadata = fitted(metadata, options.format, num_bands=bands.num_bands).metadata
    if options.format is ImageFormat.TIFF:
        file = BytesIO()
        _write_tiff(file, bands, metadata, options, BytesIO)
        return file.getvalue()
    try:
        data = _encoded(pixels, metadata, options)
        if options.format is ImageFormat.AVIF:
            return avif_with_metadata(data, metadata)
    except (vips.VipsError, BrokenImageError) as error:
        raise _refused(key, options.format, error) from error
    if options.format is ImageFormat.WEBP:
        alpha = bands.num_bands in (2, 4)
        return containers.webp_with_metadata(data, metadata, bands.size, alpha=alpha)
    head = _SPLICED[options.format](data[: containers.HEAD_BYTES], metadata)
    return b"".join((head, memoryview(data)[containers.HEAD_BYTES :]))


def encode_bands(
    bands: Bands, metadata: Metadata, options: WriteOptions, *, key: str, file: BinaryIO
) -> None:
    """Write an image that comes as bands, in memory that does not grow with its height.

    WebP and AVIF, which end at 16,383 and 16,384 pixels a side, are made in memory nevertheless.

    Args:
        bands: The pixels; they may be asked for from another thread, one after the other.
        metadata: As for ``encode``.
        options: What to write.
        key: Named in errors.
        file: Empty, open to be written and read. Reduced copies of a TIFF pass through further
            temporary files.

    Raises:
        EncodeError: As for ``encode``.
        OSError: The disk is full or the like.
        Exception: Whatever the bands raise. The file is not whole then.
    """
    check_writable(bands, options.format, key=key)
    if options.format in (ImageFormat.WEBP, ImageFormat.AVIF):
        pixels = next(bands.cut(bands.size.height))
        file.write(encode(pixels, metadata, options, key=key))
        return
    metadata = fitted(metadata, options.format, num_bands=bands.num_bands).metadata
    if options.format is ImageFormat.TIFF:
        _write_tiff(file, bands, metadata, options, _temporary)
        return
    source, sink = BandImage(bands), _Sink(file, options.format, metadata)
    try:
        _save(source.image, sink.target, options)
        failure = None
    except vips.VipsError as error:
        failure = error
    source.check()
    sink.check()
    if failure is not None:
        raise _refused(key, options.format, failure) from failure


def check_writable(bands: Bands, name: ImageFormat, *, key: str) -> None:
    """Raise EncodeError unless a format can hold such pixels; ``bands`` is not read."""
    problem = _problem(name, bands.size, bands.num_bands, deep=bands.dtype == np.uint16)
    if problem is not None:
        raise EncodeError(f"{key}: {problem}", item=key)


class _Sink:
    """A file that libvips writes to; its beginning gets the metadata.

    As with sources, an exception is kept and raised by :meth:`check`.
    """

    def __init__(self, file: BinaryIO, name: ImageFormat, metadata: Metadata) -> None:
        self._file, self._splice, self._metadata = file, _SPLICED[name], metadata
        self._head: bytes | None = b""
        self._error: Exception | None = None
        self.target = pyvips.TargetCustom()
        self.target.on_write(self._write)

    def check(self) -> None:
        """Raise what writing has raised."""
        if self._error is not None:
            raise self._error

    def _write(self, data: bytes) -> int:
        try:
            if self._head is None:
                self._file.write(data)
            else:
                self._head += data
                if len(self._head) >= containers.HEAD_BYTES:
                    self._file.write(self._splice(self._head, self._metadata))
                    self._head = None
        except Exception as error:  # noqa: BLE001  # libvips hands none on
            self._error = self._error or error
            return -1
        return len(data)


def _encoded(pixels: Pixels, metadata: Metadata, options: WriteOptions) -> bytes:
    """The file, without metadata but for the profile of an AVIF; raises VipsError."""
    if options.format is ImageFormat.PNG:
        return png_writer.write(pixels, options.png_level)
    if options.format is ImageFormat.WEBP and pixels.shape[2] < 3:
        pixels = np.concatenate((pixels[..., :1], pixels[..., :1], pixels), axis=2)
    image = vips.from_array(pixels)
    if options.format is ImageFormat.AVIF:
        image = image.copy()
        if metadata.icc:
            image.set_type(pyvips.GValue.blob_type, "icc-profile-data", metadata.icc)
    target = pyvips.Target.new_to_memory()
    _save(image, target, options)
    data: bytes = target.get("blob")
    return data


def _save(image: pyvips.Image, target: pyvips.Target, options: WriteOptions) -> None:
    """Write an image without metadata; raises VipsError."""
    arguments: dict[str, Any] = {"Q": options.quality, "keep": "none"}
    if options.format is ImageFormat.JPEG:
        image.jpegsave_target(target, subsample_mode="off", **arguments)
    elif options.format is ImageFormat.PNG:
        level = _GIANT_PNG_LEVELS[options.png_level]
        image.pngsave_target(target, compression=level, filter=_GIANT_PNG_FILTER, keep="none")
    elif options.format is ImageFormat.WEBP:
        image.webpsave_target(target, exact=True, effort=_WEBP_EFFORT, **arguments)
    else:
        arguments |= {"keep": "icc", "compression": "av1", "effort": _AVIF_EFFORT}
        image.heifsave_target(target, subsample_mode="off", **arguments)


def _write_tiff(
    file: BinaryIO,
    bands: Bands,
    metadata: Metadata,
    options: WriteOptions,
    scratch: Callable[[], BinaryIO],
) -> None:
    tiff_writer.write_pixels(file, bands, pyramid=options.pyramid, scratch=scratch)
    if metadata != Metadata():
        tiff_writer.attach(file, metadata)


def _temporary() -> BinaryIO:
    return tempfile.TemporaryFile()


def _problem(name: ImageFormat, size: Size, num_bands: int, *, deep: bool) -> str | None:
    """Why a format cannot hold such pixels and which can, or None."""
    if deep and name not in (ImageFormat.PNG, ImageFormat.TIFF):
        return f"{name} has no 16 bits; use --format png or tiff"
    if num_bands in (2, 4) and name is ImageFormat.JPEG:
        return "jpeg has no alpha channel; use --format png, webp, avif or tiff"
    longest = _LONGEST.get(name)
    if longest is not None and max(size.height, size.width) > longest:
        sides = f"{size.width} x {size.height}"
        return f"{sides} is more than {name}'s {longest} a side; use --format png or tiff"
    return None


def _refused(key: str, name: ImageFormat, error: Exception) -> EncodeError:
    reason = " ".join(str(error).split())
    return EncodeError(
        f"{key} cannot be written as {name}: {reason}; try --format png or tiff", item=key
    )
