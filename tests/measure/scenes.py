"""Large pictures of known content, written to disk without ever being whole in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyvips
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CELL_PX = 512


def scene_cell(row: int, column: int) -> NDArray[np.uint8]:
    """One cell (512, 512, 3) of an endless picture: slow gradients, hard edges, patches of grain.

    Every tenth cell has grain. The rest is what makes results of gigapixels small on disk.
    """
    y = np.arange(row * CELL_PX, (row + 1) * CELL_PX, dtype=np.float64)[:, None]
    x = np.arange(column * CELL_PX, (column + 1) * CELL_PX, dtype=np.float64)[None, :]
    slow = [np.sin(y / 1900) + np.cos(x / 2300), np.cos(y / 2900) - np.sin(x / 1700)]
    cell = np.stack([128 + 50 * slow[0], 120 + 40 * slow[1], 110 + 30 * (slow[0] - slow[1])], 2)
    disc = (x % 997 - 498) ** 2 + (y % 1013 - 506) ** 2 < 260**2
    cell[disc] = 255 - cell[disc]
    if (7 * row + 3 * column) % 10 == 0:
        cell += np.random.default_rng([row, column]).normal(0, 12, cell.shape)
    return cell.clip(0, 255).astype(np.uint8)


def write_bigtiff(path: Path, side_px: int) -> None:
    """Write the picture as BigTIFF: tiles of 512 x 512, RGB, Deflate with differencing."""
    cells = -(-side_px // CELL_PX)
    tifffile.imwrite(
        path,
        (scene_cell(row, column) for row in range(cells) for column in range(cells)),
        bigtiff=True,
        shape=(side_px, side_px, 3),
        dtype=np.uint8,
        tile=(CELL_PX, CELL_PX),
        photometric="rgb",
        compression="adobe_deflate",
        predictor=True,
    )


def write_jpeg(path: Path, side_px: int) -> None:
    """Write the picture as baseline JPEG of quality 95; the raw pixels lie beside it meanwhile."""
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        for rows in _bands(side_px):
            file.write(rows.tobytes())
    image = pyvips.Image.rawload(str(raw), side_px, side_px, 3, access="sequential")
    image.copy(interpretation="srgb").jpegsave(str(path), Q=95)
    raw.unlink()


def _bands(side_px: int) -> Iterator[NDArray[np.uint8]]:
    cells = -(-side_px // CELL_PX)
    for row in range(cells):
        band = np.concatenate([scene_cell(row, column) for column in range(cells)], axis=1)
        yield band[: side_px - row * CELL_PX, :side_px]
