"""Metadata in files that the encoders wrote without: JPEG's segments, PNG's and WebP's chunks.

Sources: JFIF (ITU-T T.871), EXIF 3.0, XMP part 3, the PNG specification's third edition, RFC 9649.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from sdflow.images.png_writer import chunk

if TYPE_CHECKING:
    from sdflow.geometry import Size
    from sdflow.images.formats import Metadata

HEAD_BYTES = 64  # as much of a JPEG or PNG as ``with_*_metadata`` wants to see; none is shorter
SEGMENT_BYTES = 65_533  # of a JPEG's segment: the length field counts itself
EXIF_PREFIX, XMP_PREFIX = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
ICC_PREFIX, PHOTOSHOP_PREFIX = b"ICC_PROFILE\0", b"Photoshop 3.0\0"
ICC_PART_BYTES = SEGMENT_BYTES - len(ICC_PREFIX) - 2
PHOTOSHOP_BYTES = len(PHOTOSHOP_PREFIX) + 13  # around IPTC: see ``photoshop``
_IHDR_END, _PHYS_BYTES = 33, 21
_METRES_PER_INCH = 0.0254
_APP0, _APP1, _APP2, _APP13 = 0xE0, 0xE1, 0xE2, 0xED
_HAS_ICC, _HAS_ALPHA, _HAS_EXIF, _HAS_XMP = 0x20, 0x10, 0x08, 0x04
_HEX_LINE = 72


def jpeg_with_metadata(head: bytes, metadata: Metadata) -> bytes:
    """Put segments after the first marker.

    Args:
        head: The beginning of a JPEG without JFIF and metadata; the rest follows as it is.
        metadata: What ``metadata.fitted`` leaves for a JPEG.
    """
    x, y = (round(value) for value in metadata.dpi or (0, 0))
    unit, x, y = (1, x, y) if x and y else (0, 1, 1)
    parts = [_segment(_APP0, b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, unit, x, y, 0, 0))]
    if metadata.exif:
        parts.append(_segment(_APP1, EXIF_PREFIX + metadata.exif))
    if metadata.xmp:
        parts.append(_segment(_APP1, XMP_PREFIX + metadata.xmp))
    if metadata.iptc:
        parts.append(_segment(_APP13, PHOTOSHOP_PREFIX + photoshop(metadata.iptc)))
    icc = metadata.icc or b""
    cuts = [icc[at : at + ICC_PART_BYTES] for at in range(0, len(icc), ICC_PART_BYTES)]
    for number, part in enumerate(cuts, 1):
        label = ICC_PREFIX + bytes((number, len(cuts)))
        parts.append(_segment(_APP2, label + part))
    return b"".join((head[:2], *parts, head[2:]))


def png_with_metadata(head: bytes, metadata: Metadata) -> bytes:
    """Put chunks after IHDR, in place of a density.

    Args:
        head: The beginning of a PNG without metadata; the rest follows as it is.
        metadata: What ``metadata.fitted`` leaves for a PNG.
    """
    rest = head[_IHDR_END:]
    if rest[4:8] == b"pHYs":
        rest = rest[_PHYS_BYTES:]
    parts: list[bytes | memoryview] = []
    if metadata.icc:
        parts.extend(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc)))
    for name, body in metadata.png_colour:
        parts.extend(chunk(name, body))
    if metadata.dpi is not None:
        x, y = (round(value / _METRES_PER_INCH) for value in metadata.dpi)
        parts.extend(chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.exif:
        parts.extend(chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        parts.extend(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    if metadata.iptc:
        # No chunk of PNG's own holds IPTC: this is ImageMagick's, which ExifTool reads as well.
        text = _raw_profile(b"iptc", photoshop(metadata.iptc))
        parts.extend(chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(text)))
    return b"".join((head[:_IHDR_END], *parts, rest))


def webp_with_metadata(data: bytes, metadata: Metadata, size: Size, *, alpha: bool) -> bytes:
    """Put chunks around the image.

    Args:
        data: A whole file with one frame and without metadata.
        metadata: What ``metadata.fitted`` leaves for a WebP.
        size: Of the image.
        alpha: Whether it has transparency.
    """
    icc, exif, xmp = metadata.icc, metadata.exif, metadata.xmp
    if not (icc or exif or xmp):
        return data
    image = data[12:]
    if image.startswith(b"VP8X"):
        image = image[18:]
    flags = _HAS_ALPHA * alpha + _HAS_ICC * bool(icc)
    flags += _HAS_EXIF * bool(exif) + _HAS_XMP * bool(xmp)
    sides = [(side - 1).to_bytes(3, "little") for side in (size.width, size.height)]
    parts = [_riff(b"VP8X", b"".join((struct.pack("<I", flags), *sides)))]
    parts += [_riff(b"ICCP", icc)] if icc else []
    parts.append(image)
    parts += [_riff(b"EXIF", exif)] if exif else []
    parts += [_riff(b"XMP ", xmp)] if xmp else []
    return _riff(b"RIFF", b"".join((b"WEBP", *parts)))


def photoshop(iptc: bytes) -> bytes:
    """IPTC records as an image resource of Photoshop, number 0x0404, without a name."""
    start = struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(iptc))
    return start + iptc + bytes(len(iptc) % 2)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def _riff(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + bytes(len(body) % 2)


def _raw_profile(name: bytes, body: bytes) -> bytes:
    digits = body.hex().encode()
    lines = [digits[at : at + _HEX_LINE] for at in range(0, len(digits), _HEX_LINE)]
    return b"\n".join((b"", name, b"%8d" % len(body), *lines, b""))
