"""Cutting an image into tiles: plan one axis, take the product."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sdflow.geometry import Region, Size

if TYPE_CHECKING:
    from collections.abc import Iterator


_BLEND_PX = 8


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis.

    Attributes:
        start: First pixel that goes through the network.
        stop: First pixel after those.
        core_start: First pixel whose result is used.
        core_stop: First pixel after those.
    """

    start: int
    stop: int
    core_start: int
    core_stop: int


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle that goes through the network at once: a core and the halo around it.

    Attributes:
        window: Core and halo.
        core: The part whose result is used.
    """

    window: Region
    core: Region


@dataclass(frozen=True, slots=True)
class Grid:
    """The tiles of one image, or a block of them: every row span crossed with every column span.

    Attributes:
        size: Of the whole image.
        rows: Spans of neighbouring rows of tiles.
        columns: Spans of neighbouring columns of tiles.
        overlap: Pixels that neighbouring cores share, over which their results are blended.
    """

    size: Size
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    overlap: int

    def tiles(self) -> Iterator[Tile]:
        """Yield every tile, row by row."""
        for row in self.rows:
            for column in self.columns:
                yield Tile(
                    window=_region(row.start, row.stop, column.start, column.stop),
                    core=_region(
                        row.core_start, row.core_stop, column.core_start, column.core_stop
                    ),
                )


def plan_grid(size: Size, *, tile: int, halo: int, overlap: int, multiple_of: int) -> Grid:
    """Plan the tiles of an image.

    Args:
        size: Of the image; both sides multiples of ``multiple_of``.
        tile: Side of the core of a tile amid the image; a border tile's core is longer.
        halo: Fewest real neighbouring pixels around every core, but for the image's border.
        overlap: Pixels that neighbouring cores share.
        multiple_of: All edges lie on this grid.

    Returns:
        A grid whose cores cover the image.

    Raises:
        ValueError: If the numbers contradict each other; the message says which.
    """
    for name, value in (("tile", tile), ("halo", halo), ("overlap", overlap)):
        if value % multiple_of or value < 0:
            raise ValueError(
                f"{name} must be a multiple of {multiple_of} and not negative: {value}"
            )
    if tile <= overlap:
        raise ValueError(f"tile ({tile}) must be larger than overlap ({overlap})")
    rows, columns = (
        plan_axis(length, tile=tile, halo=halo, overlap=overlap, multiple_of=multiple_of)
        for length in (size.height, size.width)
    )
    return Grid(size, rows, columns, overlap)


def plan_axis(
    length: int, *, tile: int, halo: int, overlap: int, multiple_of: int
) -> tuple[Span, ...]:
    """Plan one axis: windows of one length, ``tile`` and a halo on both sides, evenly placed.

    All windows are equally long, so that tiles of different images can share a batch, whose shape
    never depends on who else is in it. At the image's border a window lies inside, not clipped. An
    axis that fits into one window whole is one span: no halo is computed twice. Every pixel belongs
    to one core, or to two neighbouring ones within their overlap, and every core has its whole halo
    wherever the image has one.

    Raises:
        ValueError: If ``length`` is not a positive multiple of ``multiple_of``.
    """
    if length < 1 or length % multiple_of:
        raise ValueError(f"length must be a positive multiple of {multiple_of}: {length}")
    window = tile + 2 * halo
    if length <= window:
        return (Span(0, length, 0, length),)
    steps = (length - window) // multiple_of
    gaps = -(-(length - window) // (tile - overlap))
    starts = [steps * index // gaps * multiple_of for index in range(gaps + 1)]
    # Neighbours share their overlap in the middle of what both could give.
    seams = [
        (before + window + after - overlap) // (2 * multiple_of) * multiple_of
        for before, after in pairwise(starts)
    ]
    cores = zip([0, *seams], [*(seam + overlap for seam in seams), length], strict=True)
    return tuple(
        Span(start, start + window, *core) for start, core in zip(starts, cores, strict=True)
    )


def blend_overlap(halo: int, needed: int) -> int:
    """Pixels that neighbouring cores share: none where their halo is all that is needed."""
    return 0 if halo >= needed else _BLEND_PX


def halo_overhead(tile: int, halo: int) -> float:
    """How many pixels a tile amid an image computes for every one that is used."""
    return ((tile + 2 * halo) / tile) ** 2


def blend_weights(
    spans: tuple[Span, ...], overlap: int, scale: int, *, length: int
) -> list[list[float]]:
    """Weights of every span's core along one axis, on a grid ``scale`` times as fine.

    Linear ramps over the overlaps; at every pixel the weights of all spans sum to 1.

    Args:
        spans: Of the whole axis, or some neighbours of it.
        overlap: Pixels that neighbouring cores share.
        scale: Output pixels per pixel.
        length: Of the whole axis: a core that ends elsewhere has a neighbour.
    """
    ramp = [(step + 0.5) / (overlap * scale) for step in range(overlap * scale)]
    weights = []
    for span in spans:
        values = [1.0] * ((span.core_stop - span.core_start) * scale)
        for step, value in enumerate(ramp):
            if span.core_start > 0:
                values[step] *= value
        for step, value in enumerate(ramp):
            if span.core_stop < length:
                values[len(values) - len(ramp) + step] *= 1.0 - value
        weights.append(values)
    return weights


def _region(top: int, bottom: int, left: int, right: int) -> Region:
    return Region(top, left, bottom - top, right - left)
