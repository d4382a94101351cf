"""A job that touches no pixel (``--weights copy``): what storage and driver cost by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.images.formats import DecodedImage, ImageFormat, ImageInfo, Metadata, format_of_key
from sdflow.worker.photo import Drawing, Drawn, Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdflow.errors import SdflowError
    from sdflow.images.formats import Pixels

COPY = "copy"


class CopyCodec:
    """Takes a file for one black pixel whose metadata is the file."""

    def peek(self, data: bytes, *, key: str) -> ImageInfo:
        """One pixel, whatever the bytes are."""
        del data
        return ImageInfo(format_of_key(key) or ImageFormat.PNG, 1, 1, 3, 8)

    def decode(self, data: bytes, *, key: str, max_pixels: int) -> DecodedImage:
        """One pixel, and the bytes."""
        del max_pixels
        pixels = np.zeros((1, 1, 3), np.uint8)
        return DecodedImage(pixels, format_of_key(key) or ImageFormat.PNG, Metadata(exif=data))

    def encode(
        self, pixels: Pixels, metadata: Metadata, *, format: ImageFormat, quality: int, key: str
    ) -> bytes:
        """The bytes."""
        del pixels, format, quality, key
        return metadata.exif or b""


class CopyEngine:
    """Gives back what it gets."""

    batch_px = 1
    limits = None

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        """The photos themselves, as ``TiledEngine.draw``."""
        for index, photo in enumerate(photos):
            yield index, Drawn((photo.pixels,) * len(drawing.samples))
