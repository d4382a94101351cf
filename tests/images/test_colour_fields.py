"""What a file says about its colours: kept, put right or refused, never overlooked."""

import re
import struct
import zlib

import numpy as np
import pytest

from sdflow.errors import DecodeError
from sdflow.images.codec import peek

from .ranged import Ranged
from .samples import ICC, pillow, png, png_chunk, read, tiff


def test_a_fourth_sample_of_a_tiff_is_straight_alpha_unless_its_tag_says_otherwise() -> None:
    rows = bytes([100, 50, 0, 128])
    for extra in ({}, {"tag_338": 0}, {"tag_338": 2}):
        data = tiff(rows, tag_258=[8] * 4, tag_277=4, **extra)
        assert read(data).pixels.tolist() == [[[100, 50, 0, 128]]]
    grey = tiff(b"\7\x80", tag_258=[8] * 2, tag_262=1, tag_277=2, tag_338=0)
    assert read(grey).pixels.tolist() == [[[7, 128]]]


def test_a_palette_with_an_empty_trns_has_no_alpha() -> None:
    palette = ((b"PLTE", b"abcdef"), (b"tRNS", b""))
    for data in (png((2, 1), 8, 3, b"\0\0\1", *palette), png((2, 1), 1, 3, b"\0\x40", *palette)):
        assert read(data).pixels.tolist() == [[[97, 98, 99], [100, 101, 102]]]
        assert read(Ranged(data)).pixels.shape == (1, 2, 3)
        assert peek(data, key="k").bands == 3


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment, before all others."""
    return data[:2] + struct.pack(">HH", marker, 2 + len(body)) + body + data[2:]


def test_a_jfif_of_an_unknown_revision_is_read_as_any_other() -> None:
    data = pillow("RGB", "JPEG", dpi=(300, 150))
    at = data.index(b"JFIF\0") + 5
    strange = data[:at] + b"\x99\x09" + data[at + 2 :]
    np.testing.assert_array_equal(read(strange).pixels, read(data).pixels)
    assert read(strange).metadata.dpi == (300, 150)
    other = with_segment(data, 0xFFE0, b"HEAPJPGM" + bytes(30))
    np.testing.assert_array_equal(read(other).pixels, read(data).pixels)


@pytest.mark.parametrize(("mode", "transform"), [("RGB", 1), ("CMYK", 2)])
def test_an_unknown_colour_transform_means_what_libjpeg_takes_it_for(
    mode: str, transform: int
) -> None:
    data = pillow(mode, "JPEG")
    if mode == "RGB":  # JFIF settles it, so Adobe alone must
        data = data[:2] + data[2 + 2 + int.from_bytes(data[4:6], "big") :]
    else:
        at = data.index(b"Adobe") - 4
        data = data[:at] + data[at + 16 :]

    def with_transform(number: int) -> bytes:
        return with_segment(data, 0xFFEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, number))

    expected = read(with_transform(transform)).pixels
    assert not np.array_equal(expected, read(with_transform(0)).pixels)
    for number in (3, 99, 255):
        np.testing.assert_array_equal(read(with_transform(number)).pixels, expected)


COLOUR = {
    b"cICP": bytes([9, 16, 0, 1]),
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": bytes(range(32)),
    b"sRGB": b"\0",
    b"mDCV": bytes(24),
    b"cLLI": bytes(8),
}


def test_colour_chunks_of_a_png_are_found_and_a_profile_wins_over_some() -> None:
    chunks = [*COLOUR.items(), (b"gAMA", bytes(4))]
    data = png((1, 1), 8, 0, b"\0\0", *chunks)
    assert read(data).metadata.png_colour == tuple(COLOUR.items())
    assert read(Ranged(data)).metadata.png_colour == tuple(COLOUR.items())
    profile = (b"iCCP", b"name\0\0" + zlib.compress(b"profile"))
    for order in ([profile, *chunks], [*chunks, profile]):
        metadata = read(png((1, 1), 8, 0, b"\0\0", *order)).metadata
        assert metadata.icc == b"profile"
        assert [name for name, _ in metadata.png_colour] == [b"cICP", b"mDCV", b"cLLI"]


def test_colour_chunks_behind_the_pixels_mean_nothing() -> None:
    data = png((1, 1), 8, 0, b"\0\0")
    late = data[:-12] + png_chunk(b"gAMA", COLOUR[b"gAMA"]) + data[-12:]
    assert read(late).metadata.png_colour == ()


def coloured_avif(primaries: int, transfer: int, matrix: int = 6, icc: bytes = b"") -> bytes:
    """What Pillow writes as sRGB, its colours renamed."""
    data = pillow("RGB", "AVIF", speed=8, icc_profile=icc)
    assert data.count(b"colrnclx") == 1
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HHH", primaries, transfer, matrix) + data[at + 6 :]


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (12, 13), (1, 16), (9, 1)])
def test_wide_colours_of_an_avif_without_a_profile_are_refused(
    primaries: int, transfer: int
) -> None:
    data = coloured_avif(primaries, transfer, 9)
    reason = rf"dynamic range without a profile \(nclx {primaries}/{transfer}/9\); convert to sRGB"
    for source in (data, Ranged(data)):
        with pytest.raises(DecodeError, match=reason) as caught:
            read(source)
        assert caught.value.code == "decode.unsupported"
    assert re.search(reason, peek(data, key="k").refusal or "")


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (1, 1), (1, 6), (2, 2), (1, 2)])
def test_colours_of_an_avif_like_those_of_srgb_are_read(primaries: int, transfer: int) -> None:
    assert read(coloured_avif(primaries, transfer)).pixels.shape == (13, 17, 3)


def test_a_profile_wins_over_the_wide_colours_of_an_avif() -> None:
    data = coloured_avif(9, 16, 9, icc=ICC)
    assert read(data).metadata.icc == ICC
