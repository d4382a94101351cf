from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sdflow.evaluation.sheet import busiest_window, downscaled_row, draw_sheet, upscaled_row
from sdflow.geometry import Region
from sdflow.images.codec import decode
from tests.model.seeded import photo


def _flat_but(region: Region, height: int = 200, width: int = 260) -> NDArray[np.uint8]:
    pixels = np.full((height, width, 3), 128, np.uint8)
    pixels[region.slices] = np.random.default_rng(0).integers(0, 255, (*_shape(region), 3))
    return pixels


def _shape(region: Region) -> tuple[int, int]:
    return region.height, region.width


def _nearest(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


@given(y=st.integers(0, 168), x=st.integers(0, 228))
def test_the_window_is_where_the_detail_is(y: int, x: int) -> None:
    detail = Region(y, x, 32, 32)
    window = busiest_window(_flat_but(detail), 64)
    assert window.size.pixels == 64 * 64
    assert window.contains(detail)


@given(height=st.integers(1, 90), width=st.integers(1, 90), side=st.integers(1, 64))
def test_the_window_lies_in_the_image(height: int, width: int, side: int) -> None:
    window = busiest_window(photo(height, width), side)
    assert Region(0, 0, height, width).contains(window)
    assert _shape(window) == (min(height, side), min(width, side))


def test_an_upscaled_row_shows_the_same_place_at_full_size() -> None:
    lr = _flat_but(Region(30, 40, 16, 16), 60, 80)
    large = _nearest(lr)
    row = upscaled_row("a", lr, {"tau 0.8": (large, 255 - large), "truth": (large,)}, side=64)
    assert list(row.windows) == ["input", "tau 0.8, sample 0", "tau 0.8, sample 1", "truth"]
    assert row.windows["input"].shape == (64, 64, 3)
    for label in ("tau 0.8, sample 0", "truth"):
        assert np.array_equal(row.windows[label], row.windows["input"])
    assert np.array_equal(row.windows["tau 0.8, sample 1"], 255 - row.windows["input"])


def test_a_downscaled_row_shows_small_results_enlarged_beside_the_photo() -> None:
    small = _flat_but(Region(30, 40, 16, 16), 60, 80)
    source = _nearest(small)
    real = _flat_but(Region(8, 8, 16, 16), 32, 32)
    row = downscaled_row("a", source, {"bicubic": (small,)}, real=real, side=64)
    assert np.array_equal(row.windows["bicubic"], row.windows["input"])
    assert np.array_equal(row.windows["some real photo"], _nearest(real[8:24, 8:24]))


def test_deep_and_grey_pixels_are_shown_as_eight_bit_colours() -> None:
    grey = photo(16, 16)[..., :1]
    deep = grey.astype(np.uint16) * 257
    row = upscaled_row("a", deep, {"bicubic": (_nearest(deep),)}, side=64)
    assert np.array_equal(row.windows["bicubic"], np.repeat(_nearest(grey), 3, axis=2))


def test_windows_are_on_the_sheet_pixel_for_pixel_in_their_columns() -> None:
    rows = []
    for number, side in enumerate((64, 40)):
        lr = photo(side // 4, 16, seed=number)
        rows.append(upscaled_row(f"photo {number}", lr, {"bicubic": (_nearest(lr),)}, side=64))
    sheet = decode(draw_sheet(rows), key="sheet.png", max_pixels=10**6).pixels
    views = np.lib.stride_tricks.sliding_window_view(sheet, (40, 64), axis=(0, 1))
    for row in rows:
        window = row.windows["bicubic"][:40].transpose(2, 0, 1)
        found = np.argwhere((views == window).all(axis=(2, 3, 4)))
        assert len(found) == 2  # the input is the same picture here, in the column before
        assert found[0][0] == found[1][0]
        assert found[1][1] - found[0][1] >= 64
