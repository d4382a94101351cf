"""What of an image's channels an engine gets, and how the others come back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sdflow.images.color import Rest, join_channels, pad_to_cells, resize_plane, split_channels
from sdflow.images.transparency import fill_hidden, restore_hidden
from sdflow.tiling.parts import MARGIN_PX
from sdflow.worker.photo import Photo, lr_size, result_scale, source_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdflow.images.formats import Pixels
    from sdflow.work.parameters import Task


@dataclass(frozen=True, eq=False, slots=True)
class Apart:
    """A photo taken apart.

    Attributes:
        photo: What the engine gets: RGB, visible colours continued into what is transparent.
        colour: RGB (H, W, 3) as it was; the same array where nothing is transparent.
        rest: The other channels.
        restores_hidden: Whether colours under full transparency come back as they were. Not where
            the result is resampled, or they would run into what is visible after all.
    """

    photo: Photo
    colour: Pixels
    rest: Rest
    restores_hidden: bool

    def join(self, samples: Sequence[Pixels], task: Task, scale: int) -> list[Pixels]:
        """Bring back the source's kind of channels.

        Args:
            samples: What the engine made, RGB; may be written to.
            task: Direction.
            scale: HR pixels per LR pixel.
        """
        if self.rest.alpha is None:
            return [join_channels(pixels, None, grey=self.rest.grey) for pixels in samples]
        alpha = _resized(self.rest.alpha, self.photo, task, scale)
        if self.restores_hidden and not alpha.all():
            rows, columns = _nearest(self.photo, task, scale)
            for pixels in samples:
                restore_hidden(pixels, alpha, self.colour, rows, columns)
        return [join_channels(pixels, alpha, grey=self.rest.grey) for pixels in samples]


def take_apart(photo: Photo, task: Task, scale: int, *, deep: bool) -> Apart:
    """Take a photo of 1 to 4 channels apart.

    Args:
        photo: Whole or part.
        task: Direction.
        scale: HR pixels per LR pixel.
        deep: Widen 8 bits to 16, because the result will be resampled: the network sees the same
            numbers.
    """
    pixels = photo.pixels
    if deep and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * np.uint16(257)  # 255 becomes 65,535
    colour, rest = split_channels(pixels)
    filled = colour
    if rest.alpha is not None:
        filled = fill_hidden(colour, rest.alpha, radius=MARGIN_PX * source_scale(task, scale))
    return Apart(replace(photo, pixels=filled), colour, rest, restores_hidden=not deep)


def _resized(alpha: Pixels, photo: Photo, task: Task, scale: int) -> Pixels:
    """Alpha of the result; a flat one stays flat."""
    region = photo.result(task, scale)
    if alpha.min() == alpha.max():
        return np.full((region.height, region.width), alpha.flat[0], alpha.dtype)
    full = pad_to_cells(alpha, source_scale(task, scale))  # as the colours are
    size = lr_size(photo.source(task, scale).size, task, scale).scaled(result_scale(task, scale))
    resized = resize_plane(full, height=size.height, width=size.width)
    return resized[photo.within.kept(task, scale).slices] if photo.within else resized


def _nearest(photo: Photo, task: Task, scale: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For every row and column of the result the nearest of the photo's pixels."""
    source, result = photo.source(task, scale), photo.result(task, scale)
    finer, coarser = source_scale(task, scale), result_scale(task, scale)

    def nearest(start: int, stop: int, first: int, length: int) -> NDArray[np.intp]:
        centres = (2 * np.arange(start, stop) + 1) * finer // (2 * coarser)
        return np.minimum(centres - first, length - 1)

    return (
        nearest(result.y, result.bottom, source.y, source.height),
        nearest(result.x, result.right, source.x, source.width),
    )
