"""Metadata are written where every other program looks for them, and read from there."""

import struct
from dataclasses import replace
from io import BytesIO
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from sdflow.geometry import Size
from sdflow.images import ifd
from sdflow.images.formats import ImageFormat, Metadata
from sdflow.images.metadata import finished
from sdflow.images.provenance import Provenance

from .samples import ICC, exif, noise, opened, png, read, tiff
from .written import (
    FORMATS,
    GREY_ICC,
    IPTC,
    UPRIGHT_EXIF,
    WHOLE,
    XMP,
    by_libvips,
    by_tifffile,
    tags,
    tags_of,
    write,
)

WITHOUT_IPTC = (ImageFormat.WEBP, ImageFormat.AVIF)
WITHOUT_DENSITY = WITHOUT_IPTC


def kept(metadata: Metadata, format: ImageFormat) -> Metadata:
    """What comes back from a format, of what it has a place for."""
    result = read(write(noise(5, 7, 3), format, metadata)).metadata
    assert result.exif is not None
    assert tags(result.exif) == tags(metadata.exif or b"")
    assert (result.icc, result.xmp) == (metadata.icc, metadata.xmp)
    return result


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_survive(format: ImageFormat) -> None:
    result = kept(WHOLE, format)
    if format is not ImageFormat.TIFF:
        assert result.exif == UPRIGHT_EXIF, "byte for byte"
    if format not in WITHOUT_IPTC:
        assert result.iptc == IPTC
    if format not in WITHOUT_DENSITY:
        assert result.dpi == pytest.approx((300, 150), rel=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_no_metadata_stay_none(format: ImageFormat) -> None:
    assert read(write(noise(5, 7, 3), format, Metadata())).metadata == Metadata()


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, FORMATS)))
def test_metadata_survive_a_change_of_format(first: ImageFormat, second: ImageFormat) -> None:
    result = kept(kept(WHOLE, first), second)
    assert result.icc == ICC
    if not {first, second} & {*WITHOUT_IPTC}:
        assert result.iptc == IPTC


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_metadata_stand_beside_every_kind_of_pixels(format: ImageFormat, bands: int) -> None:
    if format is ImageFormat.JPEG and bands in (2, 4):
        pytest.skip("JPEG has no alpha")
    is_grey = bands < 3 and format not in (ImageFormat.WEBP, ImageFormat.AVIF)
    icc = GREY_ICC if is_grey else ICC
    image = opened(write(noise(5, 7, bands), format, replace(WHOLE, icc=icc)))
    assert image.info["icc_profile"] == icc
    assert tags_of(image.getexif()) == tags(UPRIGHT_EXIF)
    assert image.size == (7, 5)


@pytest.mark.parametrize("format", FORMATS)
def test_pillow_finds_the_metadata(format: ImageFormat) -> None:
    image = opened(write(noise(5, 7, 3), format))
    assert image.info["icc_profile"] == ICC
    assert image.info.get("xmp", image.info.get("XML:com.adobe.xmp", "").encode()) == XMP
    assert tags_of(image.getexif()) == tags(UPRIGHT_EXIF)
    if format not in WITHOUT_DENSITY:
        assert image.info["dpi"] == pytest.approx((300, 150), rel=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_libvips_finds_the_metadata(format: ImageFormat) -> None:
    image = by_libvips(write(noise(5, 7, 3), format))
    assert image.get("icc-profile-data") == ICC
    assert image.get("xmp-data") == XMP
    if format is not ImageFormat.TIFF:
        assert image.get("exif-data").endswith(UPRIGHT_EXIF)
    if format in (ImageFormat.JPEG, ImageFormat.TIFF):
        assert IPTC in image.get("iptc-data")
    if format not in WITHOUT_DENSITY:
        assert (image.xres * 25.4, image.yres * 25.4) == pytest.approx((300, 150), rel=1e-3)


def test_tifffile_finds_the_metadata() -> None:
    data = write(noise(5, 7, 3), ImageFormat.TIFF)
    with tifffile.TiffFile(BytesIO(data)) as file:
        found = {tag.code: tag.value for tag in file.pages.first.tags.values()}
    assert (found[34675], found[700], found[33723]) == (ICC, XMP, IPTC)
    assert found[34665]["DateTimeOriginal"] == "2020:01:02 03:04:05"
    assert found[34853]["GPSLatitude"] == (47, 1, 22, 1, 61, 2)
    assert (found[282], found[283], found[296]) == ((300, 1), (150, 1), 2)


def test_iptc_in_png_is_the_raw_profile_that_others_write() -> None:
    image = opened(write(noise(5, 7, 3), ImageFormat.PNG))
    name, size, *digits = image.text["Raw profile type iptc"].split()  # type: ignore[attr-defined]
    body = bytes.fromhex("".join(digits))
    assert (name, int(size)) == ("iptc", len(body))
    assert body == b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + bytes(len(IPTC) % 2)


@pytest.mark.parametrize("format", FORMATS)
def test_a_result_says_how_it_was_made_in_every_format(format: ImageFormat) -> None:
    made = Provenance("sdflow 1.2.3", "abc", "upscale", 0.8, 0, 0)
    done = finished(WHOLE, size=Size(5, 7), provenance=made)
    image = opened(write(noise(5, 7, 3), format, done.metadata))
    assert image.getexif()[0x0131] == "sdflow 1.2.3"
    packet = image.info.get("xmp", image.info.get("XML:com.adobe.xmp", "").encode())
    assert b'sdflow:weights="abc"' in packet


@pytest.mark.parametrize("format", WITHOUT_IPTC)
def test_a_profile_of_grey_does_not_stand_beside_three_channels(format: ImageFormat) -> None:
    assert "icc_profile" not in opened(write(noise(5, 7, 1), format, Metadata(icc=GREY_ICC))).info
    assert by_libvips(write(noise(5, 7, 1), format)).get("icc-profile-data") == ICC


@pytest.mark.parametrize("size", [1, 2, 65_519, 65_520, 150_000])
def test_profiles_of_any_length_survive_in_jpeg(size: int) -> None:
    icc = np.random.default_rng(0).bytes(size)
    data = write(noise(2, 2, 3), ImageFormat.JPEG, Metadata(icc=icc))
    assert opened(data).info["icc_profile"] == icc
    assert read(data).metadata.icc == icc


@pytest.mark.parametrize("length", [100, 101])
def test_chunks_of_odd_length_are_padded_in_webp(length: int) -> None:
    metadata = Metadata(icc=ICC + bytes(length), exif=UPRIGHT_EXIF + bytes(length))
    image = opened(write(noise(5, 7, 3), ImageFormat.WEBP, metadata))
    assert image.info["icc_profile"] == metadata.icc
    assert image.info["exif"].endswith(metadata.exif)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_pixels_stay_as_they_are_whatever_the_orientation(
    format: ImageFormat, orientation: int
) -> None:
    turned = Metadata(exif=exif(tag_274=orientation))
    plain = write(noise(5, 7, 3), format, Metadata())
    found = by_libvips(write(noise(5, 7, 3), format, turned))
    np.testing.assert_array_equal(found.numpy(), by_libvips(plain).numpy())


def test_big_endian_exif_keeps_its_meaning_in_tiff_and_its_bytes_elsewhere() -> None:
    values = {0x0112: 1, 0x010F: "a maker", 0x8298: "someone"}
    big = Image.Exif()
    big.endian = ">"
    big.update(values)
    big.get_ifd(0x8825)[2] = (47.0, 22.0, 30.5)
    stream = big.tobytes().removeprefix(b"Exif\0\0")
    assert stream.startswith(b"MM")
    for format in FORMATS:
        result = read(write(noise(2, 2, 3), format, Metadata(exif=stream))).metadata.exif
        assert result is not None
        assert tags(result) == tags(stream)
        assert (result == stream) == (format is not ImageFormat.TIFF)


def test_tags_about_other_pixels_do_not_follow_into_tiff() -> None:
    foreign = exif(tag_256=4000, tag_257=3000, tag_259=6, tag_33550=1)
    data = write(noise(2, 2, 3), ImageFormat.TIFF, Metadata(exif=foreign))
    found = ifd.read_stream(data).entries
    assert (found[256].integers(), found[259].integers()) == ([2], [8])
    assert 33550 not in found
    np.testing.assert_array_equal(by_tifffile(data), noise(2, 2, 3))


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


def test_a_profile_of_a_jpeg_that_has_lost_a_part_is_left_out_and_named() -> None:
    large = Metadata(icc=np.random.default_rng(0).bytes(150_000))
    data = write(noise(2, 2, 3), ImageFormat.JPEG, large)
    start = data.index(b"\xff\xe2")
    (size,) = struct.unpack_from(">H", data, start + 2)
    found = read(data[:start] + data[start + 2 + size :])
    assert found.metadata == Metadata()
    assert "ICC" in found.note


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
def test_a_damaged_profile_in_a_png_is_left_out_and_named(body: bytes) -> None:
    found = read(png((1, 1), 8, 0, b"\0\0", (b"iCCP", body)))
    assert found.metadata == Metadata()
    assert "ICC" in found.note


def test_a_profile_that_inflates_without_end_is_left_out_and_named() -> None:
    data = write(noise(1, 1, 1), ImageFormat.PNG, Metadata(icc=bytes((1 << 24) + 1)))
    assert len(data) < 50_000
    found = read(data)
    assert found.metadata == Metadata()
    assert "ICC" in found.note


def test_tiff_with_nothing_but_a_resolution_has_no_exif() -> None:
    metadata = Metadata(dpi=(72.5, 72.5))
    assert read(write(noise(2, 2, 1), ImageFormat.TIFF, metadata)).metadata == metadata


def test_tiff_resolution_without_a_unit_of_length_is_no_dpi() -> None:
    assert read(tiff(b"abc", tag_282=300, tag_283=300, tag_296=1)).metadata.dpi is None


def test_the_sample_has_everything() -> None:
    assert None not in (WHOLE.icc, WHOLE.exif, WHOLE.xmp, WHOLE.iptc, WHOLE.dpi)
