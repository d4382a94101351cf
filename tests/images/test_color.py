from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from sdflow.images.codec import Pixels
from sdflow.images.color import Resample, join_channels, resize_pixels, resize_plane, split_channels

from .samples import images, noise

KINDS = [(bands, dtype) for bands in (1, 2, 3, 4) for dtype in (np.uint8, np.uint16)]
SIDES = st.integers(1, 40)
RESAMPLES = st.sampled_from(get_args(Resample))


@given(images(*KINDS))
def test_join_undoes_split(pixels: Pixels) -> None:
    rgb, rest = split_channels(pixels)
    assert rgb.shape == (*pixels.shape[:2], 3)
    assert rgb.dtype == pixels.dtype
    joined = join_channels(rgb, rest.alpha, grey=rest.grey)
    assert joined.dtype == pixels.dtype
    np.testing.assert_array_equal(joined, pixels)


@given(hnp.arrays(np.uint16, (3, 5, 3)), st.sampled_from([np.uint8, np.uint16]))
def test_grey_is_the_rounded_mean(values: Pixels, dtype: type) -> None:
    rgb: Pixels = values.astype(dtype)
    expected = np.rint(rgb.astype(np.float64).mean(axis=2, keepdims=True))
    np.testing.assert_array_equal(join_channels(rgb, None, grey=True), expected)


@settings(deadline=None)
@given(
    level=st.integers(0, 65535),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    sides=st.tuples(SIDES, SIDES, SIDES, SIDES),
    resample=RESAMPLES,
)
def test_a_flat_plane_stays_flat(
    level: int, dtype: type, sides: tuple[int, int, int, int], resample: Resample
) -> None:
    height, width, new_height, new_width = sides
    value = level % (int(np.iinfo(dtype).max) + 1)
    plane: Pixels = np.full((height, width), value, dtype)
    result = resize_plane(plane, height=new_height, width=new_width, resample=resample)
    assert result.dtype == plane.dtype
    assert result.shape == (new_height, new_width)
    assert (result == value).all()


@settings(deadline=None)
@given(pixels=images((3, np.uint8)), height=SIDES, width=SIDES, resample=RESAMPLES)
def test_rgb_equals_pillow_exactly(
    pixels: Pixels, height: int, width: int, resample: Resample
) -> None:
    kernel = Image.Resampling[resample.upper()]
    expected = np.array(Image.fromarray(pixels).resize((width, height), kernel))
    result = resize_pixels(pixels, height=height, width=width, resample=resample)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("resample", get_args(Resample))
def test_16_bits_agree_with_8_bits(bands: int, resample: Resample) -> None:
    coarse = noise(13, 9, bands) // 2 + 64  # so that nothing is clipped between the two passes
    fine = coarse.astype(np.uint16) * 257
    small = resize_pixels(coarse, height=31, width=20, resample=resample).astype(float)
    large = resize_pixels(fine, height=31, width=20, resample=resample)
    assert large.dtype == np.uint16
    assert np.abs(large / 257 - small).max() < 1.5, "8 bits are rounded between the passes"


def test_16_bits_clip_instead_of_wrapping() -> None:
    edge = np.zeros((8, 8), np.uint16)
    edge[:, 4:] = 65535
    result = resize_plane(edge, height=32, width=32, resample="lanczos").astype(int)
    assert result[:, :14].max() < 32768 < result[:, 18:].min()
    assert (result.min(), result.max()) == (0, 65535)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    for bands, dtype in KINDS:
        pixels = noise(6, 5, bands, dtype)
        result = resize_pixels(pixels, height=6, width=5, resample="bicubic")
        np.testing.assert_array_equal(result, pixels)
