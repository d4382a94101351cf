"""The eight orientations of EXIF (tag 274; EXIF 3.0, section 4.6.5): pixels and rectangles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.geometry import Region, Size

if TYPE_CHECKING:
    from sdflow.images.formats import Pixels

UPRIGHT = 1
_TRANSPOSED = frozenset({5, 6, 7, 8})
_FLIPPED_ROWS = frozenset({3, 4, 6, 7})  # of the stored pixels, before they are transposed
_FLIPPED_COLUMNS = frozenset({2, 3, 7, 8})


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn stored pixels (H, W, C) upright; a view."""
    rows = -1 if orientation in _FLIPPED_ROWS else 1
    columns = -1 if orientation in _FLIPPED_COLUMNS else 1
    turned = pixels[::rows, ::columns]
    return turned.swapaxes(0, 1) if orientation in _TRANSPOSED else turned


def upright_size(stored: Size, orientation: int) -> Size:
    """The size of an image once it is upright."""
    return stored.transposed() if orientation in _TRANSPOSED else stored


def stored_region(region: Region, stored: Size, orientation: int) -> Region:
    """Where the pixels of a region of the upright image are stored.

    Args:
        region: In the upright image.
        stored: Size of the image as it is stored.
        orientation: 1 to 8.
    """
    y, x, height, width = region.y, region.x, region.height, region.width
    if orientation in _TRANSPOSED:
        y, x, height, width = x, y, width, height
    if orientation in _FLIPPED_ROWS:
        y = stored.height - y - height
    if orientation in _FLIPPED_COLUMNS:
        x = stored.width - x - width
    return Region(y, x, height, width)
