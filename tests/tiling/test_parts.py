from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdflow.geometry import Region, Size
from sdflow.tiling.blend import BandMerger
from sdflow.tiling.grid import Grid, plan_grid
from sdflow.tiling.parts import MARGIN_PX, Part, plan_parts


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, Size]:
    """A grid and the size of its image, which may be a pixel smaller."""
    step = draw(st.sampled_from([1, 2]))
    overlap = draw(st.integers(0, 3)) * step
    tile = 4 * overlap + draw(st.integers(1, 9)) * step
    halo = draw(st.integers(0, 9)) * step
    size = Size(draw(st.integers(1, 90)), draw(st.integers(1, 90)))
    padded = size.padded_to(multiple_of=step, minimum=step)
    return plan_grid(padded, tile=tile, halo=halo, overlap=overlap, multiple_of=step), size


limits = st.integers(0, 4000)


def _parts(planned: tuple[Grid, Size], max_px: int, max_band_px: int = 1 << 30) -> tuple[Part, ...]:
    return plan_parts(*planned, max_px=max_px, max_band_px=max_band_px)


@given(grids(), limits, limits)
def test_cores_cover_every_pixel_once(
    planned: tuple[Grid, Size], max_px: int, max_band_px: int
) -> None:
    covered = np.zeros((planned[0].size.height, planned[0].size.width), int)
    parts = _parts(planned, max_px, max_band_px)
    for part in parts:
        covered[part.core.slices] += 1
        assert part.core.height > 0
        assert part.core.width > 0
    assert (covered == 1).all()
    assert [part.number for part in parts] == [*range(len(parts))]


@given(grids(), limits, limits)
def test_parts_come_in_rows(planned: tuple[Grid, Size], max_px: int, max_band_px: int) -> None:
    size, expected = planned[0].size, Region(0, 0, 0, 0)
    for part in _parts(planned, max_px, max_band_px):
        below = expected.right == size.width
        corner = (expected.bottom, 0) if below else (expected.y, expected.right)
        assert (part.core.y, part.core.x) == corner
        assert corner[1] == 0 or part.core.height == expected.height
        expected = part.core
    assert (expected.bottom, expected.right) == (size.height, size.width)


@given(grids(), limits)
def test_window_has_all_that_the_tiles_read_and_a_margin(
    planned: tuple[Grid, Size], max_px: int
) -> None:
    size = planned[1]
    whole = Region(0, 0, size.height, size.width)
    for part in _parts(planned, max_px):
        assert whole.contains(part.window)
        for tile in part.grid.tiles():
            read = tile.window
            around = Region(
                read.y - MARGIN_PX,
                read.x - MARGIN_PX,
                read.height + 2 * MARGIN_PX,
                read.width + 2 * MARGIN_PX,
            ).intersection(whole)
            assert around is not None
            assert part.window.contains(around)


@given(grids(), limits, limits)
def test_only_parts_of_one_tile_are_larger_than_asked_for(
    planned: tuple[Grid, Size], max_px: int, max_band_px: int
) -> None:
    size = planned[1]
    for part in _parts(planned, max_px, max_band_px):
        corners = {tile: Region(tile.core.y, tile.core.x, 1, 1) for tile in part.grid.tiles()}
        own = [tile for tile, corner in corners.items() if part.core.contains(corner)]
        rows = {tile.core.y for tile in own}
        assert part.core.size.pixels <= max_px or len(own) == 1
        assert part.window.height * size.width <= max_band_px or len(rows) == 1


@given(grids(), limits)
def test_parts_are_blended_as_the_whole_bit_for_bit(
    planned: tuple[Grid, Size], max_px: int
) -> None:
    grid, scale = planned[0], 2
    # What a tile gives depends on the tile, so that neighbours disagree over their overlap.
    results = {
        tile: np.random.default_rng([tile.core.y, tile.core.x])
        .standard_normal((scale * tile.core.height, scale * tile.core.width, 1))
        .astype(np.float32)
        for tile in grid.tiles()
    }

    def merged(some: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        merger = BandMerger(some, scale=scale)
        bands = [merger.add(results[tile]) for tile in some.tiles()]
        return np.concatenate([band for band in bands if band is not None])

    whole = merged(grid)
    for part in _parts(planned, max_px):
        first = next(part.grid.tiles()).core
        own = part.core.relative_to(first).scaled(scale).slices
        assert np.array_equal(merged(part.grid)[own], whole[part.core.scaled(scale).slices])


def test_image_of_one_tile_is_one_part() -> None:
    size = Size(30, 40)
    grid = plan_grid(size, tile=64, halo=8, overlap=0, multiple_of=1)
    (part,) = plan_parts(grid, size, max_px=1, max_band_px=1)
    assert part == Part(0, grid, Region(0, 0, 30, 40), Region(0, 0, 30, 40))


def test_parts_are_about_square_or_as_wide_as_the_image() -> None:
    def shapes(size: Size) -> set[tuple[int, int]]:
        grid = plan_grid(size, tile=16, halo=0, overlap=0, multiple_of=1)
        parts = plan_parts(grid, size, max_px=1 << 16, max_band_px=1 << 30)
        return {(part.core.height, part.core.width) for part in parts}

    assert shapes(Size(1024, 1024)) == {(256, 256)}
    assert shapes(Size(4096, 64)) == {(1024, 64)}
    assert shapes(Size(16, 8192)) == {(16, 4096)}
