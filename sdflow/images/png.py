"""The chunks of a PNG file (PNG specification, third edition, W3C 2025)."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.images.formats import (
    BrokenImageError,
    ImageFormat,
    ImageInfo,
    Unpacked,
    check_length,
    take,
)
from sdflow.images.png_metadata import MAX_BYTES, NAMES, START_BYTES, PngMetadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.images.formats import ByteSource

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_ACTL_BYTES = 8
_DECODER_CHUNKS = (b"IHDR", b"PLTE", b"tRNS")
_PIECE_BYTES = 1 << 20
_MAX_CHUNKS = 1 << 20
_SEARCHED_BYTES = 1 << 18
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


def read_info(data: ByteSource) -> ImageInfo:
    """Read IHDR and the chunks before the pixels; raises BrokenImageError."""
    width, height, depth, colour, *_, interlaced = _header(data)
    frames, keyed = 1, False
    for name, start, size in _chunks(data):
        if name == b"IDAT":
            break
        if name == b"tRNS":
            keyed = bool(size) or colour != _PALETTE
        if name == b"acTL":
            if size != _ACTL_BYTES:
                raise BrokenImageError("acTL is damaged")
            with suppress(_ChecksumError):
                frames = max(1, *struct.unpack(">I4x", _checked(data, name, start, size)))
    bands = _CHANNELS[colour] + (keyed and colour in (0, 2, 3))
    info = ImageInfo(ImageFormat.PNG, width, height, bands, depth, frames)
    return replace(info, whole_bytes=info.decoded_bytes) if interlaced else info


def unpack(data: ByteSource) -> Unpacked:
    """Separate the pixels from the metadata; raises BrokenImageError.

    Every checksum that the pixels depend on is verified in a file that is in memory. Of one that
    is read by ranges only the beginning and the end are looked at, and the decoder verifies the
    pixels on its way. Any other chunk with a wrong checksum counts as absent.
    """
    whole, palette = isinstance(data, bytes), _header(data)[3] == _PALETTE
    found = PngMetadata()
    kept, pixels = [SIGNATURE], len(data)
    for name, start, size in _chunks(data):
        if name == b"IDAT":
            pixels = min(pixels, start - 8)
            if not whole:
                break
        check_length(data, start + size + 4, f"the {name.decode('ascii')} chunk")
        behind = pixels < len(data)
        if name in _DECODER_CHUNKS or name[:1].isupper():
            _checked(data, name, start, size)
            # libpng too takes a palette with an empty tRNS for one without transparency.
            if name in _DECODER_CHUNKS and not behind and (size or name != b"tRNS" or not palette):
                kept.append(data[start - 8 : start + size + 4])
        elif name in NAMES or name == b"acTL":
            _see(data, (name, start, size), found, behind=behind)
        if name == b"IEND":
            break
    else:
        raise BrokenImageError("the file ends before IEND", code="decode.truncated")
    if not whole:
        _search_end(data, pixels, found)
    return Unpacked((b"".join(kept), range(pixels, len(data))), found.result(), found.note)


def explain(data: ByteSource) -> None:
    """Raise BrokenImageError for what is wrong with the pixels, after a decoder gave up."""
    header, inflater, found = _header(data), zlib.decompressobj(), 0
    expected_bytes = _stored_bytes(*header)
    try:
        for name, start, size in _chunks(data):
            rest = _checked(data, name, start, size) if name == b"IDAT" else b""
            while rest and found < expected_bytes:
                found += len(inflater.decompress(rest, _PIECE_BYTES))
                rest = inflater.unconsumed_tail
        if found < expected_bytes:
            found += len(inflater.flush())
    except zlib.error as error:
        raise BrokenImageError(f"the pixels are damaged ({error})") from error
    if found < expected_bytes:
        raise BrokenImageError("rows of pixels are missing", code="decode.truncated")


class _ChecksumError(BrokenImageError):
    """A chunk is not what its checksum says."""


def _see(
    data: ByteSource, chunk: tuple[bytes, int, int], found: PngMetadata, *, behind: bool
) -> None:
    """Take in a chunk that is no part of the pixels."""
    name, start, size = chunk
    try:
        if size <= MAX_BYTES:
            found.see(name, _checked(data, name, start, size), behind=behind)
            return
    except _ChecksumError:
        pass
    found.lose(name, data[start : start + min(size, START_BYTES)])


def _checked(data: ByteSource, name: bytes, start: int, size: int) -> bytes:
    """The body of a chunk; raises BrokenImageError if it is not what its checksum says."""
    what = name.decode("ascii")
    body = take(data, start, size, f"the {what} chunk")
    (crc,) = struct.unpack(">I", take(data, start + size, 4, f"the {what} chunk"))
    if zlib.crc32(body, zlib.crc32(name)) != crc:
        raise _ChecksumError(f"wrong checksum in the {what} chunk")
    return body


def _search_end(data: ByteSource, pixels: int, found: PngMetadata) -> None:
    """Look for EXIF and XMP behind the pixels without reading the way there.

    A place where a chunk's name stands is a chunk if its checksum says so.
    """
    begin = max(pixels, len(data) - _SEARCHED_BYTES)
    end = data[begin : len(data)]
    if b"IEND\xae\x42\x60\x82" not in end:
        raise BrokenImageError("the file ends before IEND", code="decode.truncated")
    for name in (b"eXIf", b"iTXt"):
        at = end.find(name)
        while at >= 4:
            (size,) = struct.unpack_from(">I", end, at - 4)
            with suppress(BrokenImageError):
                found.see(name, _checked(end, name, at + 4, size), behind=True)
            at = end.find(name, at + 1)


def _header(data: ByteSource) -> tuple[int, ...]:
    width, height, depth, colour, method, filtering, interlace = fields = struct.unpack(
        ">IIBBBBB", take(data, 16, 13, "IHDR")
    )
    if data[8:16] != b"\0\0\0\rIHDR" or not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise BrokenImageError("IHDR is damaged")
    if depth not in _DEPTHS.get(colour, ()) or method or filtering or interlace > 1:
        raise BrokenImageError("IHDR names no known kind of PNG")
    return fields


def _chunks(data: ByteSource) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, offset of the body, its length) until the file ends."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            return
        size, name = struct.unpack(">I4s", data[at : at + 8])
        if not name.isalpha():
            raise BrokenImageError(f"no chunk at byte {at}")
        yield name, at + 8, size
        at += 12 + size
    raise BrokenImageError(f"more than {_MAX_CHUNKS} chunks")


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
