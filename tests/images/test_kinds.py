"""Kinds of pixels: what is read, and how; what is refused, and with which advice."""

import re
import struct
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from sdflow.errors import DecodeError
from sdflow.images.codec import ImageFormat, decode, peek

from .samples import big_endian_tiff, noise, opened, pillow, png, read, tiff, write


def as_pillow(data: bytes, mode: str) -> np.ndarray:
    pixels = np.array(opened(data).convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., None]


@pytest.mark.parametrize(
    ("mode", "format", "result"),
    [
        ("1", "PNG", "L"),
        ("1", "TIFF", "L"),
        ("L", "PNG", "L"),
        ("LA", "PNG", "LA"),
        ("LA", "TIFF", "LA"),
        ("P", "PNG", "RGB"),
        ("P", "TIFF", "RGB"),
        ("RGB", "TIFF", "RGB"),
        ("RGBA", "TIFF", "RGBA"),
        ("RGBA", "WEBP", "RGBA"),
        ("L", "JPEG", "L"),
    ],
)
def test_modes_decode_as_pillow_converts_them(mode: str, format: str, result: str) -> None:
    data = pillow(mode, format)
    np.testing.assert_array_equal(read(data).pixels, as_pillow(data, result))
    assert peek(data, key="k").bands == read(data).pixels.shape[2]


@pytest.mark.parametrize(
    "compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma", "jpeg"]
)
def test_tiff_compressions(compression: str) -> None:
    data = pillow("RGB", "TIFF", compression=compression)
    np.testing.assert_array_equal(read(data).pixels, as_pillow(data, "RGB"))


@pytest.mark.parametrize("compression", ["raw", "group4"])
def test_big_tiff_and_fax(compression: str) -> None:
    data = pillow("1", "TIFF", compression=compression, big_tiff=True)
    np.testing.assert_array_equal(read(data).pixels, as_pillow(data, "L"))


@pytest.mark.parametrize("transparency", [3, bytes(range(100)), b"\xff" * 4])
def test_palette_with_transparency_becomes_rgba(transparency: int | bytes) -> None:
    data = pillow("P", "PNG", transparency=transparency)
    result = read(data).pixels
    np.testing.assert_array_equal(result, as_pillow(data, "RGBA"))
    assert result.shape[2] == 4


@pytest.mark.parametrize(("depth", "level"), [(1, 255), (2, 85), (4, 17), (8, 1)])
def test_transparent_grey_becomes_alpha_at_every_depth(depth: int, level: int) -> None:
    data = png((2, 1), depth, 0, b"\0" + bytes([1 << (8 - depth), 0]), (b"tRNS", b"\0\x01"))
    assert read(data).pixels.tolist() == [[[level, 0], [0, 255]]]
    assert peek(data, key="k").bands == 2


def test_transparent_colour_becomes_alpha() -> None:
    trns = (b"tRNS", struct.pack(">3H", 1, 2, 3))
    data = png((2, 1), 8, 2, bytes([0, 1, 2, 3, 1, 2, 4]), trns)
    assert read(data).pixels.tolist() == [[[1, 2, 3, 0], [1, 2, 4, 255]]]


def test_premultiplied_tiff_alpha_becomes_straight() -> None:
    data = tiff(bytes([100, 50, 0, 128]), tag_258=[8] * 4, tag_277=4, tag_338=1)
    assert read(data).pixels.tolist() == [[[199, 100, 0, 128]]], "rounded"


def test_white_is_zero_tiff_shows_white() -> None:
    data = tiff(b"\0", tag_258=8, tag_277=1, tag_262=0)
    assert read(data).pixels.tolist() == [[[255]]]


@pytest.mark.parametrize("compressed", [False, True])
def test_big_endian_16_bit_grey_tiff(compressed: bool) -> None:
    levels = noise(5, 7, 1, np.uint16)
    result = read(big_endian_tiff(levels, compressed=compressed)).pixels
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, levels)


def test_16_bit_grey_png_by_hand() -> None:
    assert read(png((2, 1), 16, 0, b"\0\x01\x02\xff\xfe")).pixels.tolist() == [[[0x0102], [0xFFFE]]]


def test_planar_and_tiled_tiff_are_read() -> None:
    tile = bytes(range(16)) * 16
    tags = {"tag_258": 8, "tag_262": 1, "tag_277": 1, "tag_256": 3, "tag_257": 2}
    tiled = tiff(tile, **tags, tag_322=16, tag_323=16, tag_324=8, tag_325=256)
    assert read(tiled).pixels[..., 0].tolist() == [[0, 1, 2], [0, 1, 2]]
    planar = tiff(b"abcdef", tag_256=2, tag_284=2, tag_273=[8, 10, 12], tag_279=[2, 2, 2])
    assert read(planar).pixels.tolist() == [[[97, 99, 101], [98, 100, 102]]]


def test_the_content_tells_the_format_not_the_name() -> None:
    data = pillow("RGB", "JPEG")
    assert peek(data, key="photo.png").format is ImageFormat.JPEG


def apng() -> bytes:
    frames = [Image.new("L", (4, 4), level) for level in (0, 128, 255)]
    buffer = BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def animated_webp() -> bytes:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green")]
    buffer = BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def pages(reduced: bool) -> bytes:
    """A TIFF with two directories, the second perhaps a reduced copy."""
    data = tiff(b"abc")
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    link = first + 2 + 12 * count
    second = struct.pack("<HHHII", 1, 254, 4, 1, int(reduced)) + bytes(4)
    return data[:link] + struct.pack("<I", len(data)) + data[link + 4 :] + second


def stereo() -> bytes:
    """An MPO whose two images are marked as the views of a stereo pair."""
    buffer = BytesIO()
    image = Image.new("RGB", (8, 8))
    image.save(buffer, "MPO", save_all=True, append_images=[image])
    data = buffer.getvalue()
    entries = data.index(bytes(4) + struct.pack("<L", 0x030000)) + 4
    view = struct.pack("<L", 0x020002)
    return data[:entries] + view + data[entries + 4 : entries + 16] + view + data[entries + 20 :]


def deep_jpeg() -> bytes:
    data = pillow("RGB", "JPEG")
    precision = data.index(b"\xff\xc0") + 4
    return data[:precision] + b"\x0c" + data[precision + 1 :]


def lossless_jpeg() -> bytes:
    return pillow("RGB", "JPEG").replace(b"\xff\xc0", b"\xff\xc3")


GREY = {"tag_262": 1, "tag_277": 1}
REFUSED = {
    "12-bit TIFF": (tiff(bytes(2), **GREY, tag_258=12), "12-bit", 1),
    "32-bit TIFF": (pillow("I", "TIFF"), "signed", 1),
    "mixed-depth TIFF": (tiff(bytes(3), tag_258=[5, 6, 5]), "5/6/5-bit", 1),
    "signed TIFF": (tiff(b"a", **GREY, tag_258=8, tag_339=2), "signed", 1),
    "float TIFF": (pillow("F", "TIFF"), "floating-point", 1),
    "complex TIFF": (tiff(b"a", **GREY, tag_258=8, tag_339=5), "signed or floating-point", 1),
    "LAB TIFF": (tiff(bytes(3), tag_262=8), "kind 8", 1),
    "YCbCr TIFF": (tiff(bytes(3), tag_262=6), "kind 6", 1),
    "RGB TIFF with two alphas": (tiff(bytes(5), tag_258=[8] * 5, tag_277=5), "5 samples", 1),
    "CMYK TIFF with alpha": (
        tiff(bytes(5), tag_258=[8] * 5, tag_277=5, tag_262=5),
        "CMYK with alpha",
        1,
    ),
    "inks of a TIFF": (
        tiff(bytes(4), tag_258=[8] * 4, tag_277=4, tag_262=5, tag_332=2),
        "not CMYK",
        1,
    ),
    "JPEG 2000 in TIFF": (tiff(bytes(3), tag_259=34712), "compression 34712", 1),
    "old JPEG in TIFF": (tiff(bytes(3), tag_259=6), "compression 6", 1),
    "fax of 8 bits": (tiff(b"a", **GREY, tag_258=8, tag_259=4), "fax", 1),
    "JPEG of 16 bits in TIFF": (tiff(bytes(2), **GREY, tag_258=16, tag_259=7), "1 x 16 bits", 1),
    "float predictor": (tiff(bytes(3), tag_259=8, tag_317=3), "predictor 3", 1),
    "predictor of 4 bits": (
        tiff(b"a", **GREY, tag_258=4, tag_259=5, tag_317=2),
        "predictor 2 of 4 bits",
        1,
    ),
    "APNG": (apng(), "an animation of 3 frames; --first-frame", 3),
    "animated WebP": (animated_webp(), "an animation of 2 frames; --first-frame", 2),
    "stereo MPO": (stereo(), "2 views in one file .*; --first-frame", 2),
    "12-bit JPEG": (deep_jpeg(), "12-bit", 1),
    "lossless JPEG": (lossless_jpeg(), "lossless", 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_with_a_reason(name: str) -> None:
    data, reason, frames = REFUSED[name]
    with pytest.raises(DecodeError, match=reason) as caught:
        read(data)
    assert caught.value.code == "decode.unsupported"
    assert caught.value.item == "a/b.img"
    assert "a/b.img" in str(caught.value)
    info = peek(data, key="k")
    assert info.refusal is not None
    assert re.search(reason, info.refusal)
    assert info.frames == frames


@pytest.mark.parametrize("name", ["APNG", "animated WebP", "stereo MPO"])
def test_the_first_frame_is_read_when_it_is_asked_for(name: str) -> None:
    data, _, frames = REFUSED[name]
    assert decode(data, key="k", max_pixels=100, first_frame=True).pixels.shape[:2] in (
        (4, 4),
        (8, 8),
    )
    info = peek(data, key="k", first_frame=True)
    assert (info.frames, info.refusal) == (frames, None)


def test_the_first_page_is_read_and_the_others_are_counted() -> None:
    assert read(pages(reduced=False)).pixels.tolist() == [[[97, 98, 99]]]
    assert peek(pages(reduced=False), key="k").frames == 2


def test_a_page_after_a_reduced_copy_is_the_image() -> None:
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((2, 2), np.uint8), subfiletype=1, metadata=None)
        writer.write(np.full((4, 4), 9, np.uint8), metadata=None)
    assert read(buffer.getvalue()).pixels.tolist() == [[[9]] * 4] * 4
    assert peek(buffer.getvalue(), key="k").frames == 1


def test_a_palette_that_was_never_scaled_has_8_bits() -> None:
    data = tiff(b"\x80", tag_258=1, tag_262=3, tag_277=1, tag_320=[1, 2, 3, 4, 5, 6])
    assert read(data).pixels.tolist() == [[[2, 4, 6]]]
    assert read(data).pixels.dtype == np.uint8
    assert peek(data, key="k").bit_depth == 1


def test_colour_without_alpha_is_not_divided_by_zero() -> None:
    clear = tiff(bytes([9, 9, 9, 0]), tag_258=[8] * 4, tag_277=4, tag_338=1)
    assert read(clear).pixels.tolist() == [[[0, 0, 0, 0]]]
    bright = tiff(bytes([255, 9, 0, 10]), tag_258=[8] * 4, tag_277=4, tag_338=1)
    assert read(bright).pixels.tolist() == [[[255, 230, 0, 10]]], "more than alpha allows"


def test_a_strip_whose_length_is_not_given_is_read() -> None:
    assert read(tiff(b"abc", tag_279=0)).pixels.tolist() == [[[97, 98, 99]]]


def test_reduced_copies_and_previews_are_no_frames() -> None:
    assert read(pages(reduced=True)).pixels.tolist() == [[[97, 98, 99]]]
    buffer = BytesIO()
    image = Image.new("RGB", (8, 8), "red")
    image.save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    assert read(buffer.getvalue()).pixels.shape == (8, 8, 3)


def gif() -> bytes:
    frames = [Image.new("P", (4, 4), level) for level in (0, 1)]
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"just text, named .png",
        gif(),
        pillow("RGB", "BMP"),
        b"RIFF\0\0\0\0WAVE",
        b"\x89PNG",
        b"II",
        b"\0",
    ],
)
def test_other_content_is_unsupported(data: bytes) -> None:
    for action in (lambda: peek(data, key="x/y.png"), lambda: read(data)):
        with pytest.raises(DecodeError, match="by its content") as caught:
            action()
        assert caught.value.code == "decode.unsupported"


def test_empty_content_has_a_code_of_its_own() -> None:
    for action in (lambda: peek(b"", key="x/y.png"), lambda: read(b"")):
        with pytest.raises(DecodeError, match="no content") as caught:
            action()
        assert caught.value.code == "decode.empty"


def test_an_image_of_exactly_the_limit_is_read() -> None:
    assert read(write(noise(10, 10, 1), ImageFormat.PNG), max_pixels=100).pixels.size == 100
