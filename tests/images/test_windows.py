"""Pieces of large files: little is read, little is kept."""

import tracemalloc
from io import BytesIO

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from sdflow.errors import DecodeError
from sdflow.geometry import Region
from sdflow.images.codec import open_image, peek
from sdflow.images.formats import OpenedImage, Pixels
from sdflow.images.spliced import Spliced

from .pictures import pillow, vips, with_tifffile
from .ranged import Ranged
from .samples import FULL, XMP, exif, noise

LARGE = noise(1200, 1000, 3)
GREY = LARGE[..., :1]


def opened(data: bytes | Ranged) -> OpenedImage:
    return open_image(data, key="k", max_pixels=10**9)


FILES = {
    "JPEG": pillow(LARGE, "JPEG", quality=95, icc_profile=FULL.icc, exif=b"Exif\0\0" + exif()),
    "progressive JPEG": pillow(LARGE, "JPEG", quality=95, progressive=True),
    "PNG": pillow(LARGE, "PNG", compress_level=0),
    "interlaced PNG": vips(LARGE, ".png", compression=0, interlace=True),
    "WebP": pillow(LARGE, "WEBP", quality=98, method=0),
    "AVIF": pillow(LARGE, "AVIF", quality=98, speed=10),
    "tiled TIFF": with_tifffile(LARGE, photometric="rgb", tile=(64, 64), compression="zlib"),
    "TIFF of one strip": with_tifffile(LARGE, photometric="rgb", rowsperstrip=1200),
}


@pytest.mark.parametrize("name", FILES)
def test_opening_does_not_read_the_file(name: str) -> None:
    data = Ranged(FILES[name]())
    peek(data, key="k")
    image = opened(data)
    assert image.info.num_pixels == 1_200_000
    # The end of a PNG is searched for metadata that follow the pixels.
    assert data.read_bytes < (300_000 if "PNG" in name else 40_000)
    assert data.read_bytes < len(data) / 4


@pytest.mark.parametrize(
    ("name", "whole_bytes"),
    [
        ("JPEG", 0),
        ("progressive JPEG", 2 * (1200 * 1008 + 2 * 600 * 504)),
        ("PNG", 0),
        ("interlaced PNG", LARGE.nbytes),
        ("WebP", LARGE.nbytes),
        ("AVIF", LARGE.nbytes),
        ("tiled TIFF", 0),
        ("TIFF of one strip", 0),
    ],
)
def test_the_header_tells_what_a_piece_costs(name: str, whole_bytes: int) -> None:
    assert peek(FILES[name](), key="k").whole_bytes == whole_bytes


@pytest.mark.parametrize("name", ["tiled TIFF", "TIFF of one strip"])
def test_a_window_reads_only_what_it_touches(name: str) -> None:
    data = Ranged(FILES[name]())
    image = opened(data)
    assert image.reader.is_random
    begin = data.read_bytes
    for window in (Region(700, 500, 64, 64), Region(0, 999, 1, 1), Region(1100, 0, 100, 9)):
        found = image.reader.read(window)
        np.testing.assert_array_equal(found, LARGE[window.slices])
    assert data.read_bytes - begin < len(data) / 3


def whole_height(name: str, rows: int) -> Pixels:
    reader = opened(Ranged(FILES[name]())).reader
    return np.concatenate([reader.read(Region(y, 0, rows, 1000)) for y in range(0, 1200, rows)])


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "PNG", "interlaced PNG", "WebP"])
def test_bands_of_any_height_give_the_same_rows(name: str) -> None:
    np.testing.assert_array_equal(whole_height(name, 5), whole_height(name, 400))


def test_a_window_needs_no_memory_of_the_whole() -> None:
    buffer = BytesIO()
    tile = np.zeros((256, 256), np.uint8)
    tiles = (tile for _ in range(64 * 64))
    tifffile.imwrite(
        buffer,
        tiles,
        shape=(1 << 14, 1 << 14),
        dtype=np.uint8,
        tile=(256, 256),
        compression="zlib",
        photometric="minisblack",
    )
    image = opened(buffer.getvalue())
    tracemalloc.start()
    for step in range(0, 1 << 14, 2048):
        assert image.reader.read(Region(step, step, 512, 512)).shape == (512, 512, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 26


def test_one_compressed_strip_can_only_be_read_as_a_whole() -> None:
    levels = np.zeros((8300, 8200, 1), np.uint8)
    data = with_tifffile(levels, photometric="minisblack", compression="zlib", rowsperstrip=8300)()
    image = opened(data)
    assert not image.reader.is_random
    assert image.info.whole_bytes == levels.nbytes
    assert image.reader.read(Region(8000, 0, 300, 8200)).shape == (300, 8200, 1)


@pytest.mark.parametrize("name", FILES)
def test_what_breaks_the_source_is_raised_as_it_is(name: str) -> None:
    data = FILES[name]()
    with pytest.raises(ConnectionError):
        opened(Ranged(data, broken_from=1)).reader.read(Region(0, 0, 1, 1000))
    if "TIFF" not in name and "PNG" not in name:
        image = opened(Ranged(data, broken_from=len(data) // 2))
        with pytest.raises(ConnectionError):
            image.reader.read(Region(0, 0, 1200, 1000))


def test_a_cut_file_read_by_ranges_is_found_out() -> None:
    for name in ("JPEG", "PNG", "tiled TIFF"):
        data = FILES[name]()
        with pytest.raises(DecodeError) as caught:
            opened(Ranged(data[: len(data) // 2])).reader.read(Region(0, 0, 1200, 1000))
        assert caught.value.code == "decode.truncated", name


def test_png_metadata_behind_the_pixels_are_found() -> None:
    data = FILES["PNG"]()
    before = pillow(GREY, "PNG", exif=b"Exif\0\0" + exif())()
    at = before.index(b"eXIf") - 4
    size = int.from_bytes(before[at : at + 4], "big")
    chunk = before[at : at + 12 + size]
    late = data[:-12] + chunk + data[-12:]
    for source in (late, Ranged(late)):
        assert opened(source).metadata.exif == exif()
        assert opened(source).orientation == 6


@given(
    data=st.binary(max_size=40),
    pieces=st.lists(
        st.binary(max_size=9) | st.builds(range, st.integers(0, 40), st.integers(0, 40))
    ),
    start=st.integers(0, 90),
    stop=st.integers(0, 90),
)
def test_spliced_pieces_read_as_if_they_were_joined(
    data: bytes, pieces: list[bytes | range], start: int, stop: int
) -> None:
    inside = [
        piece if isinstance(piece, bytes) else range(len(data))[piece.start : piece.stop]
        for piece in pieces
    ]
    joined = b"".join(
        piece if isinstance(piece, bytes) else data[piece.start : piece.stop] for piece in inside
    )
    assert len(Spliced(data, inside)) == len(joined)
    assert Spliced(data, inside)[start:stop] == joined[start:stop]


def test_nothing_of_the_metadata_reaches_the_decoder() -> None:
    tags = {"exif": b"Exif\0\0" + exif(), "icc_profile": FULL.icc, "xmp": XMP}
    for name in ("JPEG", "WEBP"):
        assert opened(pillow(LARGE, name, **tags)()).metadata.xmp == XMP
