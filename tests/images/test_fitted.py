"""What a format has no room for, or what does not hold in it, is left out and named."""

import struct
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

from sdflow.images import ifd
from sdflow.images.encoding import encode_bands
from sdflow.images.formats import ImageFormat, Metadata, WriteOptions
from sdflow.images.metadata import fitted

from .samples import ICC, noise, opened, read
from .written import (
    FORMATS,
    GREY_ICC,
    IPTC,
    KEY,
    LOSSLESS,
    WHOLE,
    XMP,
    by_libvips,
    cut,
    with_maker_note,
    write,
)

CMYK_ICC = ICC[:16] + b"CMYK" + ICC[20:]
LINEAR = ((b"gAMA", struct.pack(">I", 100_000)),)
SRGB_PRIMARIES = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
WIDE_PRIMARIES = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
OTHERS = [name for name in FORMATS if name is not ImageFormat.PNG]


def test_jpeg_loses_the_largest_tag_before_it_loses_exif() -> None:
    large = with_maker_note(note=bytes(70_000))
    done = fitted(Metadata(exif=large), ImageFormat.JPEG)
    assert "MakerNote" in (done.note or "")
    directory = ifd.read_stream(done.metadata.exif or b"")
    assert directory.entries[305].value == b"Camera\0"
    assert not directory.children[ifd.EXIF_TAG].entries
    title = ifd.Directory({270: ifd.Entry(ifd.ASCII, b"a" * 70_000)})
    hopeless = fitted(Metadata(exif=ifd.write_stream(title)), ImageFormat.JPEG)
    assert hopeless.metadata.exif is None
    assert "EXIF" in (hopeless.note or "")


def test_jpeg_packs_xmp_before_it_loses_it() -> None:
    padded = XMP.replace(b"\n<?xpacket end", b" " * 70_000 + b"\n<?xpacket end")
    done = fitted(Metadata(xmp=padded), ImageFormat.JPEG)
    assert done.note is None
    assert done.metadata.xmp is not None
    assert len(done.metadata.xmp) < len(XMP) + 1
    wordy = XMP.replace(b"more", b"more" * 20_000)
    assert "XMP" in (fitted(Metadata(xmp=wordy), ImageFormat.JPEG).note or "")


@pytest.mark.parametrize(
    ("metadata", "format", "word"),
    [
        (Metadata(iptc=bytes(70_000)), ImageFormat.JPEG, "IPTC"),
        (Metadata(dpi=(1e6, 1e6)), ImageFormat.JPEG, "dpi"),
        (Metadata(icc=bytes(1 << 24)), ImageFormat.JPEG, "ICC"),
        (Metadata(iptc=IPTC), ImageFormat.WEBP, "IPTC"),
        (Metadata(iptc=IPTC), ImageFormat.AVIF, "IPTC"),
        (Metadata(icc=GREY_ICC), ImageFormat.WEBP, "grey"),
        (Metadata(icc=GREY_ICC), ImageFormat.AVIF, "grey"),
        (Metadata(exif=b"junk"), ImageFormat.TIFF, "EXIF"),
    ],
)
def test_what_a_format_has_no_room_for_is_left_out_and_named(
    metadata: Metadata, format: ImageFormat, word: str
) -> None:
    done = fitted(metadata, format)
    assert done.metadata == Metadata()
    assert word in (done.note or "")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dpi", [1e-9, 0.09, 65_536, 2**32 - 1, float("inf"), float("nan")])
def test_a_density_that_cannot_be_meant_is_left_out_and_named(
    format: ImageFormat, dpi: float
) -> None:
    for pair in ((dpi, 300.0), (300.0, dpi)):
        done = fitted(Metadata(dpi=pair), format)
        assert done.metadata == Metadata()
        assert "dpi" in (done.note or "")
        read(write(noise(2, 2, 3), format, Metadata(dpi=pair)))


@pytest.mark.parametrize("format", LOSSLESS)
@pytest.mark.parametrize("dpi", [0.1, 0.35, 72.5, 65_535.0])
def test_any_other_density_is_written(format: ImageFormat, dpi: float) -> None:
    found = read(write(noise(2, 2, 3), format, Metadata(dpi=(dpi, dpi)))).metadata.dpi
    assert found == pytest.approx((dpi, dpi), abs=0.013)


@pytest.mark.parametrize("ratio", [(2**32 - 1, 1), (1, 2**32 - 1)])
def test_odd_resolutions_of_a_tiff_pass_to_every_format(ratio: tuple[int, int]) -> None:
    source = bytearray(write(noise(2, 2, 3), ImageFormat.TIFF, Metadata(dpi=(300, 300))))
    pair = struct.pack("<II", 300, 1)
    assert source.count(pair) == 2
    found = read(bytes(source.replace(pair, struct.pack("<II", *ratio)))).metadata
    for format in FORMATS:
        assert read(write(noise(2, 2, 3), format, found)).metadata.dpi is None


@pytest.mark.parametrize(
    "colour",
    [
        ((b"sRGB", b"\0"),),
        ((b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", SRGB_PRIMARIES)),
        ((b"gAMA", struct.pack(">I", 45_500)),),
        ((b"cHRM", WIDE_PRIMARIES), (b"sRGB", b"\1")),
        ((b"gAMA", struct.pack(">I", 100_000)), (b"cICP", b"\x01\x0d\0\x01")),
    ],
)
@pytest.mark.parametrize("format", OTHERS)
def test_a_png_that_says_srgb_says_nothing_of_note(
    format: ImageFormat, colour: tuple[tuple[bytes, bytes], ...]
) -> None:
    done = fitted(Metadata(png_colour=colour), format)
    assert (done.metadata, done.note) == (Metadata(), None)


@pytest.mark.parametrize(
    "colour",
    [
        LINEAR,
        ((b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", WIDE_PRIMARIES)),
        ((b"cICP", b"\x09\x10\0\x01"), (b"sRGB", b"\0")),
        ((b"gAMA", b"\0"),),
        ((b"mDCV", bytes(24)),),
    ],
)
@pytest.mark.parametrize("format", OTHERS)
def test_a_png_of_other_colours_is_named_where_they_cannot_be(
    format: ImageFormat, colour: tuple[tuple[bytes, bytes], ...]
) -> None:
    done = fitted(Metadata(png_colour=colour), format)
    assert done.metadata == Metadata()
    assert "gAMA" in (done.note or "")


def test_a_profile_stands_above_all_but_cicp() -> None:
    for colour, is_noted in ((LINEAR, False), (((b"cICP", b"\x09\x10\0\x01"),), True)):
        done = fitted(Metadata(icc=ICC, png_colour=colour), ImageFormat.JPEG)
        assert done.metadata == Metadata(icc=ICC)
        assert (done.note is not None) == is_noted


def test_words_on_colour_go_into_every_png_before_the_pixels() -> None:
    metadata = replace(WHOLE, png_colour=(*LINEAR, (b"cHRM", WIDE_PRIMARIES)))
    assert fitted(metadata, ImageFormat.PNG).metadata == metadata
    pixels, file = noise(9, 7, 3), BytesIO()
    options = WriteOptions(ImageFormat.PNG)
    encode_bands(cut(pixels, [2]), metadata, options, key=KEY, file=file)
    for data in (write(pixels, ImageFormat.PNG, metadata), file.getvalue()):
        places = [data.index(name) for name in (b"iCCP", b"gAMA", b"cHRM", b"IDAT")]
        assert places == sorted(places)
        np.testing.assert_array_equal(by_libvips(data).numpy(), pixels)
        image = opened(write(pixels, ImageFormat.PNG, Metadata(png_colour=LINEAR)))
        assert image.info["gamma"] == 1.0


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("icc", [ICC, GREY_ICC, CMYK_ICC])
def test_a_profile_stands_beside_colours_of_its_kind_alone(
    format: ImageFormat, bands: int, icc: bytes
) -> None:
    is_grey = bands == 1 and format not in (ImageFormat.WEBP, ImageFormat.AVIF)
    fits = icc is (GREY_ICC if is_grey else ICC)
    done = fitted(Metadata(icc=icc), format, num_bands=bands)
    assert done.metadata.icc == (icc if fits else None)
    assert (done.note is None) == fits
    found = opened(write(noise(5, 7, bands), format, Metadata(icc=icc))).info.get("icc_profile")
    assert found == done.metadata.icc


@pytest.mark.parametrize("format", [ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.TIFF])
def test_no_profile_is_judged_where_the_channels_are_unknown(format: ImageFormat) -> None:
    for icc in (ICC, GREY_ICC, b"short"):
        assert fitted(Metadata(icc=icc), format).metadata.icc == icc
