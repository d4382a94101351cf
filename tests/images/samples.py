"""Files made by hand or by Pillow, to read back with the code under test."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from sdflow.images import ifd
from sdflow.images.codec import DecodedImage, ImageFormat, Metadata, Pixels, decode
from sdflow.images.encoding import encode
from sdflow.images.formats import ByteSource, WriteOptions

EVERY_KIND = [(1, np.uint8), (2, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.uint16)]
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/">Zürich</x:xmpmeta>'.encode()


def exif(**more: int) -> bytes:
    """EXIF with orientation 6, a maker, a date and a place; ``more`` as tag_<number>=value."""
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010F] = "Maker"
    tags[0x0132] = "2020:01:02 03:04:05"
    for name, value in more.items():
        tags[int(name.removeprefix("tag_"))] = value
    tags.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    tags.get_ifd(0x8825)[1] = "N"
    tags.get_ifd(0x8825)[2] = (47.0, 22.0, 30.5)
    return tags.tobytes().removeprefix(b"Exif\0\0")


RICH_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
    ' xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' tiff:Orientation="6" tiff:ImageWidth="53"><tiff:ImageLength>37</tiff:ImageLength>'
    "<exif:PixelXDimension>53</exif:PixelXDimension><xmp:Thumbnails><rdf:Alt><rdf:li>x</rdf:li>"
    '</rdf:Alt></xmp:Thumbnails></rdf:Description><rdf:Description rdf:about=""'
    ' xmlns:sdflow="urn:sdflow:provenance:1" sdflow:software="old 1" sdflow:tau="1"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
IPTC = b"\x1c\2\x50\0\3abc"


def rich_exif() -> bytes:
    """EXIF with sizes, a MakerNote, a Software and all directories."""
    tags = Image.Exif()
    tags[0x0112], tags[0x0131], tags[0x010F] = 1, "Camera 7", "Maker"
    tags[0x0100], tags[0x0101] = 53, 37
    below = tags.get_ifd(0x8769)
    below[0xA002], below[0xA003], below[0x927C] = 53, 37, b"note" * 40
    below[0xA005] = {1: "R98"}
    tags.get_ifd(0x8825)[2] = (47.0, 22.0, 30.5)
    return tags.tobytes().removeprefix(b"Exif\0\0")


RICH = Metadata(ICC, rich_exif(), RICH_XMP, IPTC, (300.0, 150.0))
FULL = Metadata(icc=ICC, exif=exif(), xmp=XMP, dpi=(300.0, 150.0))


def images(*kinds: tuple[int, type]) -> st.SearchStrategy[Pixels]:
    """Images of random content, from 1 x 1 on."""

    def of_kind(kind: tuple[int, type]) -> st.SearchStrategy[Pixels]:
        sides = st.integers(1, 19)
        shape = st.tuples(sides, sides, st.just(kind[0]))
        return hnp.arrays(kind[1], shape)

    return st.sampled_from(kinds or EVERY_KIND).flatmap(of_kind)


def noise(height: int, width: int, bands: int, dtype: type = np.uint8) -> Pixels:
    levels = np.random.default_rng(7).integers(
        0, np.iinfo(dtype).max, (height, width, bands), endpoint=True
    )
    pixels: Pixels = levels.astype(dtype)
    return pixels


def read(data: ByteSource, *, max_pixels: int = 10**6) -> DecodedImage:
    return decode(data, key="a/b.img", max_pixels=max_pixels)


def write(
    pixels: Pixels, format: ImageFormat, metadata: Metadata = FULL, quality: int = 90
) -> bytes:
    return encode(pixels, metadata, WriteOptions(format, quality), key="a/b.img")


def pillow(mode: str, format: str, *, size: tuple[int, int] = (17, 13), **options: Any) -> bytes:  # noqa: ANN401 # Pillow's own
    """What Pillow writes for noise of a mode."""
    width, height = size
    buffer = BytesIO()
    colours = Image.fromarray(noise(height, width, 3 if mode == "P" else 4))
    colours.convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    """What Pillow alone makes of a file."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    size: tuple[int, int], depth: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    """A PNG from raw rows, each with its filter byte; ``extra`` chunks stand before the pixels."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    chunks = [
        *((b"IHDR", header), *extra),
        *((b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def big_endian_tiff(levels: Pixels, *, compressed: bool) -> bytes:
    """16-bit grey as big-endian TIFF in one strip."""
    height, width, _ = levels.shape
    rows = levels.astype(">u2").tobytes()
    strip = zlib.compress(rows) if compressed else rows
    tags = {256: width, 257: height, 258: 16, 259: 8 if compressed else 1, 262: 1, 273: 8}
    tags |= {277: 1, 278: height, 279: len(strip)}
    table = b"".join(struct.pack(">HHIHxx", tag, 3, 1, value) for tag, value in tags.items())
    at = 8 + len(strip) + len(strip) % 2
    start = struct.pack(">2sHI", b"MM", 42, at) + strip.ljust(at - 8, b"\0")
    return start + struct.pack(">H", len(tags)) + table + bytes(4)


def tiff(rows: bytes, **tags: int | list[int]) -> bytes:
    """A one-strip uncompressed TIFF from raw rows; tags as tag_<number>=value, RGB 8-bit 1 x 1."""
    values: dict[int, int | list[int]] = {256: 1, 257: 1, 258: [8, 8, 8], 259: 1, 262: 2, 277: 3}
    values |= {273: 8, 279: len(rows), 278: 1}
    if "tag_324" in tags:
        del values[273], values[278], values[279]
    values |= {int(name.removeprefix("tag_")): value for name, value in tags.items()}
    entries = {}
    for tag, value in values.items():
        numbers = value if isinstance(value, list) else [value]
        entries[tag] = ifd.Entry(ifd.SHORT, struct.pack(f"<{len(numbers)}H", *numbers))
    at = 8 + len(rows) + len(rows) % 2
    table = ifd.write_directory(ifd.Directory(entries), at)
    return struct.pack("<2sHI", b"II", 42, at) + rows.ljust(at - 8, b"\0") + table
