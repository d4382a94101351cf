from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.geometry import Region, Size

sides = st.integers(1, 50)
corners = st.integers(0, 50)
regions = st.builds(Region, corners, corners, sides, sides)


@given(st.builds(Size, sides, sides), st.integers(1, 9), st.integers(1, 40))
def test_padded_size_covers_fits_and_is_the_smallest(size: Size, step: int, minimum: int) -> None:
    padded = size.padded_to(multiple_of=step, minimum=minimum)
    for side, least in [(padded.height, size.height), (padded.width, size.width)]:
        assert side % step == 0
        assert side >= max(least, minimum)
        assert side - step < max(least, minimum)


@given(regions, st.integers(1, 9))
def test_scaling_and_dividing_are_inverse(region: Region, factor: int) -> None:
    assert region.scaled(factor).divided(factor) == region
    assert region.scaled(factor).size == region.size.scaled(factor)


def test_dividing_off_the_grid_is_an_error() -> None:
    with pytest.raises(ValueError, match="grid of 2"):
        Region(1, 0, 2, 2).divided(2)


@given(regions, regions)
def test_relative_region_indexes_the_same_pixels(outer: Region, inner: Region) -> None:
    field = np.arange(100 * 100).reshape(100, 100)
    if outer.contains(inner):
        view = field[outer.slices][inner.relative_to(outer).slices]
        assert np.array_equal(view, field[inner.slices])


def test_size_divides_upwards() -> None:
    assert Size(9, 8).divided(4) == Size(3, 2)
    assert Size(9, 8).pixels == 72
