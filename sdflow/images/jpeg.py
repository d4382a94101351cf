"""The segments of a JPEG file (ITU-T T.81; JFIF: ITU-T T.871; MPF: CIPA DC-007)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from sdflow.images import ifd
from sdflow.images.formats import (
    BrokenImageError,
    ImageFormat,
    ImageInfo,
    Unpacked,
    check_length,
    take,
)
from sdflow.images.jpeg_metadata import JpegMetadata, adobe_segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.images.formats import ByteSource

_MPF_PREFIX = b"MPF\0"
_SOS, _EOI, _APP0, _APP15 = 0xDA, 0xD9, 0xE0, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_READ_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # sequential and progressive DCT
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_CMYK_BANDS = 4
_SEARCHED_BYTES = 64
_MAX_SEGMENTS = 10_000
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_MPF_ENTRIES = 0xB002
_MPF_VIEWS = 2  # class of MPF image: panorama, disparity, multi-angle; others are previews


class _Segment(NamedTuple):
    marker: int
    start: int
    """Offset of the 0xFF before the marker."""
    body: int
    """Offset of the content, after the length."""
    end: int


class Frame(NamedTuple):
    """The frame header and what the first scan takes of it."""

    marker: int
    depth: int
    height: int
    width: int
    sampling: tuple[tuple[int, int], ...]
    """Horizontal and vertical sampling factor of every component."""
    interleaved: bool = True
    """Whether the first scan has all components."""

    @property
    def coefficient_bytes(self) -> int:
        """Memory that libjpeg keeps for a file whose scans each hold a part of every pixel."""
        if self.marker not in _PROGRESSIVE and self.interleaved:
            return 0
        most = [max(factors) for factors in zip(*self.sampling, strict=True)]
        across, down = (
            -(-side // (8 * factor))
            for side, factor in zip((self.width, self.height), most, strict=True)
        )
        return sum(2 * 64 * across * down * h * v for h, v in self.sampling)


def read_frame(data: ByteSource) -> Frame:
    """Read up to the first scan, without the metadata; raises BrokenImageError."""
    return _read_header(data)[0]


def read_info(data: ByteSource) -> ImageInfo:
    """Read up to the first scan; raises BrokenImageError.

    The further views of a stereo or panorama file count as frames. Previews and gain maps
    appended to a photo do not: the photo is the image.
    """
    frame, frames = _read_header(data)
    bands = len(frame.sampling)
    return ImageInfo(
        ImageFormat.JPEG,
        frame.width,
        frame.height,
        3 if bands == _CMYK_BANDS else bands,
        frame.depth,
        frames,
        _refusal(frame),
        frame.coefficient_bytes,
    )


def unpack(data: ByteSource) -> Unpacked:
    """Separate the metadata from the image; raises BrokenImageError.

    Of the application segments only JFIF and Adobe reach the decoder, written anew: they tell
    whether the samples are YCbCr or RGB, and libjpeg warns of everything else in them.
    """
    kept, scan, bands, found = [b"\xff\xd8"], len(data), 0, JpegMetadata()
    progressive = False
    for marker, start, at, end in _segments(data):
        progressive |= marker in _PROGRESSIVE
        if marker == _SOS:
            # Entropy-coded data never holds FF D9, so the last one is the end of this image or of
            # a picture appended to it. In a file read by ranges the decoder finds the end missing.
            if isinstance(data, bytes) and data.rfind(b"\xff\xd9", end) < 0:
                raise BrokenImageError("the end marker is missing", code="decode.truncated")
            # Some cameras write a spectrum of 0 to 0, which means nothing in a sequential file.
            kept.append(data[start:end] if progressive else data[start : end - 3] + b"\0\x3f\0")
            scan = end
            break
        if _APP0 <= marker <= _APP15:
            found.see(marker, data[at:end])
            continue
        if marker in _FRAMES:
            bands = len(_read_frame(marker, data[at:end]).sampling)
        kept.append(data[start:end])
    kept.insert(1, found.colour_segments(bands))
    return Unpacked((b"".join(kept), range(scan, len(data))), found.result(), found.note)


def join(tables: bytes, stream: bytes, transform: int | None) -> bytes:
    """Make a stream that stands alone of one that shares its beginning, as in TIFF.

    Args:
        tables: A stream without an image, or nothing.
        stream: The image; raises BrokenImageError if it cannot be followed.
        transform: What Adobe's segment says of three components: 0 for RGB, 1 for YCbCr.
    """
    kept = [b"\xff\xd8"]
    if transform is not None:
        kept.append(adobe_segment(transform))
    kept.append(tables[2:].removesuffix(b"\xff\xd9"))
    for marker, start, _, end in _segments(stream):
        if not _APP0 <= marker <= _APP15:
            kept.append(stream[start:] if marker == _SOS else stream[start:end])
    return b"".join(kept)


def _segments(data: ByteSource) -> Iterator[_Segment]:
    """Yield the segments up to the first scan; what stands between them is skipped."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        start, at = _next_marker(data, at)
        marker = data[at - 1 : at][0]
        if marker == _EOI:
            raise BrokenImageError("the file holds no image data")
        if marker == 0 or marker in _BARE:
            continue
        (size,) = struct.unpack(">H", take(data, at, 2, "the header"))
        if size < 2:
            raise BrokenImageError(f"the segment at byte {start} has no length")
        check_length(data, at + size, "the header")
        yield _Segment(marker, start, at + 2, at + size)
        if marker == _SOS:
            return
        at += size
    raise BrokenImageError(f"more than {_MAX_SEGMENTS} segments before the image data")


def _next_marker(data: ByteSource, at: int) -> tuple[int, int]:
    """Where the next marker begins (its last 0xFF) and ends."""
    while at < len(data):
        piece = data[at : at + _SEARCHED_BYTES]
        start = piece.find(b"\xff")
        if start >= 0:
            rest = piece[start:].lstrip(b"\xff")  # fill bytes
            if rest:
                end = at + len(piece) - len(rest) + 1
                return end - 2, end
            at += len(piece) - 1  # the marker's second byte is in the next piece
            if at + 1 >= len(data):
                break
        else:
            at += len(piece)
    raise BrokenImageError("the file ends inside the header", code="decode.truncated")


def _read_header(data: ByteSource) -> tuple[Frame, int]:
    """The frame header and the number of views."""
    frames, found = 1, None
    for marker, _, body, end in _segments(data):
        if data[body : body + len(_MPF_PREFIX)] == _MPF_PREFIX:
            frames = max(frames, _count_views(data[body + len(_MPF_PREFIX) : end]))
        elif marker in _FRAMES and found is None:
            found = _read_frame(marker, data[body:end])
        elif marker == _SOS and found is not None:
            interleaved = data[body : body + 1] == bytes((len(found.sampling),))
            return found._replace(interleaved=interleaved), frames
    raise BrokenImageError("no frame header before the image data")


def _read_frame(marker: int, body: bytes) -> Frame:
    depth, height, width, bands = struct.unpack(">BHHB", take(body, 0, 6, "the frame header"))
    parts = take(body, 6, 3 * bands, "the frame header")[1::3]
    sampling = tuple((part >> 4, part & 15) for part in parts)
    if not width or not height or not bands:
        raise BrokenImageError("the frame header gives no size")
    if any(not 0 < factor <= 4 for pair in sampling for factor in pair):
        raise BrokenImageError("the frame header gives no sampling")
    return Frame(marker, depth, height, width, sampling)


def _refusal(frame: Frame) -> str | None:
    if frame.depth != 8:
        return f"{frame.depth}-bit JPEG; convert to 8 bits first"
    if frame.marker not in _READ_FRAMES:
        return "lossless or hierarchical JPEG; convert to PNG first"
    bands = len(frame.sampling)
    return None if bands in (1, 3, 4) else f"{bands} components; convert to RGB first"


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
