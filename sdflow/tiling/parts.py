"""Cutting a giant image's grid of tiles into parts that are drawn apart."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

from sdflow.geometry import Region, Size
from sdflow.tiling.grid import Grid, Span

if TYPE_CHECKING:
    from collections.abc import Callable

MARGIN_PX = 8
"""LR pixels around the windows of a part's tiles: what surrounds the network reads this far."""


@dataclass(frozen=True, slots=True)
class Part:
    """A block of the tiles of an image, drawn as a piece of work of its own.

    Its tiles are the whole image's own, so that its result is the whole image's, bit for bit.

    Attributes:
        number: 0-based, row by row.
        grid: The block's tiles, those before it included that are blended with it.
        core: The rectangle whose result is this part's alone, on the LR grid.
        window: What of the source it needs, on the LR grid; inside the image.
    """

    number: int
    grid: Grid
    core: Region
    window: Region


def plan_parts(grid: Grid, size: Size, *, max_px: int, max_band_px: int) -> tuple[Part, ...]:
    """Cut a grid into blocks of whole tiles.

    The blocks are about square, or as wide as the image, so that little is read twice. All parts
    of one row of parts have the same rows.

    Args:
        grid: The tiles of the whole image.
        size: Of the image on the LR grid, without what ``grid`` adds to it as padding.
        max_px: Most LR pixels of a part's core; a part has one tile at least.
        max_band_px: Most LR pixels of a band as high as a part's window and as wide as the image,
            which is what a file that is read from top to bottom has to give at once; a part has
            one row of tiles at least.

    Returns:
        Parts, row by row, whose cores cover the grid's size exactly.
    """
    whole = grid.size
    height_px = max(isqrt(max_px), max_px // whole.width)
    down, across = _edges(grid.rows, whole.height), _edges(grid.columns, whole.width)

    def has_fitting_rows(first: int, last: int) -> bool:
        window = _window(_block(grid.rows, first, last), size.height)
        band_px = (window[1] - window[0]) * size.width
        return down[last] - down[first] <= height_px and band_px <= max_band_px

    parts: list[Part] = []
    for top, bottom in _runs(len(grid.rows), has_fitting_rows):
        rows, height = _block(grid.rows, top, bottom), down[bottom] - down[top]
        y, y_end = _window(rows, size.height)

        def has_fitting_columns(first: int, last: int, height: int = height) -> bool:
            return (across[last] - across[first]) * height <= max_px

        for left, right in _runs(len(grid.columns), has_fitting_columns):
            columns = _block(grid.columns, left, right)
            x, x_end = _window(columns, size.width)
            parts.append(
                Part(
                    number=len(parts),
                    grid=Grid(whole, rows, columns, grid.overlap),
                    core=Region(down[top], across[left], height, across[right] - across[left]),
                    window=Region(y, x, y_end - y, x_end - x),
                )
            )
    return tuple(parts)


def _edges(spans: tuple[Span, ...], length: int) -> list[int]:
    """Where the pixels begin that belong to a span and to none before it; last the end."""
    return [*(span.core_start for span in spans), length]


def _block(spans: tuple[Span, ...], first: int, last: int) -> tuple[Span, ...]:
    """The spans from ``first`` to before ``last``, and those before that are blended with them."""
    start = first
    while start and spans[start - 1].core_stop > spans[first].core_start:
        start -= 1
    return spans[start:last]


def _window(spans: tuple[Span, ...], length: int) -> tuple[int, int]:
    """First and last pixel, exclusive, that a block reads of an axis."""
    return max(0, spans[0].start - MARGIN_PX), min(length, spans[-1].stop + MARGIN_PX)


def _runs(count: int, is_fitting: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """Cut ``range(count)`` into the longest runs that fit, or have one member."""
    runs, first = [], 0
    for last in range(1, count + 1):
        if last == count or not is_fitting(first, last + 1):
            runs.append((first, last))
            first = last
    return runs
