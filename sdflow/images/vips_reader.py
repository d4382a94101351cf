"""Pixels that libvips decodes: JPEG, PNG, WebP and AVIF.

The decoders see files without metadata, and are told to give up instead of guessing. A damaged
JPEG already makes libjpeg warn where it paints the rest of the image grey, so there a warning
counts.
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pyvips

from sdflow.geometry import Region
from sdflow.images import avif, jpeg, png, webp
from sdflow.images.colour_profile import DAMAGED_PROFILE, SRGB, cmyk_to_rgb, usable
from sdflow.images.formats import BrokenImageError, ImageFormat, ImageInfo, Metadata
from sdflow.images.spliced import Spliced
from sdflow.images.vips import RangedSource, VipsError, to_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.images.formats import ByteSource, Pixels, Unpacked

_LOADERS = MappingProxyType(
    {
        ImageFormat.JPEG: (pyvips.Image.jpegload_source, "warning"),
        ImageFormat.PNG: (pyvips.Image.pngload_source, "error"),
        ImageFormat.WEBP: (pyvips.Image.webpload_source, "error"),
        ImageFormat.AVIF: (pyvips.Image.heifload_source, "error"),
    }
)
# pyvips cannot read messages that quote bytes of a damaged file.
_VIPS_ERRORS = (VipsError, UnicodeDecodeError)
_GENERAL = re.compile(r"^unable to (call|write to memory|fetch)|load error$")
_TRUNCATED = "premature end of JPEG image"
_NO_MEMORY = "out of memory"


class VipsFile:
    """A file as libvips opens it, kept alive as long as its image is used.

    Args:
        data: All that the decoder gets to see.
        format: What it is.

    Attributes:
        image: The opened image, to be read from top to bottom.

    Raises:
        BrokenImageError: The header cannot be followed.
    """

    def __init__(self, data: ByteSource, format: ImageFormat) -> None:
        self._ranged = None if isinstance(data, bytes) else RangedSource(data)
        self._data = data
        self._source = self._ranged.source if self._ranged else pyvips.Source.new_from_memory(data)
        load, fail_on = _LOADERS[format]
        try:
            self.image = load(self._source, access="sequential", fail_on=fail_on)
        except _VIPS_ERRORS as error:
            raise self.explained(error) from error

    def check(self) -> None:
        """Raise what reading the file has raised: libvips may have taken it for the end."""
        if self._ranged is not None:
            self._ranged.check()

    def explained(self, error: Exception) -> Exception:
        """What an error of libvips means; raises what reading the file has raised."""
        self.check()
        text = str(error)
        if _NO_MEMORY in text:
            return MemoryError("libvips has no more")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        telling = [line for line in lines if not _GENERAL.search(line)]
        code = "decode.truncated" if _TRUNCATED in text else "decode.corrupt"
        return BrokenImageError(f"libvips: {(telling or lines or ['no reason'])[-1]}", code=code)


class VipsReader:
    """A ``PixelReader`` over libvips, for one thread at a time.

    Args:
        info: What the pixels must be.
        open_file: Called once, at the first read.
        finish: From the image as it is decoded to the one that ``info`` describes.
        explain: Raises a better reason for a failure, if there is one.
    """

    is_random = False

    def __init__(
        self,
        info: ImageInfo,
        open_file: Callable[[], VipsFile],
        finish: Callable[[pyvips.Image], pyvips.Image] = lambda image: image,
        explain: Callable[[], None] = lambda: None,
    ) -> None:
        self._info = info
        self._open_file = open_file
        self._finish = finish
        self._explain = explain
        self._opened: tuple[VipsFile, pyvips.Image, pyvips.Region] | None = None

    def read(self, region: Region) -> Pixels:
        """See ``PixelReader``; raises BrokenImageError or MemoryError."""
        try:
            file, image, window = self._opened = self._opened or self._open()
            try:
                pixels = self._cut(image, window, region)
            except _VIPS_ERRORS as error:
                raise file.explained(error) from error
            file.check()
        except BrokenImageError:
            self._explain()
            raise
        return pixels

    def close(self) -> None:
        """Free what was decoded."""
        self._opened = None

    def _cut(self, image: pyvips.Image, window: pyvips.Region, region: Region) -> Pixels:
        if region.size.pixels == self._info.num_pixels:
            return to_array(image)
        fetched = window.fetch(region.x, region.y, region.width, region.height)
        shape = (region.height, region.width, self._info.bands)
        pixels: Pixels = np.frombuffer(fetched, self._info.dtype).reshape(shape)
        return pixels

    def _open(self) -> tuple[VipsFile, pyvips.Image, pyvips.Region]:
        file = self._open_file()
        info = self._info
        try:
            image = self._finish(file.image)
            window = pyvips.Region.new(image)
        except _VIPS_ERRORS as error:
            raise file.explained(error) from error
        kind = "uchar" if info.dtype == np.uint8 else "ushort"
        found = (image.width, image.height, image.bands, image.format)
        if found != (info.width, info.height, info.bands, kind):
            raise BrokenImageError("the pixels are not of the kind that the header announces")
        return file, image, window


def open_jpeg(data: ByteSource, info: ImageInfo) -> tuple[Metadata, VipsReader, str]:
    """Rows of a JPEG file, CMYK as sRGB, and what is left out; raises BrokenImageError."""
    unpacked = jpeg.unpack(data)
    metadata, open_file = unpacked.metadata, _opener(data, unpacked, info.format)
    if len(jpeg.read_frame(data).sampling) != 4:
        return metadata, VipsReader(info, open_file), unpacked.note
    icc = usable(metadata.icc)
    note = unpacked.note if icc == metadata.icc else DAMAGED_PROFILE
    reader = VipsReader(info, open_file, lambda image: cmyk_to_rgb(image, icc))
    return replace(metadata, icc=SRGB), reader, note


def open_png(data: ByteSource, info: ImageInfo) -> tuple[Metadata, VipsReader, str]:
    """Rows of a PNG file, and what is left out of the metadata; raises BrokenImageError."""
    unpacked = png.unpack(data)

    def explain() -> None:
        if isinstance(data, bytes):
            png.explain(data)

    open_file = _opener(data, unpacked, info.format)
    return unpacked.metadata, VipsReader(info, open_file, explain=explain), unpacked.note


def open_webp(data: ByteSource, info: ImageInfo) -> tuple[Metadata, VipsReader, str]:
    """The (first) picture of a WebP file; raises BrokenImageError."""
    unpacked = webp.unpack(data)
    return unpacked.metadata, VipsReader(info, _opener(data, unpacked, info.format)), unpacked.note


def read_avif_info(data: ByteSource) -> ImageInfo:
    """Read the boxes, without the pixels; raises BrokenImageError."""
    frames = avif.count_frames(data)
    image = VipsFile(data, ImageFormat.AVIF).image
    bits = image.get("bits-per-sample")
    kind = {(8, "uchar"): 8, (10, "ushort"): 10, (12, "ushort"): 12}.get((bits, image.format))
    if kind is None:
        raise BrokenImageError(f"{bits}-bit AVIF", code="decode.unsupported")
    refusal = None if image.get_typeof("icc-profile-data") else avif.colour_refusal(data)
    info = ImageInfo(
        ImageFormat.AVIF, image.width, image.height, image.bands, kind, frames, refusal
    )
    return replace(info, whole_bytes=info.decoded_bytes)


def open_avif(data: ByteSource, info: ImageInfo) -> tuple[Metadata, VipsReader, str]:
    """The picture of an AVIF file, turned as its container says; raises BrokenImageError."""
    image = VipsFile(data, ImageFormat.AVIF).image
    icc, exif, xmp = (
        image.get(name) if image.get_typeof(name) else None
        for name in ("icc-profile-data", "exif-data", "xmp-data")
    )
    exif = None if exif is None else exif.removeprefix(b"Exif\0\0")

    def all_bits(image: pyvips.Image) -> pyvips.Image:
        """Fill the low bits: libvips only shifts 10 and 12 bits up, which makes white a grey."""
        if info.dtype == np.uint8:
            return image
        return image | (image >> info.bit_depth)

    def open_file() -> VipsFile:
        return VipsFile(data, ImageFormat.AVIF)

    metadata = Metadata(icc or None, exif or None, xmp or None)
    return metadata, VipsReader(info, open_file, all_bits), ""


def decode_jpeg(stream: bytes, info: ImageInfo) -> Pixels:
    """All pixels of a JPEG stream as they are stored, such as a tile of a TIFF.

    Raises:
        BrokenImageError: The stream is damaged, or not of the kind that ``info`` says.
    """
    reader = VipsReader(info, lambda: VipsFile(stream, ImageFormat.JPEG))
    return reader.read(Region(0, 0, info.height, info.width))


def _opener(data: ByteSource, unpacked: Unpacked, format: ImageFormat) -> Callable[[], VipsFile]:
    spliced = Spliced(data, unpacked.payload)
    payload = spliced[0 : len(spliced)] if isinstance(data, bytes) else spliced
    return lambda: VipsFile(payload, format)
