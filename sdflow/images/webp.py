"""The chunks of a WebP file (RFC 9649)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

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

MAX_SIDE = 16383
_ALPHA_FLAG = 0x10


def read_info(data: bytes) -> ImageInfo:
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
    refusal = None
    if frames > 1:
        refusal = f"an animation of {frames} frames; extract the frames first"
    width, height = size
    return ImageInfo(ImageFormat.WEBP, width, height, 3 + alpha, 8, frames, refusal)


def unpack(data: bytes) -> Unpacked:
    """Find the metadata; the payload is the file, for Pillow does not act on WebP metadata."""
    take(data, 8, int.from_bytes(data[4:8], "little"), "the RIFF body")
    found = {name: data[start : start + size] for name, start, size in _chunks(data)}
    exif = found.get(b"EXIF")
    return Unpacked(
        payload=data,
        metadata=Metadata(
            icc=found.get(b"ICCP"),
            exif=None if exif is None else exif.removeprefix(b"Exif\0\0"),
            xmp=found.get(b"XMP "),
        ),
    )


def write_options(metadata: Metadata, quality: int) -> dict[str, Any]:
    """Arguments of Pillow's WebP writer: lossy, colours under full transparency kept."""
    return {
        "quality": quality,
        "method": 4,
        "exact": True,
        "icc_profile": metadata.icc,
        "exif": metadata.exif or b"",
        "xmp": metadata.xmp or b"",
    }


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, offset of the body, its length); bodies have even room."""
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    at = 12
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, size
        at += 8 + size + size % 2
