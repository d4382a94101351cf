"""Damaged and hostile files: always one of our errors, never a warning (they are errors here)."""

import struct
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sdflow.errors import DecodeError, TooLargeError
from sdflow.images.codec import ImageFormat, peek

from .samples import exif, noise, pillow, png, png_chunk, read, tiff, write
from .test_bombs import BOMB

SAMPLES = {
    **{f"{format}": write(noise(13, 17, 3), format) for format in ImageFormat},
    "progressive": pillow("RGB", "JPEG", progressive=True, exif=b"Exif\0\0" + exif()),
    "palette PNG": pillow("P", "PNG", transparency=3),
    "lossless WebP": pillow("RGBA", "WEBP", lossless=True, exif=exif()),
    "16-bit TIFF": write(noise(13, 17, 1, np.uint16), ImageFormat.TIFF),
    "raw TIFF": pillow("RGB", "TIFF", exif=exif(), dpi=(72, 72)),
    "palette TIFF": pillow("P", "TIFF", compression="tiff_lzw"),
    "JPEG in TIFF": pillow("RGB", "TIFF", compression="jpeg"),
    "BigTIFF": pillow("LA", "TIFF", big_tiff=True),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_cut_is_a_decode_error_or_costs_metadata_alone(name: str) -> None:
    data = SAMPLES[name]
    whole, codes, items = read(data), {}, set()
    for length in range(len(data)):
        try:
            image = read(data[:length])
        except DecodeError as error:
            codes[length] = error.code
            items.add(error.item)
        else:  # the metadata of a TIFF may stand behind its pixels
            assert image.format is ImageFormat.TIFF
            assert "left out" in image.note
            np.testing.assert_array_equal(image.pixels, whole.pixels)
    assert items == {"a/b.img"}
    assert codes[0] == "decode.empty"
    assert set(codes.values()) <= {"decode.empty", "decode.unsupported", "decode.truncated"}
    assert {code for length, code in codes.items() if length >= 12} == {"decode.truncated"}


@pytest.mark.parametrize("name", SAMPLES)
@settings(deadline=None, max_examples=80)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    near_the_start=st.booleans(),
    cut=st.none() | st.floats(0, 1),
)
def test_damage_gives_pixels_or_one_of_our_errors(
    name: str, flips: list[tuple[float, int]], near_the_start: bool, cut: float | None
) -> None:
    data = bytearray(SAMPLES[name])
    for where, value in flips:
        data[int(where * (min(300, len(data)) if near_the_start else len(data)))] = value
    damaged = bytes(data if cut is None else data[: int(cut * len(data))])
    try:
        assert read(damaged).pixels.ndim == 3
    except (DecodeError, TooLargeError) as error:
        event(error.code)


@given(
    data=st.binary(max_size=200), start=st.sampled_from(list(SAMPLES)), length=st.integers(2, 64)
)
def test_noise_behind_a_true_beginning_is_a_decode_error(
    data: bytes, start: str, length: int
) -> None:
    with pytest.raises((DecodeError, TooLargeError)):
        read(SAMPLES[start][:length] + data)


def test_one_flipped_bit_in_the_pixels_of_a_png_is_found() -> None:
    data = bytearray(SAMPLES["png"])
    data[data.index(b"IDAT") + 40] ^= 1
    with pytest.raises(DecodeError, match="checksum in the IDAT chunk") as caught:
        read(bytes(data))
    assert caught.value.code == "decode.corrupt"


def test_rows_that_are_missing_from_a_png_are_not_black() -> None:
    rows = (b"\0" + bytes([200]) * 9) * 6
    assert (read(png((9, 6), 8, 0, rows)).pixels == 200).all()
    with pytest.raises(DecodeError, match="rows of pixels are missing") as caught:
        read(png((9, 6), 8, 0, rows[:-1]))
    assert caught.value.code == "decode.truncated"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (5, 2), (9, 10), (33, 17)])
def test_rows_of_an_interlaced_png_are_counted_pass_by_pass(width: int, height: int) -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
    passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, across, down in passes:
        columns = len(range(left, width, across))
        rows += (b"\0" + b"\7" * columns) * len(range(top, height, down)) if columns else b""
    straight = png((width, height), 8, 0, rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)

    def interlaced(data: bytes) -> bytes:
        return data[:8] + png_chunk(b"IHDR", header) + data[33:]

    assert (read(interlaced(straight)).pixels == 7).all()
    with pytest.raises(DecodeError, match="rows of pixels are missing"):
        read(interlaced(png((width, height), 8, 0, rows[:-1])))


def test_strips_that_are_missing_are_not_black() -> None:
    data = tiff(bytes(6), tag_257=2, tag_273=[8], tag_279=[3])
    with pytest.raises(DecodeError, match="2 strips or tiles"):
        read(data)


def test_a_file_with_strips_and_tiles_is_refused() -> None:
    tags = {"tag_322": 16, "tag_323": 16, "tag_324": 8, "tag_325": 3}
    with pytest.raises(DecodeError, match="both strips and tiles"):
        read(tiff(bytes(3), **tags, tag_273=8, tag_279=3))


def test_tile_of_absurd_size_is_refused_before_it_is_allocated() -> None:
    data = tiff(bytes(3), tag_322=65_520, tag_323=65_520, tag_324=8, tag_325=3)
    with pytest.raises(DecodeError, match="no possible size"):
        read(data)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_scan_ends_early_is_not_half_grey(progressive: bool) -> None:
    data = pillow("RGB", "JPEG", size=(200, 200), progressive=progressive)
    early = data[: len(data) // 2] + b"\xff\xd9"
    with pytest.raises(DecodeError, match="premature end") as caught:
        read(early)
    assert caught.value.code == "decode.corrupt"


def test_spectrum_of_a_sequential_jpeg_means_nothing() -> None:
    data = pillow("RGB", "JPEG")
    at = data.index(b"\xff\xda") + 2 + 11 - 2
    assert data[at : at + 3] == b"\0\x3f\0"
    samsung = data[:at] + bytes(3) + data[at + 3 :]
    np.testing.assert_array_equal(read(samsung).pixels, read(data).pixels)


def jpeg_in_tiff(width: int, height: int) -> bytes:
    """A JPEG of this size in a TIFF that says 16 x 16."""
    stream = pillow("L", "JPEG", size=(width, height))
    tags = {"tag_256": 16, "tag_257": 16, "tag_258": 8, "tag_262": 1, "tag_277": 1, "tag_278": 16}
    return tiff(stream, **tags, tag_259=7)


def test_a_jpeg_in_a_tiff_is_of_the_size_of_its_strip() -> None:
    assert read(jpeg_in_tiff(16, 16)).pixels.shape == (16, 16, 1)
    for width, height in ((15, 16), (16, 15), (16, 17), (4000, 16)):
        with pytest.raises(DecodeError, match="another size"):
            read(jpeg_in_tiff(width, height))


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 34925, 50000])
def test_a_strip_that_unpacks_to_too_little_is_damaged(compression: int) -> None:
    packers = {5: "lzw", 8: "zlib", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
    rows = bytes(range(30))
    if compression != 1:
        rows = bytes(getattr(imagecodecs, f"{packers[compression]}_encode")(rows))
    tags = {"tag_256": 10, "tag_258": 8, "tag_262": 1, "tag_277": 1, "tag_259": compression}
    assert read(tiff(rows, **tags, tag_257=3, tag_278=3)).pixels.ravel().tolist() == list(range(30))
    with pytest.raises(DecodeError, match=r"shorter than its pixels|ends inside the pixels"):
        read(tiff(rows, **tags, tag_257=4, tag_278=4))


@pytest.mark.parametrize(
    "boxes",
    [
        struct.pack(">I4s", 4, b"meta"),
        struct.pack(">I4sQ", 1, b"meta", 8),
        struct.pack(">I4s", 8, b"free") * 4097,
    ],
)
def test_boxes_of_an_avif_that_lead_nowhere_are_damage(boxes: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        peek(b"\0\0\0\x10ftypavif\0\0\0\0" + boxes, key="k")
    assert caught.value.code == "decode.corrupt"


def test_a_count_of_frames_that_is_cut_short_is_damage() -> None:
    with pytest.raises(DecodeError, match="acTL"):
        peek(png((1, 1), 8, 0, b"\0\0", (b"acTL", b"\0\0\0")), key="k")


def test_ring_of_tiff_directories_ends() -> None:
    data = tiff(b"abc")
    first = int.from_bytes(data[4:8], "little")
    link = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    with pytest.raises(DecodeError, match="longer than the file"):
        peek(data[:link] + data[4:8] + data[link + 4 :], key="k")


def test_bombs_and_images_decode_side_by_side() -> None:
    photos = [SAMPLES[name] for name in SAMPLES]
    expected = [read(data).pixels for data in photos]

    def attempt(index: int) -> bool:
        if index % 3 == 0:
            with pytest.raises(TooLargeError):
                read(BOMB)
            return True
        number = index % len(photos)
        return np.array_equal(read(photos[number]).pixels, expected[number])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(attempt, range(300)))


def test_images_above_pillow_s_own_limit_are_ours_to_allow() -> None:
    wide = np.zeros((9_500, 9_500, 1), np.uint8)
    data = write(wide, ImageFormat.TIFF)
    assert read(data, max_pixels=100_000_000).pixels.shape == wide.shape
