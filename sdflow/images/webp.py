"""The chunks of a WebP file (RFC 9649)."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.images.formats import (
    BrokenImageError,
    ImageFormat,
    ImageInfo,
    Metadata,
    Unpacked,
    check_length,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.images.formats import ByteSource

_ALPHA_FLAG = 0x10
_METADATA = (b"ICCP", b"EXIF", b"XMP ")
_MAX_CHUNKS = 100_000
_METADATA_FLAGS = 0x20 | 0x08 | 0x04


def read_info(data: ByteSource) -> ImageInfo:
    """Read the first chunk and count the frames; raises BrokenImageError."""
    name, start, _ = next(_chunks(data), (b"", 0, 0))
    if name == b"VP8X":
        flags, width, height = struct.unpack("<I3s3s", take(data, start, 10, "VP8X"))
        size = [int.from_bytes(side, "little") + 1 for side in (width, height)]
        alpha = bool(flags & _ALPHA_FLAG)
    elif name == b"VP8L":
        signature, bits = struct.unpack("<BI", take(data, start, 5, "VP8L"))
        size = [(bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1]
        alpha = bool(bits >> 28 & 1)
        if signature != 0x2F:
            raise BrokenImageError("VP8L is damaged")
    elif name == b"VP8 ":
        mark, *size = struct.unpack("<3x3sHH", take(data, start, 10, "VP8"))
        size = [side & 0x3FFF for side in size]
        alpha = False
        if mark != b"\x9d\x01\x2a" or not all(size):
            raise BrokenImageError("VP8 is damaged")
    elif not name:
        raise BrokenImageError("the file ends before the first chunk", code="decode.truncated")
    else:
        raise BrokenImageError("the first chunk is no image")
    frames = max(1, sum(name == b"ANMF" for name, _, _ in _chunks(data)))
    width, height = size
    info = ImageInfo(ImageFormat.WEBP, width, height, 3 + alpha, 8, frames)
    return replace(info, whole_bytes=info.decoded_bytes)


def unpack(data: ByteSource) -> Unpacked:
    """Separate the metadata from the image; raises BrokenImageError."""
    check_length(data, 8 + int.from_bytes(data[4:8], "little"), "the RIFF body")
    kept: list[bytes | range] = []
    found: dict[bytes, bytes] = {}
    for name, start, size in _chunks(data):
        end = min(start + size + size % 2, len(data))
        if name in _METADATA:
            found.setdefault(name, data[start : start + size])
        elif name == b"VP8X":
            flags = bytes((data[start : start + 1][0] & ~_METADATA_FLAGS,))
            kept += [data[start - 8 : start] + flags, range(start + 1, end)]
        else:
            kept.append(range(start - 8, end))
    size_field = struct.pack("<I", 4 + sum(map(len, kept)))
    icc, exif, xmp = (found.get(name) for name in _METADATA)
    exif = None if exif is None else exif.removeprefix(b"Exif\0\0")
    return Unpacked((b"RIFF" + size_field + b"WEBP", *kept), Metadata(icc, exif, xmp))


def _chunks(data: ByteSource) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, offset of the body, its length); bodies have even room."""
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    at = 12
    for _ in range(_MAX_CHUNKS):
        if at + 8 > end:
            return
        name, size = struct.unpack("<4sI", data[at : at + 8])
        yield name, at + 8, size
        at += 8 + size + size % 2
    raise BrokenImageError(f"more than {_MAX_CHUNKS} chunks")
