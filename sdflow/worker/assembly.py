"""Results of tiles put together into images, or parts of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.geometry import Region
from sdflow.images.tensor import to_pixels
from sdflow.tiling.blend import BandMerger

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from sdflow.worker.planning import Plan


class Assembly:
    """One output that grows tile by tile, in order.

    Args:
        plan: Of its tiles, whose cores cover the result; what they have beyond it was padding, or
            belongs to other parts.
        dtype: Depth of the output, uint8 or uint16.
        scale: Output pixels per grid pixel.
    """

    def __init__(self, plan: Plan, dtype: DTypeLike, *, scale: int) -> None:
        grid, result = plan.grid, plan.result
        self.pixels: NDArray[Any] = np.empty((result.height, result.width, 3), dtype)
        self._result = result
        self._scale = scale
        self._merger = BandMerger(grid, scale=scale) if grid.overlap else None
        self._top, self._left = grid.rows[0].core_start * scale, grid.columns[0].core_start * scale

    def add(self, core: Region, result: NDArray[Any]) -> None:
        """Take the next tile's result: pixels, or float32 values where neighbours are blended."""
        if self._merger is None:
            self._put(core.scaled(self._scale), result)
            return
        band = self._merger.add(result)
        if band is not None:
            self._put(Region(self._top, self._left, *band.shape[:2]), band)
            self._top += len(band)

    def _put(self, place: Region, values: NDArray[Any]) -> None:
        shared = place.intersection(self._result)
        if shared is None:
            return
        wanted = values[shared.relative_to(place).slices]
        is_float = values.dtype == np.float32
        self.pixels[shared.relative_to(self._result).slices] = (
            to_pixels(wanted, self.pixels.dtype) if is_float else wanted
        )
