import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdflow.errors import EncodeError
from sdflow.images.codec import peek
from sdflow.images.encoding import encode
from sdflow.images.formats import (
    FORMAT_BY_EXTENSION,
    IMAGE_EXTENSIONS,
    ImageFormat,
    Metadata,
    Pixels,
    WriteOptions,
    format_of_key,
)

from .samples import noise, opened, read
from .written import (
    ALL_KINDS,
    FORMATS,
    KEY,
    LOSSLESS,
    WHOLE,
    by_libvips,
    by_tifffile,
    images,
    write,
)


@given(
    pixels=images(),
    format=st.sampled_from(LOSSLESS),
    metadata=st.sampled_from([WHOLE, Metadata()]),
)
def test_lossless_formats_return_the_very_same_pixels(
    pixels: Pixels, format: ImageFormat, metadata: Metadata
) -> None:
    data = write(pixels, format, metadata)
    result = read(data)
    assert result.format is format
    assert result.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(result.pixels, pixels)
    np.testing.assert_array_equal(by_libvips(data).numpy().reshape(pixels.shape), pixels)
    if format is ImageFormat.TIFF:
        np.testing.assert_array_equal(by_tifffile(data), pixels)
    if pixels.dtype == np.uint8:
        np.testing.assert_array_equal(np.array(opened(data)).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_views_of_pixels_are_written_like_copies(format: ImageFormat, dtype: type) -> None:
    if dtype is np.uint16 and format not in LOSSLESS:
        pytest.skip("no 16 bits")
    view = noise(9, 7, 1, dtype).swapaxes(0, 1)[::-1, ::2]
    assert write(view, format) == write(view.copy(), format)


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_png_level_is_exact(level: int, dtype: type) -> None:
    pixels = noise(40, 60, 4, dtype)
    options = WriteOptions(ImageFormat.PNG, png_level=level)
    np.testing.assert_array_equal(read(encode(pixels, WHOLE, options, key=KEY)).pixels, pixels)


def test_png_levels_make_files_smaller() -> None:
    ramp = np.add.outer(np.arange(99), np.arange(300)).astype(np.uint8)[..., None]
    sizes = [
        len(encode(ramp, Metadata(), WriteOptions(ImageFormat.PNG, png_level=level), key=KEY))
        for level in (0, 1, 9)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > ramp.size > 10 * sizes[1]


@settings(max_examples=50)
@given(pixels=images((1, np.uint8), (3, np.uint8)))
def test_jpeg_keeps_size_and_channels(pixels: Pixels) -> None:
    data = write(pixels, ImageFormat.JPEG, quality=95)
    assert read(data).pixels.shape == pixels.shape
    found = np.array(opened(data)).reshape(pixels.shape).astype(int)
    assert np.abs(found - read(data).pixels).max() <= 2, "decoders agree"


@settings(max_examples=50)
@given(pixels=images((1, np.uint8), (2, np.uint8), (3, np.uint8), (4, np.uint8)))
def test_webp_keeps_size_and_exact_alpha(pixels: Pixels) -> None:
    height, width, bands = pixels.shape
    result = read(write(pixels, ImageFormat.WEBP)).pixels
    opaque = bands in (2, 4) and bool((pixels[..., -1] == 255).all())
    if bands in (2, 4) and not opaque:
        np.testing.assert_array_equal(result[..., 3], pixels[..., -1])
    assert result.shape[:2] == (height, width)
    assert result.shape[2] in ((3, 4) if opaque else (4,) if bands in (2, 4) else (3,))


@pytest.mark.parametrize("format", [ImageFormat.WEBP, ImageFormat.AVIF])
def test_colours_under_full_transparency_are_kept(format: ImageFormat) -> None:
    pixels = np.full((16, 16, 4), (200, 40, 90, 0), np.uint8)
    result = read(write(pixels, format)).pixels.astype(int)
    assert np.abs(result - pixels).max() <= 4


@given(st.integers(1, 255))
def test_flat_alpha_stays_flat_in_avif(alpha: int) -> None:
    pixels = np.full((16, 16, 4), (200, 40, 90, alpha), np.uint8)
    assert (read(write(pixels, ImageFormat.AVIF)).pixels[..., 3:] == alpha).all()


@pytest.mark.parametrize("format", [ImageFormat.WEBP, ImageFormat.AVIF])
def test_grey_stays_grey_to_the_eye_where_a_format_has_none(format: ImageFormat) -> None:
    found = by_libvips(write(noise(40, 60, 1), format)).numpy().astype(int)
    assert found.shape == (40, 60, 3)
    assert np.abs(found - found[..., :1]).max() <= 2


@pytest.mark.parametrize("format", [ImageFormat.JPEG, ImageFormat.WEBP, ImageFormat.AVIF])
def test_lossy_formats_stay_near_and_obey_quality(format: ImageFormat) -> None:
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    fine, coarse = (write(ramp, format, quality=quality) for quality in (95, 20))
    assert np.abs(read(fine).pixels.astype(int) - ramp).mean() < 2
    assert len(coarse) < len(fine)


def test_avif_is_written_without_chroma_subsampling() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    result = read(write(stripes, ImageFormat.AVIF)).pixels
    assert np.abs(result.astype(int) - stripes).max() < 40


def test_jpeg_is_written_without_chroma_subsampling() -> None:
    data = write(noise(8, 8, 3), ImageFormat.JPEG)
    assert [layer[1:3] for layer in opened(data).layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", FORMATS)
def test_encoding_twice_gives_the_same_bytes(format: ImageFormat) -> None:
    assert write(noise(9, 7, 3), format) == write(noise(9, 7, 3), format)


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize(("bands", "dtype"), ALL_KINDS)
def test_peek_announces_what_decode_returns(format: ImageFormat, bands: int, dtype: type) -> None:
    info = peek(write(noise(5, 7, bands, dtype), format), key="k")
    assert (info.format, info.height, info.width, info.bands) == (format, 5, 7, bands)
    assert (info.bit_depth, info.frames, info.refusal) == (8 * dtype().itemsize, 1, None)
    assert info.num_pixels == 35


@pytest.mark.parametrize(
    ("bands", "dtype", "format", "advice"),
    [
        (2, np.uint8, ImageFormat.JPEG, "--format png, webp, avif or tiff"),
        (4, np.uint8, ImageFormat.JPEG, "--format png, webp, avif or tiff"),
        (1, np.uint16, ImageFormat.JPEG, "--format png or tiff"),
        (3, np.uint16, ImageFormat.WEBP, "--format png or tiff"),
        (4, np.uint16, ImageFormat.AVIF, "--format png or tiff"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_advice(
    bands: int, dtype: type, format: ImageFormat, advice: str
) -> None:
    with pytest.raises(EncodeError, match=advice) as caught:
        write(noise(2, 2, bands, dtype), format)
    assert caught.value.code == "encode.unsupported"
    assert caught.value.item == "a/b.img"
    assert "a/b.img" in str(caught.value)


@pytest.mark.parametrize(
    ("format", "longest"),
    [(ImageFormat.JPEG, 65_500), (ImageFormat.WEBP, 16_383), (ImageFormat.AVIF, 16_384)],
)
def test_the_longest_side_is_written_and_one_more_is_refused(
    format: ImageFormat, longest: int
) -> None:
    line = np.zeros((1, longest + 1, 1), np.uint8)
    assert read(write(line[:, 1:], format)).pixels.shape[1] == longest
    for too_long in (line, line.swapaxes(0, 1)):
        with pytest.raises(EncodeError, match="--format png or tiff"):
            write(too_long, format)


def test_extensions_name_their_format_in_any_case() -> None:
    assert set(IMAGE_EXTENSIONS) == {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".avif"}
    assert format_of_key("a/B.JPeG") is ImageFormat.JPEG
    assert format_of_key("a.png/b.Tif") is ImageFormat.TIFF
    assert format_of_key("a/b.gif") is None
    assert format_of_key("a.png/b") is None
    for format in ImageFormat:
        assert all(FORMAT_BY_EXTENSION[extension] is format for extension in format.extensions)
