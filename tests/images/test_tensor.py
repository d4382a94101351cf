from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.geometry import Region, Size
from sdflow.images.tensor import read_window

from .samples import noise


@given(
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    corner=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    window=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_window_beyond_the_border_is_a_reflection(
    sides: tuple[int, int], corner: tuple[int, int], window: tuple[int, int]
) -> None:
    image = noise(*sides, 3)
    before, after = (60, 60), (60, 60)  # further than any window reaches
    around = np.pad(image, (before, after, (0, 0)), mode="reflect")
    expected = around[60 + corner[0] :, 60 + corner[1] :][: window[0], : window[1]]
    assert np.array_equal(read_window(image, Region(*corner, *window)), expected)


@given(
    top=st.integers(0, 20),
    left=st.integers(0, 20),
    y=st.integers(0, 40),
    x=st.integers(0, 40),
)
def test_window_of_a_held_piece_is_that_of_the_whole(top: int, left: int, y: int, x: int) -> None:
    image, size = noise(40, 40, 3), Size(40, 40)
    held = Region(top, left, 40 - top, 40 - left)
    piece, window = image[held.slices], Region(y, x, 9, 7)
    first_y, first_x = (
        min(start, 2 * 39 - (stop - 1)) if stop > 40 else start  # a reflection looks back
        for start, stop in ((y, y + 9), (x, x + 7))
    )
    if first_y < top or first_x < left:
        with pytest.raises(ValueError, match="lack some of the window"):
            read_window(piece, window, held=held, size=size)
    else:
        expected = read_window(image, window)
        assert np.array_equal(read_window(piece, window, held=held, size=size), expected)


def test_window_behind_a_held_piece_is_an_error() -> None:
    held = Region(0, 0, 20, 40)
    with pytest.raises(IndexError):
        read_window(noise(20, 40, 3), Region(15, 0, 9, 7), held=held, size=Size(40, 40))
