"""The segments of a JPEG file (ITU-T T.81; JFIF: ITU-T T.871; MPF: CIPA DC-007)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from sdflow.images import ifd
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

MAX_SIDE = 65500  # libjpeg's JPEG_MAX_DIMENSION; the format itself ends at 65,535
_EXIF_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_ICC_PREFIX = b"ICC_PROFILE\0"
_MPF_PREFIX = b"MPF\0"
_SOS, _EOI, _APP0, _APP14 = 0xDA, 0xD9, 0xE0, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_READ_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # sequential and progressive DCT
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_MPF_ENTRIES = 0xB002
_MPF_VIEWS = 2  # class of MPF image: panorama, disparity, multi-angle; others are previews
_MAX_DENSITY = 65535
_CM_PER_INCH = 2.54


class _Segment(NamedTuple):
    marker: int
    start: int
    """Offset of the 0xFF before the marker."""
    body: int
    """Offset of the content, after the length."""
    end: int


def read_info(data: bytes) -> ImageInfo:
    """Read up to the frame header; raises BrokenImageError.

    The further views of a stereo or panorama file count as frames. Previews and gain maps
    appended to a photo do not: the photo is the image.
    """
    frames = 1
    for marker, _, body, end in _segments(data):
        if data[body:end].startswith(_MPF_PREFIX):
            frames = max(frames, _count_views(data[body + len(_MPF_PREFIX) : end]))
        if marker in _FRAMES:
            depth, height, width, bands = struct.unpack(
                ">BHHB", take(data[:end], body, 6, "the frame header")
            )
            if not width or not height or not bands:
                raise BrokenImageError("the frame header gives no size")
            refusal = _refusal(marker, depth, bands, frames)
            return ImageInfo(ImageFormat.JPEG, width, height, bands, depth, frames, refusal)
    raise BrokenImageError("no frame header before the image data")


def unpack(data: bytes) -> Unpacked:
    """Separate the metadata from the image; raises BrokenImageError.

    Of the application segments only JFIF and Adobe are left to the decoder: they tell whether
    the samples are YCbCr or RGB.
    """
    kept, exif, icc = [b"\xff\xd8"], [], {}
    xmp, dpi = None, None
    for marker, start, at, end in _segments(data):
        body = data[at:end]
        if marker == _SOS:
            # Entropy-coded data never holds FF D9, so the last one is the end of this image or of
            # a picture appended to it.
            if data.rfind(b"\xff\xd9", end) < 0:
                raise BrokenImageError("the end marker is missing", code="decode.truncated")
            kept.append(data[start:])
            break
        if marker == _APP0 and body.startswith(b"JFIF\0"):
            dpi = _density(body) or dpi
        elif body.startswith(_EXIF_PREFIX):
            exif.append(body[len(_EXIF_PREFIX) :])
        elif body.startswith(_XMP_PREFIX):
            xmp = body[len(_XMP_PREFIX) :]
        elif body.startswith(_ICC_PREFIX):
            icc[body[12:14]] = body[14:]
        if not _APP0 < marker <= 0xEF or marker == _APP14:
            kept.append(data[start:end])
    profile = _join_icc(icc)
    return Unpacked(b"".join(kept), Metadata(profile, b"".join(exif) or None, xmp, dpi=dpi))


def write_options(metadata: Metadata, quality: int) -> dict[str, Any]:
    """Arguments of Pillow's JPEG writer: 4:4:4 and the metadata.

    Raises:
        BrokenImageError: The density does not fit into JFIF's 16 bits.
    """
    dpi = metadata.dpi or (0, 0)
    if max(dpi) > _MAX_DENSITY:
        raise BrokenImageError(f"a density of {max(dpi):.0f} dpi does not fit into JFIF")
    return {
        "quality": quality,
        "subsampling": "4:4:4",
        "optimize": False,
        "icc_profile": metadata.icc,
        "exif": b"" if metadata.exif is None else _EXIF_PREFIX + metadata.exif,
        "xmp": metadata.xmp,
        "dpi": dpi,
    }


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments up to the first scan; what stands between them is skipped."""
    at = 2
    while True:
        start = data.find(b"\xff", at)
        code = start
        while data[code : code + 1] == b"\xff":  # fill bytes
            code += 1
        marker = take(data, code, 1, "the header")[0] if start >= 0 else None
        if marker is None:
            raise BrokenImageError("the file ends inside the header", code="decode.truncated")
        at = code + 1
        if marker == _EOI:
            raise BrokenImageError("the file holds no image data")
        if marker == 0 or marker in _BARE:
            continue
        (size,) = struct.unpack(">H", take(data, at, 2, "the header"))
        if size < 2:
            raise BrokenImageError(f"the segment at byte {start} has no length")
        take(data, at, size, "the header")
        yield _Segment(marker, start, at + 2, at + size)
        if marker == _SOS:
            return
        at += size


def _refusal(marker: int, depth: int, bands: int, frames: int) -> str | None:
    if frames > 1:
        return f"{frames} views in one file (MPO); extract them first"
    if depth != 8:
        return f"{depth}-bit JPEG; convert to 8 bits first"
    if marker not in _READ_FRAMES:
        return "lossless or hierarchical JPEG; convert to PNG first"
    if bands == 4:
        return "CMYK or YCCK colour; convert to RGB first, with the profiles that apply"
    return None if bands in (1, 3) else f"{bands} components; convert to RGB first"


def _density(body: bytes) -> tuple[float, float] | None:
    if len(body) < 12:
        return None
    unit, x, y = struct.unpack_from(">BHH", body, 7)
    factor = {1: 1.0, 2: _CM_PER_INCH}.get(unit)
    return None if factor is None or not x or not y else (x * factor, y * factor)


def _join_icc(parts: dict[bytes, bytes]) -> bytes | None:
    """Put the profile together by its (number, count) labels."""
    if not parts:
        return None
    count = len(parts)
    try:
        return b"".join(parts[bytes((number, count))] for number in range(1, count + 1))
    except (KeyError, ValueError):
        raise BrokenImageError("parts of the ICC profile are missing") from None


def _count_views(body: bytes) -> int:
    """How many full views the Multi-Picture index names; 0 where it cannot be read."""
    try:
        layout, first = ifd.read_start(body)
        directory = ifd.read_directory(body, first, layout)
    except BrokenImageError:
        return 0
    entry = directory.entries.get(_MPF_ENTRIES)
    index = b"" if entry is None else entry.value
    kinds = struct.unpack(f"{layout.order}{len(index) // 4}I", index[: len(index) // 4 * 4])[::4]
    return sum(kind >> 16 & 0xFF == _MPF_VIEWS for kind in kinds)
