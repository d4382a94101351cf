from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdflow.geometry import Size
from sdflow.tiling.blend import BandMerger
from sdflow.tiling.grid import Grid, plan_grid


def merge_bands(
    cores: Iterable[NDArray[np.float32]], grid: Grid, *, scale: int
) -> Iterator[NDArray[np.float32]]:
    merger = BandMerger(grid, scale=scale)
    for core in cores:
        band = merger.add(core)
        if band is not None:
            yield band


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 30),
    st.integers(0, 5),
    st.integers(0, 8),
    st.sampled_from([1, 4]),
)
def test_merging_pieces_of_an_image_gives_the_image(
    height: int, width: int, tile: int, overlap: int, halo: int, scale: int
) -> None:
    assume(tile >= max(1, 2 * overlap))
    rng = np.random.default_rng(0)
    image = rng.standard_normal((height * scale, width * scale, 2)).astype(np.float32)
    grid = plan_grid(Size(height, width), tile=tile, halo=halo, overlap=overlap, multiple_of=1)
    cores = (image[tile.core.scaled(scale).slices] for tile in grid.tiles())
    bands = list(merge_bands(cores, grid, scale=scale))
    np.testing.assert_allclose(np.concatenate(bands), image, atol=1e-6)
    assert len(bands) == len(grid.rows)


def test_without_overlap_not_a_bit_changes() -> None:
    image = np.random.default_rng(0).standard_normal((50, 40, 3)).astype(np.float32)
    grid = plan_grid(Size(50, 40), tile=16, halo=3, overlap=0, multiple_of=1)
    cores = (image[tile.core.slices] for tile in grid.tiles())
    assert np.array_equal(np.concatenate(list(merge_bands(cores, grid, scale=1))), image)


def test_a_step_between_tiles_becomes_a_ramp() -> None:
    grid = plan_grid(Size(4, 40), tile=20, halo=0, overlap=8, multiple_of=1)
    values = [float(index) for index in range(len(grid.columns))]
    cores = (
        np.full((tile.core.height, tile.core.width, 1), value, np.float32)
        for tile, value in zip(grid.tiles(), values, strict=True)
    )
    row = np.concatenate(list(merge_bands(cores, grid, scale=1)))[0, :, 0]
    assert np.abs(np.diff(row)).max() <= 1 / 8 + 1e-6


def test_memory_does_not_grow_with_the_height() -> None:
    def peak_bytes(height: int) -> int:
        grid = plan_grid(Size(height, 64), tile=32, halo=0, overlap=4, multiple_of=1)

        pieces = (
            np.ones((4 * tile.core.height, 4 * tile.core.width, 3), np.float32)
            for tile in grid.tiles()
        )
        tracemalloc.start()
        rows = sum(len(band) for band in merge_bands(pieces, grid, scale=4) if len(band))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows
        return peak

    assert peak_bytes(2048) < 1.3 * peak_bytes(256)
