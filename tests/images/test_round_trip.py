import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdflow.errors import EncodeError
from sdflow.images.codec import (
    FORMAT_BY_EXTENSION,
    IMAGE_EXTENSIONS,
    ImageFormat,
    Metadata,
    Pixels,
    format_of_key,
    peek,
)

from .samples import EVERY_KIND, FULL, exif, images, noise, opened, read, write

LOSSLESS = (ImageFormat.PNG, ImageFormat.TIFF)


@settings(deadline=None)
@given(
    pixels=images(),
    format=st.sampled_from(LOSSLESS),
    metadata=st.sampled_from([FULL, Metadata()]),
)
def test_lossless_formats_return_the_very_same_pixels(
    pixels: Pixels, format: ImageFormat, metadata: Metadata
) -> None:
    result = read(write(pixels, format, metadata))
    assert result.format is format
    assert result.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(result.pixels, pixels)
    assert result.pixels.flags.writeable
    assert result.pixels.flags.c_contiguous


@settings(deadline=None, max_examples=50)
@given(pixels=images((1, np.uint8), (3, np.uint8)))
def test_jpeg_keeps_size_and_channels(pixels: Pixels) -> None:
    data = write(pixels, ImageFormat.JPEG, quality=95)
    assert read(data).pixels.shape == pixels.shape
    np.testing.assert_array_equal(read(data).pixels, np.array(opened(data)).reshape(pixels.shape))


@settings(deadline=None, max_examples=50)
@given(pixels=images((1, np.uint8), (2, np.uint8), (3, np.uint8), (4, np.uint8)))
def test_webp_keeps_size_and_exact_alpha(pixels: Pixels) -> None:
    height, width, bands = pixels.shape
    result = read(write(pixels, ImageFormat.WEBP)).pixels
    opaque = bands in (2, 4) and bool((pixels[..., -1] == 255).all())
    if bands in (2, 4) and not opaque:
        np.testing.assert_array_equal(result[..., 3], pixels[..., -1])
    assert result.shape[:2] == (height, width)
    assert result.shape[2] in ((3, 4) if opaque else (4,) if bands in (2, 4) else (3,))


def test_webp_keeps_colours_under_full_transparency() -> None:
    pixels = np.full((16, 16, 4), (200, 40, 90, 0), np.uint8)
    result = read(write(pixels, ImageFormat.WEBP)).pixels.astype(int)
    assert np.abs(result - pixels).max() <= 4


@pytest.mark.parametrize("format", [ImageFormat.JPEG, ImageFormat.WEBP])
def test_lossy_formats_stay_near_and_obey_quality(format: ImageFormat) -> None:
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    fine, coarse = (write(ramp, format, quality=quality) for quality in (95, 20))
    assert np.abs(read(fine).pixels.astype(int) - ramp).mean() < 2
    assert len(coarse) < len(fine)


def test_jpeg_is_written_without_chroma_subsampling() -> None:
    data = write(noise(8, 8, 3), ImageFormat.JPEG)
    assert [layer[1:3] for layer in opened(data).layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("format", list(ImageFormat))
def test_encoding_twice_gives_the_same_bytes(format: ImageFormat) -> None:
    assert write(noise(9, 7, 3), format) == write(noise(9, 7, 3), format)


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize(("bands", "dtype"), EVERY_KIND)
def test_peek_announces_what_decode_returns(format: ImageFormat, bands: int, dtype: type) -> None:
    info = peek(write(noise(5, 7, bands, dtype), format), key="k")
    assert (info.format, info.height, info.width, info.bands) == (format, 5, 7, bands)
    assert (info.bit_depth, info.frames, info.refusal) == (8 * dtype().itemsize, 1, None)
    assert info.num_pixels == 35


@pytest.mark.parametrize(
    ("bands", "dtype", "format", "advice"),
    [
        (2, np.uint8, ImageFormat.JPEG, "--format png, webp or tiff"),
        (4, np.uint8, ImageFormat.JPEG, "--format png, webp or tiff"),
        (1, np.uint16, ImageFormat.JPEG, "--format png or tiff"),
        (1, np.uint16, ImageFormat.WEBP, "--format png or tiff"),
        (3, np.uint16, ImageFormat.PNG, "convert to 8 bits"),
        (2, np.uint16, ImageFormat.TIFF, "convert to 8 bits"),
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
    ("format", "longest"), [(ImageFormat.JPEG, 65_500), (ImageFormat.WEBP, 16_383)]
)
def test_the_longest_side_is_written_and_one_more_is_refused(
    format: ImageFormat, longest: int
) -> None:
    line = np.zeros((1, longest + 1, 1), np.uint8)
    assert read(write(line[:, 1:], format)).pixels.shape[1] == longest
    with pytest.raises(EncodeError, match="--format png"):
        write(line, format)


@pytest.mark.parametrize(
    ("format", "metadata"),
    [
        (ImageFormat.JPEG, Metadata(exif=bytes(70_000))),
        (ImageFormat.JPEG, Metadata(xmp=bytes(70_000))),
        (ImageFormat.JPEG, Metadata(dpi=(1e6, 1e6))),
        (ImageFormat.TIFF, Metadata(exif=b"no EXIF")),
        (ImageFormat.TIFF, Metadata(exif=exif()[:60])),
    ],
)
def test_metadata_without_room_is_refused_not_dropped(
    format: ImageFormat, metadata: Metadata
) -> None:
    with pytest.raises(EncodeError, match=r"a/b\.img.*--format png"):
        write(noise(2, 2, 3), format, metadata)


def test_extensions_name_their_format_in_any_case() -> None:
    assert set(IMAGE_EXTENSIONS) == {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff"}
    assert format_of_key("a/B.JPeG") is ImageFormat.JPEG
    assert format_of_key("a.png/b.Tif") is ImageFormat.TIFF
    assert format_of_key("a/b.gif") is None
    assert format_of_key("a.png/b") is None
    for format in ImageFormat:
        assert all(FORMAT_BY_EXTENSION[extension] is format for extension in format.extensions)
