"""Merging tile results into rows of the image, holding no more than one row of tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.tiling.grid import Grid, blend_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BandMerger:
    """Takes the results of all tiles, in order, and gives finished bands of rows.

    Memory holds one row of tiles, whatever the image's height.

    Args:
        grid: The plan the tiles come from.
        scale: Output pixels per grid pixel.
    """

    def __init__(self, grid: Grid, *, scale: int) -> None:
        self._grid = grid
        self._scale = scale
        self._down = blend_weights(grid.rows, grid.overlap, scale, length=grid.size.height)
        self._across = blend_weights(grid.columns, grid.overlap, scale, length=grid.size.width)
        self._left = grid.columns[0].core_start
        self._width = grid.columns[-1].core_stop - self._left
        self._next = 0
        self._band: NDArray[np.float32] | None = None
        self._carry: NDArray[np.float32] | None = None

    def add(self, core: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Take the next tile's result.

        Args:
            core: Float32 (core height times scale, core width times scale, channels), in the
                order of ``grid.tiles()``.

        Returns:
            With the last tile of a row, the next band (rows, width times scale, channels): all
            bands from top to bottom together are the image, or the block of it that the grid's
            cores cover. None otherwise.

            The rim that a block shares with tiles outside of it lacks what those would add.
        """
        row, column = divmod(self._next, len(self._grid.columns))
        self._next += 1
        down, across = self._down[row], self._across[column]
        if self._band is None:
            shape = (len(down), self._width * self._scale, core.shape[2])
            self._band = np.zeros(shape, np.float32)
        left = (self._grid.columns[column].core_start - self._left) * self._scale
        weight = np.outer(down, across).astype(np.float32)[:, :, None]
        self._band[:, left : left + len(across)] += core * weight
        return self._finish(row) if column == len(self._grid.columns) - 1 else None

    def _finish(self, row: int) -> NDArray[np.float32]:
        band, rows = self._band, self._grid.rows
        if band is None:
            raise ValueError("no tile was added")
        if self._carry is not None:
            band[: len(self._carry)] += self._carry
        is_last = row == len(rows) - 1
        finished = (
            len(band)
            if is_last
            else (rows[row + 1].core_start - rows[row].core_start) * self._scale
        )
        self._band, self._carry = None, band[finished:]
        return band[:finished]
