import struct
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sdflow.errors import DecodeError
from sdflow.images import ifd
from sdflow.images.codec import ImageFormat, Metadata

from .samples import FULL, ICC, XMP, exif, noise, opened, png, read, tiff, write

FORMATS = list(ImageFormat)


def tags_of(data: bytes) -> dict[str, Any]:
    """EXIF as Pillow understands it, without resolution and pointers."""
    found = Image.Exif()
    found.load(data)
    main = {tag: found[tag] for tag in found if tag not in (282, 283, 296, 0x8769, 0x8825)}
    return {"main": main, "exif": found.get_ifd(0x8769), "gps": found.get_ifd(0x8825)}


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_survives(format: ImageFormat) -> None:
    result = read(write(noise(5, 7, 3), format)).metadata
    assert result.icc == ICC
    assert result.xmp == XMP
    assert result.exif is not None
    assert tags_of(result.exif) == tags_of(exif())
    assert tags_of(result.exif)["main"][0x0112] == 6
    if format is not ImageFormat.TIFF:
        assert result.exif == exif()
    if format is not ImageFormat.WEBP:
        assert result.dpi == pytest.approx((300, 150), rel=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_no_metadata_stays_none(format: ImageFormat) -> None:
    assert read(write(noise(5, 7, 3), format, Metadata())).metadata == Metadata()


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, FORMATS)))
def test_metadata_survives_a_change_of_format(first: ImageFormat, second: ImageFormat) -> None:
    metadata = read(write(noise(5, 7, 3), first)).metadata
    result = read(write(noise(5, 7, 3), second, metadata)).metadata
    assert (result.icc, result.xmp) == (ICC, XMP)
    assert result.exif is not None
    assert tags_of(result.exif) == tags_of(exif())


@pytest.mark.parametrize("format", FORMATS)
def test_other_readers_find_the_metadata(format: ImageFormat) -> None:
    image = opened(write(noise(5, 7, 3), format))
    assert image.info["icc_profile"] == ICC
    assert image.info.get("xmp", image.info.get("XML:com.adobe.xmp", "").encode()) == XMP
    assert image.getexif()[0x0132] == "2020:01:02 03:04:05"
    assert image.getexif().get_ifd(0x8825)[2] == (47.0, 22.0, 30.5)
    if format is not ImageFormat.WEBP:
        assert image.info["dpi"] == pytest.approx((300, 150), rel=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_pixels_stay_as_stored_whatever_the_orientation(orientation: int) -> None:
    pixels = noise(5, 7, 3)
    data = write(pixels, ImageFormat.TIFF, Metadata(exif=exif(tag_274=orientation)))
    result = read(data)
    np.testing.assert_array_equal(result.pixels, pixels)
    assert result.metadata.exif is not None
    assert tags_of(result.metadata.exif)["main"][0x0112] == orientation
    assert opened(data).size == ((7, 5) if orientation < 5 else (5, 7)), "Pillow turns it"


def test_big_endian_exif_keeps_its_meaning_in_tiff_and_its_bytes_elsewhere() -> None:
    values = {0x0112: 6, 0x010E: "a title", 0x8298: "someone"}
    tags = Image.Exif()
    tags.endian = ">"
    tags.update(values)
    tags.get_ifd(0x8825)[2] = (47.0, 22.0, 30.5)
    big = tags.tobytes().removeprefix(b"Exif\0\0")
    assert big.startswith(b"MM")
    for format in FORMATS:
        result = read(write(noise(2, 2, 3), format, Metadata(exif=big))).metadata.exif
        assert result is not None
        assert tags_of(result) == tags_of(big)
        assert (result == big) == (format is not ImageFormat.TIFF)


def test_tags_about_other_pixels_do_not_follow_into_tiff() -> None:
    foreign = exif(tag_256=4000, tag_257=3000, tag_259=6, tag_33550=1)
    data = write(noise(2, 2, 3), ImageFormat.TIFF, Metadata(exif=foreign))
    found = ifd.read_stream(data).entries
    assert (found[256].integers(), found[259].integers()) == ([2], [8])
    assert 33550 not in found


def test_exif_without_a_link_to_a_next_directory_is_read() -> None:
    tags = exif()
    alone = ifd.write_stream(ifd.Directory({274: ifd.read_stream(tags).entries[274]}))
    result = read(write(noise(2, 2, 3), ImageFormat.TIFF, Metadata(exif=alone[:-4])))
    assert result.metadata.exif == alone


def test_jpeg_profile_and_exif_in_several_segments_are_joined() -> None:
    large = Metadata(icc=np.random.default_rng(0).bytes(150_000))
    data = write(noise(2, 2, 3), ImageFormat.JPEG, large)
    assert read(data).metadata.icc == large.icc
    body = b"Exif\0\0"
    parts = [
        struct.pack(">2sH", b"\xff\xe1", 2 + len(body + part)) + body + part
        for part in (exif()[:50], exif()[50:])
    ]
    data = write(noise(2, 2, 3), ImageFormat.JPEG, Metadata())
    assert read(data[:2] + b"".join(parts) + data[2:]).metadata.exif == exif()


def test_jpeg_with_a_lost_part_of_its_profile_is_refused() -> None:
    large = Metadata(icc=np.random.default_rng(0).bytes(150_000))
    data = write(noise(2, 2, 3), ImageFormat.JPEG, large)
    start = data.index(b"\xff\xe2")
    (size,) = struct.unpack_from(">H", data, start + 2)
    with pytest.raises(DecodeError, match="ICC") as caught:
        read(data[:start] + data[start + 2 + size :])
    assert caught.value.code == "decode.corrupt"


def test_jpeg_density_per_centimetre_becomes_dpi() -> None:
    data = write(noise(2, 2, 3), ImageFormat.JPEG, Metadata(dpi=(100, 50)))
    unit = data.index(b"JFIF\0") + 7
    in_cm = data[:unit] + b"\x02" + data[unit + 1 :]
    assert read(in_cm).metadata.dpi == pytest.approx((254, 127))


def test_damaged_exif_passes_a_jpeg_untouched_and_unread() -> None:
    broken = Metadata(exif=b"II*\0\x08\0\0\0\xff\xff" + bytes(20))
    assert read(write(noise(2, 2, 3), ImageFormat.JPEG, broken)).metadata == broken


def test_compressed_xmp_in_png_is_read() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    info.add_itxt("Title", "not XMP")
    buffer = BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG", pnginfo=info)
    assert read(buffer.getvalue()).metadata == Metadata(xmp=XMP)


@pytest.mark.parametrize("body", [b"name\0\0junk", b"name\0\0" + bytes(9), b"name"])
def test_damaged_profile_in_png_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="ICC"):
        read(png((1, 1), 8, 0, b"\0\0", (b"iCCP", body)))


def test_profile_that_inflates_without_end_is_refused() -> None:
    data = write(noise(1, 1, 1), ImageFormat.PNG, Metadata(icc=bytes((1 << 24) + 1)))
    assert len(data) < 50_000
    with pytest.raises(DecodeError, match="16 MiB"):
        read(data)


def test_tiff_with_nothing_but_a_resolution_has_no_exif() -> None:
    metadata = Metadata(dpi=(72.5, 72.5))
    assert read(write(noise(2, 2, 1), ImageFormat.TIFF, metadata)).metadata == metadata


def test_tiff_resolution_without_a_unit_of_length_is_no_dpi() -> None:
    assert read(tiff(b"abc", tag_282=300, tag_283=300, tag_296=1)).metadata.dpi is None


def test_full_sample_has_everything() -> None:
    assert None not in (FULL.icc, FULL.exif, FULL.xmp, FULL.dpi)
