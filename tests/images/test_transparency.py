from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdflow.geometry import Region
from sdflow.images.formats import Pixels
from sdflow.images.transparency import fill_hidden, restore_hidden

from .samples import noise

DTYPES = st.sampled_from([np.uint8, np.uint16])


def _alpha(height: int, width: int, share: float, dtype: type, seed: int = 0) -> Pixels:
    """Visible here and there, from hardly to fully."""
    rng = np.random.default_rng(seed)
    peak = int(np.iinfo(dtype).max)
    levels = rng.integers(1, peak, (height, width), endpoint=True)
    return cast("Pixels", np.where(rng.random((height, width)) < share, levels, 0).astype(dtype))


def _mean_around(colour: Pixels, alpha: Pixels, y: int, x: int, radius: int) -> list[int]:
    """The definition, with Python's whole numbers."""
    reach = 1
    while True:
        box = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
        weights = [int(value) for value in alpha[box].flat]
        total = sum(weights)
        if total:
            bands = [colour[box][..., band].flat for band in range(colour.shape[2])]
            sums = [sum(w * int(v) for w, v in zip(weights, b, strict=True)) for b in bands]
            return [(value + total // 2) // total for value in sums]
        if reach == radius:
            return [int(value) for value in colour[y, x]]
        reach = min(2 * reach, radius)


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    share=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    radius=st.sampled_from([1, 2, 3, 8, 32]),
    dtype=DTYPES,
)
def test_hidden_pixels_get_the_mean_of_what_is_visible_around(
    height: int, width: int, share: float, radius: int, dtype: type
) -> None:
    colour, alpha = noise(height, width, 3, dtype), _alpha(height, width, share, dtype)
    before = colour.copy()
    filled = fill_hidden(colour, alpha, radius=radius)
    assert np.array_equal(colour, before)
    assert np.array_equal(filled[alpha > 0], colour[alpha > 0])
    for y, x in zip(*np.nonzero(alpha == 0), strict=True):
        assert filled[y, x].tolist() == _mean_around(colour, alpha, int(y), int(x), radius)


@pytest.mark.parametrize("radius", [8, 32])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_window_is_filled_as_the_whole(radius: int, dtype: type) -> None:
    height, width = 300, 530  # more than the blocks that are worked on at once
    colour, alpha = noise(height, width, 3, dtype), _alpha(height, width, 0.002, dtype)
    whole = fill_hidden(colour, alpha, radius=radius)
    assert not np.array_equal(whole, colour)
    for region in (Region(0, 0, 90, 300), Region(37, 215, 200, 90), Region(150, 301, 150, 229)):
        window = fill_hidden(colour[region.slices], alpha[region.slices], radius=radius)
        top, left = region.y and radius, region.x and radius
        bottom = region.height - (radius if region.bottom < height else 0)
        right = region.width - (radius if region.right < width else 0)
        expected = whole[region.slices][top:bottom, left:right]
        assert np.array_equal(window[top:bottom, left:right], expected)


@given(level=st.integers(0, 65535), seed=st.integers(0, 9), dtype=DTYPES)
def test_flat_colour_is_continued_flat(level: int, seed: int, dtype: type) -> None:
    value = level % (int(np.iinfo(dtype).max) + 1)
    alpha = _alpha(40, 40, 0.05, dtype, seed)
    colour = noise(40, 40, 3, dtype)
    colour[alpha > 0] = value
    filled = fill_hidden(colour, alpha, radius=8)
    changed = (filled != colour).any(axis=2)
    assert (filled[changed] == value).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_sums_that_pass_the_end_of_32_bits_come_out_right(dtype: type) -> None:
    peak = np.iinfo(dtype).max
    colour: Pixels = np.full((400, 400, 3), peak, dtype)
    alpha: Pixels = np.full((400, 400), peak, dtype)
    hole = slice(137, 264), slice(137, 264)  # whose middle alone sees nothing else
    colour[hole], alpha[hole] = 0, 0
    filled = fill_hidden(colour, alpha, radius=63)
    assert not filled[200, 200].any()
    assert (filled == peak).all(axis=2).sum() == 400 * 400 - 1


@pytest.mark.parametrize("level", [0, 255])
def test_nothing_is_copied_where_nothing_is_filled(level: int) -> None:
    colour = noise(20, 20, 3)
    assert fill_hidden(colour, np.full((20, 20), level, np.uint8), radius=8) is colour


@given(st.integers(1, 9), st.integers(1, 300))
def test_hidden_colours_of_the_nearest_pixels_come_back(height: int, width: int) -> None:
    source, alpha = noise(height, width, 3), _alpha(2 * height, 2 * width, 0.5, np.uint8)
    result = np.zeros((2 * height, 2 * width, 3), np.uint8)
    rows, columns = (_halves(2 * side) for side in (height, width))
    restore_hidden(result, alpha, source, rows, columns)
    doubled = source.repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(result, np.where(alpha[..., None] == 0, doubled, 0))


def _halves(count: int) -> NDArray[np.intp]:
    return np.arange(count) // 2
