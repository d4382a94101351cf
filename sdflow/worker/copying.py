"""A job that touches no pixel (``--weights copy``): what storage and driver cost by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.images.formats import ImageFormat, ImageInfo, Metadata, format_of_key
from sdflow.tiling.grid import plan_grid
from sdflow.tiling.parts import plan_parts
from sdflow.worker.fetched import Fetched
from sdflow.worker.photo import Drawing, Drawn, Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdflow.errors import SdflowError
    from sdflow.geometry import Size
    from sdflow.images.formats import ByteSource, Pixels
    from sdflow.tiling.parts import Part
    from sdflow.work.parameters import PixelParameters, Task

COPY = "copy"


class CopyCodec:
    """Takes a file for one black pixel whose metadata is the file.

    Args:
        parameters: What the job was told.
    """

    def __init__(self, parameters: PixelParameters) -> None:
        self.parameters = parameters

    is_deep = False

    def result_bytes(
        self, drawn_px: int, num_bands: int, dtype: np.dtype[np.uint8 | np.uint16]
    ) -> int:
        """One pixel's, whatever the file."""
        return drawn_px * num_bands * dtype.itemsize

    def peek(self, data: ByteSource, *, key: str) -> ImageInfo:
        """One pixel, whatever the bytes are."""
        del data
        return ImageInfo(format_of_key(key) or ImageFormat.PNG, 1, 1, 3, 8)

    def decode(self, data: bytes, *, key: str) -> Fetched:
        """One pixel, and the bytes."""
        pixels, metadata = np.zeros((1, 1, 3), np.uint8), Metadata(exif=data)
        return Fetched(pixels, format_of_key(key) or ImageFormat.PNG, metadata)

    def encode(self, pixels: Pixels, image: Fetched, *, sample: int, key: str) -> tuple[bytes, str]:
        """The bytes."""
        del pixels, sample, key
        return image.metadata.exif or b"", ""


class CopyEngine:
    """Gives back what it gets."""

    batch_px = 1
    limits = None
    scale = 1

    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]:
        """The whole."""
        del task, pixel_bytes
        side = max(size.height, size.width)
        grid = plan_grid(size, tile=side, halo=0, overlap=0, multiple_of=1)
        return plan_parts(grid, size, max_px=size.pixels, max_band_px=size.pixels)

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        """The photos themselves, as ``TiledEngine.draw``."""
        for index, photo in enumerate(photos):
            yield index, Drawn((photo.pixels,) * len(drawing.samples))
