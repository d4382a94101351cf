"""An image to encode, put together from a folder of photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdflow.errors import UsageError
from sdflow.images.formats import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from sdflow.images.formats import Pixels

_PIECE = 256


def mosaic(folder: Path, side: int) -> Pixels:
    """Put the middles of photos side by side, in the order of their names.

    Args:
        folder: Photos smaller than 256 pixels a side are passed over. They are spread over the
            whole list, and repeated where there are too few.
        side: Of the result, a multiple of 256.

    Returns:
        (side, side, 3) uint8.

    Raises:
        UsageError: There is no photo of that size.
    """
    across = side // _PIECE
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS)
    stride = max(1, len(paths) // across**2)
    pieces = [piece for path in paths[::stride] if (piece := _middle(path)) is not None]
    if not pieces:
        raise UsageError(f"--images {folder}: no photo of {_PIECE} px or more", item="--images")
    rows = [
        np.concatenate([pieces[(y * across + x) % len(pieces)] for x in range(across)], axis=1)
        for y in range(across)
    ]
    return np.concatenate(rows)


def _middle(path: Path) -> Pixels | None:
    with Image.open(path) as image:
        left, top = ((side - _PIECE) // 2 for side in image.size)
        if left < 0 or top < 0:
            return None
        piece = image.convert("RGB").crop((left, top, left + _PIECE, top + _PIECE))
        return np.array(piece, np.uint8)
