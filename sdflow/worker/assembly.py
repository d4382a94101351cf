"""Results of tiles put together into whole images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.images.tensor import to_pixels
from sdflow.tiling.blend import BandMerger

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from sdflow.geometry import Region, Size
    from sdflow.tiling.grid import Grid


class Assembly:
    """One output image that grows tile by tile, in order.

    Args:
        grid: The plan of its tiles.
        size: Of the output, which may be smaller than the grid's: the rest was padding.
        dtype: Depth of the output, uint8 or uint16.
        scale: Output pixels per grid pixel.
    """

    def __init__(self, grid: Grid, size: Size, dtype: DTypeLike, *, scale: int) -> None:
        self.pixels: NDArray[Any] = np.empty((size.height, size.width, 3), dtype)
        self._scale = scale
        self._merger = BandMerger(grid, scale=scale) if grid.overlap else None
        self._top = 0

    def add(self, core: Region, result: NDArray[Any]) -> None:
        """Take the next tile's result: pixels, or float32 values where neighbours are blended."""
        if self._merger is None:
            rows, columns = core.scaled(self._scale).slices
            target = self.pixels[rows, columns]
            target[:] = result[: target.shape[0], : target.shape[1]]
            return
        band = self._merger.add(result)
        if band is not None:
            target = self.pixels[self._top : self._top + len(band)]
            target[:] = to_pixels(band[: len(target), : target.shape[1]], target.dtype)
            self._top += len(target)
