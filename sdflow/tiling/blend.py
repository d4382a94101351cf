"""Merging tile results into rows of the image, holding no more than one row of tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.tiling.grid import Grid, blend_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


def merge_bands(
    cores: Iterable[NDArray[np.float32]], grid: Grid, *, scale: int
) -> Iterator[NDArray[np.float32]]:
    """Merge the results of all tiles, in order, into finished bands of rows.

    Args:
        cores: Results of the tiles' cores in the order of ``grid.tiles()``, each float32
            (core height times scale, core width times scale, channels).
        grid: The plan the tiles came from.
        scale: Output pixels per grid pixel.

    Yields:
        Bands (rows, width times scale, channels) from top to bottom that together are the image.
        Memory holds one row of tiles, whatever the image's height.
    """
    results = iter(cores)
    row_weights = blend_weights(grid.rows, grid.overlap, scale)
    column_weights = blend_weights(grid.columns, grid.overlap, scale)
    carry: NDArray[np.float32] | None = None
    for index, (row, down) in enumerate(zip(grid.rows, row_weights, strict=True)):
        band: NDArray[np.float32] | None = None
        for column, across in zip(grid.columns, column_weights, strict=True):
            core = next(results)
            if band is None:
                band = np.zeros((len(down), grid.size.width * scale, core.shape[2]), np.float32)
            left = column.core_start * scale
            weight = np.outer(down, across).astype(np.float32)[:, :, None]
            band[:, left : left + len(across)] += core * weight
        if band is None:
            return
        if carry is not None:
            band[: len(carry)] += carry
        is_last = index == len(grid.rows) - 1
        finished = (
            len(down) if is_last else (grid.rows[index + 1].core_start - row.core_start) * scale
        )
        carry = band[finished:]
        yield band[:finished]
