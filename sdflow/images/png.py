"""The chunks of a PNG file (PNG specification, third edition, W3C 2025)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

from PIL.PngImagePlugin import PngInfo

from sdflow.images.formats import (
    BrokenImageError,
    ImageFormat,
    ImageInfo,
    Metadata,
    Unpacked,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_XMP_START = _XMP_KEYWORD + b"\0"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MAX_INFLATED_BYTES = 1 << 24  # a profile or packet above 16 MiB is an attack, not a profile
_METRES_PER_INCH = 0.0254
_PIECE_BYTES = 1 << 20
# Left, top, step across and step down of every pass of an interlaced image (PNG, section 8.2).
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def read_info(data: bytes) -> ImageInfo:
    """Read IHDR and the chunks before the pixels; raises BrokenImageError."""
    width, height, depth, colour, *_ = _header(data)
    bands, frames, keyed = _CHANNELS[colour], 1, False
    for name, start, size in _chunks(data):
        if name == b"IDAT":
            break
        if name == b"tRNS":
            keyed = True
        if name == b"acTL":
            frames = max(1, *struct.unpack(">I", take(data, start, min(size, 4), "acTL")))
    refusal = None
    if frames > 1:
        refusal = f"an animation of {frames} frames; extract the frames first"
    elif depth == 16 and (colour != 0 or keyed):
        kind = "grey with alpha" if colour in (0, 4) else "colour"
        refusal = f"16-bit {kind}; convert to 8 bits first (16-bit grey without alpha is read)"
    bands += keyed and colour in (0, 2, 3)
    return ImageInfo(ImageFormat.PNG, width, height, bands, depth, frames, refusal)


def unpack(data: bytes) -> Unpacked:
    """Check every CRC and separate the pixels from the metadata; raises BrokenImageError.

    Pillow does not look at the CRC of IDAT, so a flipped bit could pass as a pixel; and where the
    stream ends well but early, it makes up black rows.
    """
    _, _, depth, colour, *_ = header = _header(data)
    pixels: list[memoryview] = []
    kept: list[bytes | memoryview] = [SIGNATURE]
    icc = exif = xmp = dpi = transparent = None
    whole = memoryview(data)
    for name, start, size in _chunks(data):
        body = whole[start : start + size]
        (crc,) = struct.unpack(
            ">I", take(data, start + size, 4, f"the {name.decode('ascii')} chunk")
        )
        if zlib.crc32(body, zlib.crc32(name)) != crc:
            raise BrokenImageError(f"wrong checksum in the {name.decode('ascii')} chunk")
        if name == b"tRNS" and colour in (0, 2):
            transparent = _transparent(bytes(body), depth, samples=1 if colour == 0 else 3)
        elif name in _PIXEL_CHUNKS:
            pixels += [body] if name == b"IDAT" else []
            kept.append(whole[start - 8 : start + size + 4])
        elif name == b"iCCP":
            icc = _inflate(bytes(body).partition(b"\0")[2][1:], "ICC profile")
        elif name == b"eXIf":
            exif = bytes(body).removeprefix(b"Exif\0\0")
        elif name == b"iTXt" and bytes(body[: len(_XMP_START)]) == _XMP_START:
            xmp = _text(bytes(body))
        elif name == b"pHYs" and size == 9:
            x, y, unit = struct.unpack(">IIB", body)
            dpi = (x * _METRES_PER_INCH, y * _METRES_PER_INCH) if unit == 1 else None
        if name == b"IEND":
            _check_rows(pixels, _stored_bytes(*header))
            return Unpacked(b"".join(kept), Metadata(icc, exif, xmp, dpi=dpi), transparent)
    raise BrokenImageError("the file ends before IEND", code="decode.truncated")


def write_options(metadata: Metadata) -> dict[str, Any]:
    """Arguments of Pillow's PNG writer: level 6 and the metadata."""
    info = PngInfo()
    if metadata.xmp is not None:
        info.add_itxt(_XMP_KEYWORD, metadata.xmp)
    return {
        "compress_level": 6,
        "icc_profile": metadata.icc,
        "exif": metadata.exif,
        "pnginfo": info,
        "dpi": metadata.dpi,
    }


def _header(data: bytes) -> tuple[int, ...]:
    width, height, depth, colour, method, filtering, interlace = fields = struct.unpack(
        ">IIBBBBB", take(data, 16, 13, "IHDR")
    )
    if data[8:16] != b"\0\0\0\rIHDR" or not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise BrokenImageError("IHDR is damaged")
    if depth not in _DEPTHS.get(colour, ()) or method or filtering or interlace > 1:
        raise BrokenImageError("IHDR names no known kind of PNG")
    return fields


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, offset of the body, its length) until the file ends."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if not name.isalpha():
            raise BrokenImageError(f"no chunk at byte {at}")
        yield name, at + 8, size
        at += 12 + size


def _stored_bytes(width: int, height: int, depth: int, colour: int, *rest: int) -> int:
    """How long the inflated pixels are: a filter byte and whole bytes for every row."""
    bits = depth * (1 if colour == 3 else _CHANNELS[colour])
    passes = _ADAM7 if rest[-1] else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _check_rows(parts: list[memoryview], expected_bytes: int) -> None:
    inflater, found = zlib.decompressobj(), 0
    try:
        for part in parts:
            rest: bytes | memoryview = part
            while rest and found < expected_bytes:
                found += len(inflater.decompress(rest, _PIECE_BYTES))
                rest = inflater.unconsumed_tail
        if found < expected_bytes:
            found += len(inflater.flush())
    except zlib.error as error:
        raise BrokenImageError(f"the pixels are damaged ({error})") from error
    if found < expected_bytes:
        raise BrokenImageError("rows of pixels are missing", code="decode.truncated")


def _transparent(body: bytes, depth: int, *, samples: int) -> tuple[int, ...]:
    if len(body) != 2 * samples:
        raise BrokenImageError("tRNS is damaged")
    top = (1 << depth) - 1
    return tuple((value & top) * 255 // top for value in struct.unpack(f">{samples}H", body))


def _text(body: bytes) -> bytes:
    """The text of an iTXt chunk: keyword, compressed?, method, language, translation, text."""
    flags, *fields = body[len(_XMP_START) :][:2], *body[len(_XMP_START) + 2 :].split(b"\0", 2)
    if len(fields) != 3:
        raise BrokenImageError("the XMP packet is damaged")
    return _inflate(fields[2], "XMP packet") if flags[0] else fields[2]


def _inflate(body: bytes, what: str) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body, _MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise BrokenImageError(f"the {what} is damaged ({error})") from error
    if not inflater.eof:
        raise BrokenImageError(f"the {what} is cut short or larger than 16 MiB")
    return text
