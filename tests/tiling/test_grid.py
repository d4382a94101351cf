from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdflow.geometry import Region, Size
from sdflow.tiling.grid import blend_weights, plan_axis, plan_grid


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    step = draw(st.sampled_from([1, 2, 4]))
    overlap = draw(st.integers(0, 4)) * step
    tile = overlap + draw(st.integers(1, 20)) * step
    halo = draw(st.integers(0, 20)) * step
    length = draw(st.integers(1, 200)) * step
    return length, tile, halo, overlap, step


@given(axes())
def test_cores_cover_the_axis_and_share_exactly_the_overlap(
    axis: tuple[int, int, int, int, int],
) -> None:
    length, tile, halo, overlap, step = axis
    spans = plan_axis(length, tile=tile, halo=halo, overlap=overlap, multiple_of=step)
    assert spans[0].core_start == spans[0].start == 0
    assert spans[-1].core_stop == spans[-1].stop == length
    for before, after in pairwise(spans):
        assert before.core_stop - after.core_start == overlap
        assert before.core_start < after.core_start


@given(axes())
def test_every_core_has_its_halo_and_all_windows_are_equally_long(
    axis: tuple[int, int, int, int, int],
) -> None:
    length, tile, halo, overlap, step = axis
    for span in plan_axis(length, tile=tile, halo=halo, overlap=overlap, multiple_of=step):
        assert 0 <= span.start <= max(0, span.core_start - halo)
        assert length >= span.stop >= min(length, span.core_stop + halo)
        assert span.stop - span.start == min(length, tile + 2 * halo)
        edges = (span.start, span.stop, span.core_start, span.core_stop)
        assert all(edge % step == 0 for edge in edges)


@given(axes(), st.sampled_from([1, 4]))
def test_weights_are_a_partition_of_unity(axis: tuple[int, int, int, int, int], scale: int) -> None:
    length, tile, halo, overlap, step = axis
    assume(tile >= 3 * overlap + 2 * step)
    spans = plan_axis(length, tile=tile, halo=halo, overlap=overlap, multiple_of=step)
    total = [0.0] * (length * scale)
    for span, weights in zip(
        spans, blend_weights(spans, overlap, scale, length=length), strict=True
    ):
        assert len(weights) == (span.core_stop - span.core_start) * scale
        for offset, weight in enumerate(weights):
            total[span.core_start * scale + offset] += weight
    assert total == pytest.approx([1.0] * len(total), abs=1e-12)


def test_axis_that_fits_a_window_is_one_span() -> None:
    assert len(plan_axis(100, tile=40, halo=30, overlap=0, multiple_of=1)) == 1
    assert len(plan_axis(101, tile=40, halo=30, overlap=0, multiple_of=1)) == 2
    assert len(plan_axis(141, tile=40, halo=30, overlap=0, multiple_of=1)) == 3


def test_grid_is_the_product_of_its_axes() -> None:
    grid = plan_grid(Size(50, 70), tile=26, halo=2, overlap=0, multiple_of=1)
    tiles = list(grid.tiles())
    assert len(tiles) == len(grid.rows) * len(grid.columns) == 2 * 3
    assert tiles[0].window == Region(0, 0, 30, 30)
    assert tiles[0].core == Region(0, 0, 25, 25)
    assert all(tile.window.contains(tile.core) for tile in tiles)
    assert sum(tile.core.size.pixels for tile in tiles) == 50 * 70


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tile": 3}, "tile must be a multiple of 2"),
        ({"halo": -2}, "halo must be a multiple of 2 and not negative"),
        ({"overlap": 8}, r"tile \(8\) must be larger than overlap"),
    ],
)
def test_contradictions_are_named(wrong: dict[str, int], message: str) -> None:
    numbers = {"tile": 8, "halo": 2, "overlap": 0, "multiple_of": 2, **wrong}
    with pytest.raises(ValueError, match=message):
        plan_grid(Size(20, 20), **numbers)


def test_odd_length_is_refused_where_it_must_be_even() -> None:
    with pytest.raises(ValueError, match="positive multiple of 2"):
        plan_axis(7, tile=4, halo=0, overlap=0, multiple_of=2)
