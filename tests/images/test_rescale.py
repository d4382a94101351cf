"""Resampling: exact, so that no cut and no order shows, and Lanczos, so that others agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdflow.geometry import Size
from sdflow.images.bands import bands_of
from sdflow.images.formats import Pixels
from sdflow.images.rescale import rescale_bands

from .samples import noise
from .written import cut, images

SIZES = st.builds(Size, st.integers(1, 60), st.integers(1, 60))
HEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def rescale(pixels: Pixels, target: Size) -> Pixels:
    return np.concatenate(list(rescale_bands(bands_of(pixels), target).rows))


def by_pillow(pixels: Pixels, target: Size) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """In 32-bit floats, channel by channel, unclipped."""
    planes = [
        Image.fromarray(pixels[..., band].astype(np.float32)).resize(
            (target.width, target.height), Image.Resampling.LANCZOS
        )
        for band in range(pixels.shape[2])
    ]
    return np.stack([np.asarray(plane, np.float64) for plane in planes], axis=2)


@given(images(), SIZES, HEIGHTS)
def test_no_cut_shows(pixels: Pixels, target: Size, heights: list[int]) -> None:
    bands = rescale_bands(cut(pixels, heights), target)
    assert (bands.size, bands.dtype) == (target, pixels.dtype)
    streamed, whole = np.concatenate(list(bands.cut(7))), rescale(pixels, target)
    assert whole.shape == (target.height, target.width, pixels.shape[2])
    np.testing.assert_array_equal(streamed, whole)


@pytest.mark.parametrize("scale", [1.25, 1.5, 2.0, 0.9, 0.625, 0.25])
def test_no_cut_shows_in_images_of_many_bands(scale: float) -> None:
    pixels = noise(333, 150, 3, np.uint16)
    target = Size(round(333 * scale), round(150 * scale))
    bands = rescale_bands(cut(pixels, [1, 50, 7]), target)
    np.testing.assert_array_equal(np.concatenate(list(bands.rows)), rescale(pixels, target))


@given(st.integers(0, 65535), SIZES, SIZES)
def test_flat_stays_flat(level: int, size: Size, target: Size) -> None:
    pixels = np.full((size.height, size.width, 2), level, np.uint16)
    assert (rescale(pixels, target) == level).all()


@given(images())
def test_the_same_size_gives_the_same_pixels(pixels: Pixels) -> None:
    np.testing.assert_array_equal(rescale(pixels, Size(*pixels.shape[:2])), pixels)


@given(images((3, np.uint8), (2, np.uint16)), SIZES)
def test_rows_and_columns_are_treated_alike(pixels: Pixels, target: Size) -> None:
    turned = rescale(pixels.swapaxes(0, 1), target.transposed())
    np.testing.assert_array_equal(turned.swapaxes(0, 1), rescale(pixels, target))


@given(images((3, np.uint8), (2, np.uint16)), SIZES)
def test_no_side_is_preferred(pixels: Pixels, target: Size) -> None:
    result = rescale(pixels, target).astype(int)
    mirrored = rescale(pixels[::-1, ::-1], target)[::-1, ::-1]
    assert np.abs(mirrored - result).max() <= 2


@pytest.mark.parametrize("scale", [1.25, 1.5, 2.0, 0.9, 0.625, 0.5, 0.25])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pillow_agrees(scale: float, dtype: type) -> None:
    pixels = noise(90, 61, 3, dtype)
    target = Size(round(90 * scale), round(61 * scale))
    expected = by_pillow(pixels, target).clip(0, np.iinfo(dtype).max)
    assert np.abs(rescale(pixels, target) - expected).max() < (2 if dtype is np.uint16 else 0.51)


def test_an_edge_rings_on_its_own_side_of_the_image_alone() -> None:
    pixels = np.full((40, 40, 1), 1000, np.uint16)
    pixels[:, :3] = 60_000
    result = rescale(pixels, Size(50, 50))
    assert (result[:, 25:] == 1000).all()
    assert (result == result[0]).all()
