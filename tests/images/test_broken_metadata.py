"""Broken metadata never refuse an image whose pixels are whole: they are left out, and named."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from sdflow.errors import DecodeError
from sdflow.images import ifd
from sdflow.images.codec import DecodedImage, Metadata, open_image, peek

from .encodings_lossy import CMYK_ICC
from .ranged import Ranged
from .samples import ICC, IPTC, RICH_XMP, pillow, png, png_chunk, read, rich_exif, tiff

_ROWS = b"\0\7"


def with_chunk(chunk: bytes, *, behind: bool = False) -> bytes:
    """A PNG of one grey pixel with one more chunk."""
    data = png((1, 1), 8, 0, _ROWS)
    at = len(data) - 12 if behind else 33
    return data[:at] + chunk + data[at:]


def wrong(name: bytes, body: bytes) -> bytes:
    chunk = png_chunk(name, body)
    return chunk[:-1] + bytes((chunk[-1] ^ 1,))


def assert_left_out(image: DecodedImage, note: str) -> None:
    assert image.metadata == Metadata()
    assert note in image.note
    assert note or not image.note


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    ("name", "body", "note"),
    [
        (b"eXIf", b"II*\0\x08\0\0\0", "damaged EXIF left out"),
        (b"pHYs", bytes(9), "damaged density left out"),
        (b"iCCP", b"name\0\0" + zlib.compress(b"profile"), "damaged ICC profile left out"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<a/>", "damaged XMP left out"),
        (b"tEXt", b"Raw profile type iptc\0\niptc\n 3\n1c0200", "damaged IPTC left out"),
        (b"tEXt", b"Comment\0a word that nobody keeps", ""),
        (b"gAMA", bytes(4), "damaged gAMA chunk left out"),
        (b"prVt", b"abc", ""),
    ],
)
def test_a_chunk_of_a_png_with_a_wrong_checksum_counts_as_absent(
    name: bytes, body: bytes, note: str, behind: bool
) -> None:
    image = read(with_chunk(wrong(name, body), behind=behind))
    assert image.pixels.tolist() == [[[7]]]
    assert_left_out(image, note)


def test_an_animation_whose_control_chunk_is_damaged_is_a_still_image() -> None:
    data = with_chunk(wrong(b"acTL", struct.pack(">II", 3, 0)))
    assert peek(data, key="k").frames == 1
    assert read(data).note == "damaged acTL chunk left out"


@pytest.mark.parametrize("name", [b"tRNS", b"PLTE", b"ABCD"])
def test_chunks_that_the_pixels_depend_on_stay_strict(name: bytes) -> None:
    with pytest.raises(DecodeError, match=f"checksum in the {name.decode()} chunk"):
        read(with_chunk(wrong(name, b"\0\1\2")))


@pytest.mark.parametrize(
    ("name", "body", "note"),
    [
        (b"iCCP", b"name\0\0junk", "damaged ICC profile left out"),
        (b"iCCP", b"name\0\0" + zlib.compress(bytes(999))[:-5], "damaged ICC profile left out"),
        (b"iCCP", b"name\0\0" + zlib.compress(bytes((1 << 24) + 1)), "damaged ICC profile"),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0junk", "damaged XMP left out"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0", "damaged XMP left out"),
        (b"zTXt", b"Raw profile type iptc\0\0junk", "damaged IPTC left out"),
        (b"tEXt", b"Raw profile type iptc\0\niptc\n 3\nxyz\n", "damaged IPTC left out"),
        (b"sRGB", b"too long", "damaged sRGB chunk left out"),
    ],
)
def test_a_profile_or_packet_of_a_png_that_cannot_be_read_is_absent(
    name: bytes, body: bytes, note: str
) -> None:
    data = with_chunk(png_chunk(name, body))
    for source in (data, Ranged(data)):
        assert_left_out(read(source), note)
    assert note in open_image(data, key="k", max_pixels=9).note


def test_a_chunk_above_16_mib_is_not_taken_into_memory() -> None:
    data = with_chunk(png_chunk(b"eXIf", bytes((1 << 24) + 1)))
    tracemalloc.start()
    assert_left_out(read(Ranged(data)), "damaged EXIF left out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_damaged_profile_of_a_png_does_not_win_over_its_gamma() -> None:
    chunks = ((b"iCCP", b"name\0\0junk"), (b"gAMA", bytes(4)))
    image = read(png((1, 1), 8, 0, _ROWS, *chunks))
    assert image.metadata.png_colour == ((b"gAMA", bytes(4)),)


def with_profile(*labels: tuple[int, int]) -> bytes:
    """A JPEG with parts of a profile, each holding its own number."""
    data = pillow("RGB", "JPEG")
    parts = b"".join(
        struct.pack(">HH", 0xFFE2, 17) + b"ICC_PROFILE\0" + bytes((*label, label[0]))
        for label in labels
    )
    return data[:2] + parts + data[2:]


def test_parts_of_a_jpeg_s_profile_count_from_1_or_from_0_in_any_order() -> None:
    assert read(with_profile((1, 3), (3, 3), (2, 3))).metadata.icc == b"\1\2\3"
    image = read(with_profile((1, 3), (0, 3), (2, 3)))
    assert (image.metadata.icc, image.note) == (b"\0\1\2", "")


@pytest.mark.parametrize(
    "labels", [[(1, 2)], [(2, 2)], [(1, 3), (3, 3)], [(1, 2), (2, 3)], [(2, 2), (3, 2)], [(1, 0)]]
)
def test_a_jpeg_s_profile_with_missing_parts_is_absent(labels: list[tuple[int, int]]) -> None:
    image = read(with_profile(*labels))
    np.testing.assert_array_equal(image.pixels, read(pillow("RGB", "JPEG")).pixels)
    assert image.metadata.icc is None
    assert image.note == "damaged ICC profile left out"


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_inks_whose_profile_is_damaged_are_read_as_those_without_one(format: str) -> None:
    damaged = CMYK_ICC[:300] + bytes(len(CMYK_ICC) - 300)
    plain = read(pillow("CMYK", format))
    image = read(pillow("CMYK", format, icc_profile=damaged))
    np.testing.assert_array_equal(image.pixels, plain.pixels)
    assert (image.note, plain.note) == ("damaged ICC profile left out", "")
    sound = read(pillow("CMYK", format, icc_profile=CMYK_ICC))
    assert sound.note == ""


def with_tags(*entries: tuple[int, int, int, int], big: bool = False) -> bytes:
    """A TIFF of one RGB pixel with more tags: number, type, count, and offset or value."""
    layout = ifd.BIG if big else ifd.CLASSIC
    values = {256: 1, 257: 1, 258: 8, 259: 1, 262: 2, 273: 256, 277: 3, 278: 1, 279: 3, 271: 65}
    form = "<HHQQ" if big else "<HHII"
    rows = [struct.pack(form, tag, 3, 1, value) for tag, value in values.items()]
    rows += [struct.pack(form, *entry) for entry in entries]
    start = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 512) if big else b"II*\0" + bytes([0, 2, 0, 0])
    table = struct.pack(layout.count_format, len(rows)) + b"".join(rows) + bytes(8)
    return start.ljust(256, b"\0") + b"abc".ljust(256, b"\0") + table


PRIVATE = 65_000


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "entry",
    [
        (PRIVATE, 99, 1, 0),
        (PRIVATE, 0, 1, 0),
        (PRIVATE, 1, 100, 1 << 30),
        (PRIVATE, 4, 0xFFFFFFFF, 8),
        (34_665, 4, 1, 1 << 30),
        (34_853, 2, 4, 0),
        (34_675, 7, 1 << 20, 8),
        (700, 1, 9, 0xFFFFFFF0),
    ],
)
def test_a_tag_of_a_tiff_that_cannot_be_read_is_absent(
    entry: tuple[int, int, int, int], big: bool
) -> None:
    whole, data = read(with_tags(big=big)), with_tags(entry, big=big)
    for source in (data, Ranged(data)):
        image = read(source)
        assert image.pixels.tolist() == [[[97, 98, 99]]]
        assert image.metadata == whole.metadata
        assert image.note == f"damaged or oversized tags left out ({entry[0]})"
    assert whole.metadata.exif is not None
    assert whole.note == ""


def test_tags_of_a_layout_stay_strict() -> None:
    for entry in ((317, 99, 1, 1), (338, 3, 100, 1 << 30)):
        with pytest.raises(DecodeError):
            read(with_tags(entry))


@pytest.mark.parametrize("kind", [2, 5, 7, 9])
def test_a_resolution_unit_of_a_wrong_type_means_no_density(kind: int) -> None:
    at = (282, 5, 1, 260), (283, 5, 1, 260)
    data = bytearray(with_tags(*at, (296, kind, 1, 2)))
    data[260:268] = struct.pack("<II", 300, 1)
    image = read(bytes(data))
    assert image.metadata.dpi is None
    assert "296" in image.note
    inch = bytes(data).replace(struct.pack("<HHI", 296, kind, 1), struct.pack("<HHI", 296, 3, 1))
    assert read(inch).metadata.dpi == (300, 300)


def test_memory_does_not_follow_private_tags() -> None:
    room = (1 << 24) + 1
    start = with_tags((PRIVATE, 7, room, 1024), *((PRIVATE + 1 + i, 7, 9, 8) for i in range(3)))
    data = Ranged(start.ljust(1024 + room, b"\0"))
    tracemalloc.start()
    opened = open_image(data, key="k", max_pixels=9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert opened.note == f"damaged or oversized tags left out ({PRIVATE})"


def test_overlapping_tags_do_not_make_a_small_file_large() -> None:
    size = 1 << 20
    entries = [(PRIVATE + index, 7, size, 0) for index in range(100)]
    image = read(with_tags(*entries).ljust(size + 4096, b"\0"))
    assert image.metadata.exif is not None
    assert len(image.metadata.exif) < 2 * size
    assert image.note.endswith("and 91 more)")


def test_a_file_full_of_sound_metadata_has_no_note() -> None:
    records = IPTC.hex().encode()
    text = b"Raw profile type iptc\0\niptc\n%8d\n%b\n" % (len(IPTC), records)
    chunks = [(b"iCCP", b"name\0\0" + zlib.compress(ICC)), (b"eXIf", rich_exif())]
    chunks += [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + RICH_XMP), (b"tEXt", text)]
    image = read(png((1, 1), 8, 0, _ROWS, *chunks))
    assert image.metadata == Metadata(ICC, rich_exif(), RICH_XMP, IPTC)
    assert image.note == ""
    assert read(tiff(b"abc")).note == ""
