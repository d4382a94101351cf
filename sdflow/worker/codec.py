"""Files to pixels and back, as a job's settings want it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import floor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sdflow import __version__
from sdflow.geometry import Size
from sdflow.images import codec
from sdflow.images.bands import Bands, bands_of
from sdflow.images.encoding import check_writable, encode, encode_bands
from sdflow.images.formats import WriteOptions
from sdflow.images.metadata import finished, fitted
from sdflow.images.provenance import Provenance
from sdflow.images.rescale import rescale_bands
from sdflow.work.names import result_format
from sdflow.worker.cuts import plan_cuts
from sdflow.worker.fetched import Fetched
from sdflow.worker.photo import SCALE

if TYPE_CHECKING:
    from typing import BinaryIO

    from sdflow.images.formats import (
        ByteSource,
        ImageFormat,
        ImageInfo,
        Metadata,
        OpenedImage,
        Pixels,
    )
    from sdflow.work.handling import Handling
    from sdflow.work.parameters import PixelParameters

_WIDEN = 257  # from 8 to 16 bits, so that white stays white


class Origin(Protocol):
    """What of a source its result depends on beside the pixels."""

    @property
    def format(self) -> ImageFormat:
        """Of the file."""

    @property
    def metadata(self) -> Metadata:
        """Of the file."""

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Of the pixels."""


@dataclass(frozen=True, slots=True)
class JobCodec:
    """Reads sources and writes results.

    Attributes:
        parameters: Of the job.
        handling: How images are taken in and written.
    """

    parameters: PixelParameters
    handling: Handling

    @property
    def is_deep(self) -> bool:
        """Whether results are to be drawn in 16 bits, because they are resampled afterwards."""
        return self.parameters.outscale != SCALE

    def result_bytes(
        self, drawn_px: int, num_bands: int, dtype: np.dtype[np.uint8 | np.uint16]
    ) -> int:
        """Memory of a result, as it is drawn or as it is written, whichever is more.

        Args:
            drawn_px: Pixels that are drawn.
            num_bands: Channels of the source; three at least are drawn.
            dtype: Of the source.
        """
        drawn = drawn_px * max(3, num_bands) * (2 if self.is_deep else dtype.itemsize)
        written = drawn_px * num_bands * dtype.itemsize
        return max(drawn, round(written * (self.parameters.outscale / SCALE) ** 2))

    def peek(self, data: ByteSource, *, key: str) -> ImageInfo:
        """What the header says; see ``images.codec.peek``."""
        return codec.peek(data, key=key, first_frame=self.handling.first_frame)

    def decode(self, data: bytes, *, key: str) -> Fetched:
        """A whole image, upright; see ``images.codec.decode``.

        For pairs its sides are cut to multiples of the scale, at the right and at the bottom.
        """
        image = codec.decode(
            data,
            key=key,
            max_pixels=self.handling.max_pixels,
            first_frame=self.handling.first_frame,
        )
        note = left_out(image.frames, image.note)
        if self.parameters.pairs is None:
            return Fetched(image.pixels, image.format, image.metadata, note)
        height, width = (side // SCALE * SCALE for side in image.pixels.shape[:2])
        pixels = image.pixels[:height, :width]
        if self.parameters.pairs.depth == 8:
            pixels = _narrow(pixels, np.dtype(np.uint8))
        return Fetched(
            pixels,
            image.format,
            image.metadata,
            note,
            md5=hashlib.md5(memoryview(data), usedforsecurity=False).hexdigest(),
            cuts=plan_cuts(pixels, self.parameters.pairs),
        )

    def open(self, data: ByteSource, *, key: str) -> OpenedImage:
        """An image to be read in pieces; see ``images.codec.open_image``."""
        return codec.open_image(
            data,
            key=key,
            max_pixels=self.handling.max_pixels,
            first_frame=self.handling.first_frame,
        )

    def check(self, bands: Bands, origin: Origin, *, key: str) -> None:
        """Raise EncodeError unless the result of such pixels can be written.

        Args:
            bands: What will be drawn; its rows are not looked at.
            origin: The source.
            key: Named in the error.
        """
        final = replace(bands, size=self._final(bands.size), dtype=origin.dtype)
        check_writable(final, self._options(origin.format).format, key=key)

    def encode(self, pixels: Pixels, image: Fetched, *, sample: int, key: str) -> tuple[bytes, str]:
        """The file of a result, and what of the metadata is left out, for people.

        Args:
            pixels: As they were drawn, at the scale of the direction.
            image: The source.
            sample: Number of the result.
            key: Named in errors.
        """
        bands = bands_of(pixels)
        if self.is_deep:
            bands = self._scaled(bands, image.dtype)
            pixels = _gathered(bands)
        metadata, note = self._metadata(image, bands, sample)
        return encode(pixels, metadata, self._options(image.format), key=key), note

    def write(self, bands: Bands, origin: Origin, *, sample: int, key: str, file: BinaryIO) -> str:
        """Write the file of a result that comes as bands: what :meth:`encode` makes of the whole.

        Args:
            bands: As they were drawn.
            origin: The source.
            sample: Number of the result.
            key: Named in errors.
            file: Empty, open to be written and read.

        Returns:
            What of the metadata is left out, for people; "" if nothing.
        """
        if self.is_deep:
            bands = self._scaled(bands, origin.dtype)
        metadata, note = self._metadata(origin, bands, sample)
        encode_bands(bands, metadata, self._options(origin.format), key=key, file=file)
        return note

    def _scaled(self, bands: Bands, dtype: np.dtype[np.uint8 | np.uint16]) -> Bands:
        """What was drawn in 16 bits, at the final size and the source's depth."""
        scaled = rescale_bands(bands, self._final(bands.size))
        rows = (_narrow(band, dtype) for band in scaled.rows)
        return replace(scaled, rows=rows, dtype=dtype)

    def _final(self, drawn: Size) -> Size:
        """Size of the result of what was drawn at four times the source's size."""
        if not self.is_deep:
            return drawn
        ratio = self.parameters.outscale / SCALE
        sides = (max(1, floor(side * ratio + 0.5)) for side in (drawn.height, drawn.width))
        return Size(*sides)

    def _options(self, name: ImageFormat) -> WriteOptions:
        given = self.parameters
        return WriteOptions(
            result_format(name, given.format),
            given.quality,
            self.handling.png_level,
            given.tiff_pyramid,
        )

    def _metadata(self, origin: Origin, bands: Bands, sample: int) -> tuple[Metadata, str]:
        given = self.parameters
        provenance = Provenance(
            software=f"sdflow {__version__}",
            weights=given.short_weights,
            task=given.direction,
            tau=given.tau,
            seed=given.seed,
            sample=sample,
        )
        made = finished(
            origin.metadata, size=bands.size, provenance=provenance, mode=given.metadata
        )
        name = self._options(origin.format).format
        fits = fitted(made.metadata, name, num_bands=bands.num_bands)
        return fits.metadata, "; ".join(filter(None, (made.note, fits.note)))


def left_out(frames: int, note: str) -> str:
    """What of a file is no part of the result, for people; "" if nothing.

    Args:
        frames: Images in the file, of which the first is taken.
        note: What was damaged.
    """
    first = f"the first of {frames} images in the file" if frames > 1 else ""
    return "; ".join(filter(None, (first, note)))


def _gathered(bands: Bands) -> Pixels:
    """All bands in one array; no second one is needed for them on the way."""
    pixels = np.empty((bands.size.height, bands.size.width, bands.num_bands), bands.dtype)
    top = 0
    for band in bands.rows:
        pixels[top : top + len(band)] = band
        top += len(band)
    return pixels


def _narrow(pixels: Pixels, dtype: np.dtype[np.uint8 | np.uint16]) -> Pixels:
    """16-bit levels at the source's depth, rounded to the nearest."""
    if dtype == pixels.dtype:
        return pixels
    quotient, rest = np.divmod(pixels, np.uint16(_WIDEN))
    return (quotient + (rest > _WIDEN // 2)).astype(np.uint8)
