"""Images in bands: the same pixels, however they are cut, for us and for libvips."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.geometry import Size
from sdflow.images import vips
from sdflow.images.bands import BandImage, Bands, bands_of
from sdflow.images.formats import Pixels

from .samples import noise
from .written import ALL_KINDS, cut, images

HEIGHTS = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any)


@given(images(), HEIGHTS, st.integers(1, 30))
def test_bands_cut_anew_are_the_same_image(pixels: Pixels, heights: list[int], rows: int) -> None:
    parts = list(cut(pixels, heights).cut(rows))
    assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
    assert 0 < len(parts[-1]) <= rows
    np.testing.assert_array_equal(np.concatenate(parts), pixels)


@given(images(), HEIGHTS)
def test_libvips_sees_what_an_array_would_show_it(pixels: Pixels, heights: list[int]) -> None:
    source, whole = BandImage(cut(pixels, heights)), vips.from_array(pixels)
    np.testing.assert_array_equal(vips.to_array(source.image), pixels)
    source.check()
    assert source.image.interpretation == whole.interpretation


@pytest.mark.parametrize(("bands", "dtype"), ALL_KINDS)
def test_libvips_reads_images_of_many_strips(bands: int, dtype: type) -> None:
    pixels = noise(1500, 700, bands, dtype)
    source = BandImage(cut(pixels, [37, 260]))
    np.testing.assert_array_equal(vips.to_array(source.image), pixels)
    source.check()


def test_sizes_are_those_of_the_pixels() -> None:
    bands = bands_of(noise(5, 7, 3, np.uint16))
    assert (bands.size, bands.num_bands, bands.dtype.name) == (Size(5, 7), 3, "uint16")
    assert (bands.row_bytes, bands.num_bytes) == (42, 210)


@pytest.mark.parametrize("height", [4, 6])
def test_too_few_or_too_many_rows_are_an_error(height: int) -> None:
    bands = Bands([noise(5, 7, 3)], Size(height, 7), 3, np.dtype(np.uint8))
    with pytest.raises(ValueError, match="5 rows"):
        list(bands.cut(2))


@pytest.mark.parametrize("other", [noise(5, 8, 3), noise(5, 7, 4), noise(5, 7, 3, np.uint16)])
def test_a_band_of_another_kind_is_an_error(other: Pixels) -> None:
    with pytest.raises(ValueError, match="is not of"):
        list(Bands([other], Size(5, 7), 3, np.dtype(np.uint8)).cut(2))


def test_what_the_bands_raise_comes_out_again() -> None:
    def rows() -> Iterator[Pixels]:
        yield noise(400, 700, 3)
        raise KeyError("the region is lost")

    source = BandImage(Bands(rows(), Size(1500, 700), 3, np.dtype(np.uint8)))
    with pytest.raises(vips.VipsError):
        vips.to_array(source.image)
    with pytest.raises(KeyError, match="the region is lost"):
        source.check()
