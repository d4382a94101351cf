"""What a worker has fetched of an item: pixels to draw from, or work of another kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from sdflow.geometry import Region
    from sdflow.images.formats import ImageFormat, Metadata, Pixels
    from sdflow.worker.photo import Within


def weight_px(num_bytes: int) -> int:
    """Memory in pixels of 8-bit RGB, at least one: what budgets and limits are counted in."""
    return max(1, -(-num_bytes // 3))


@dataclass(frozen=True, eq=False, slots=True)
class Fetched:
    """A source, or a window of one, that is ready to be drawn from.

    Attributes:
        pixels: See ``Pixels``; upright.
        format: Of the source.
        metadata: Of the source.
        note: What of the source is left out, for people; "" if nothing.
        within: Which window of which image; None for a whole one.
        fetch_s: Seconds that reading and decoding took.
        md5: Of the file, in hexadecimal, where results depend on it; else "".
        cuts: Number and place of every pair that is to be cut.
    """

    pixels: Pixels
    format: ImageFormat
    metadata: Metadata
    note: str = ""
    within: Within | None = None
    fetch_s: float = 0.0
    md5: str = ""
    cuts: tuple[tuple[int, Region], ...] = ()

    def noise_key(self, key: str) -> str:
        """Whose noise it is: of pairs another version of a source has another one."""
        return f"{key}@{self.md5}" if self.md5 else key

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Of the pixels."""
        return self.pixels.dtype

    @property
    def num_pixels(self) -> int:
        """Height times width."""
        return int(self.pixels.shape[0] * self.pixels.shape[1])

    @property
    def weight_px(self) -> int:
        """What the pixels weigh in memory."""
        return weight_px(self.pixels.nbytes)


@dataclass(frozen=True, slots=True)
class Chore:
    """Stands for an item that needs no drawing: an image to be divided, or to be put together."""
