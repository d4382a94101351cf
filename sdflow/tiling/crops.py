"""Where sub-images are cut out of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.geometry import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.geometry import Size


def plan_crops(size: Size, *, crop: int | None, stride: int | None) -> Iterator[Region]:
    """Squares that cover an image, row by row; the last of each row and column lies at its end.

    Args:
        size: Of the image; sides that are multiples of what ``crop`` and ``stride`` are multiples
            of give corners that are, too.
        crop: Side of the squares; None for the whole image as the only region. Nothing is cut from
            an image with a shorter side.
        stride: From one corner to the next; None: ``crop``, side by side.
    """
    if crop is None:
        yield Region(0, 0, size.height, size.width)
        return
    for y in _starts(size.height, crop, stride or crop):
        for x in _starts(size.width, crop, stride or crop):
            yield Region(y, x, crop, crop)


def _starts(length: int, crop: int, stride: int) -> list[int]:
    if length < crop:
        return []
    starts = list(range(0, length - crop + 1, stride))
    return starts if starts[-1] == length - crop else [*starts, length - crop]
