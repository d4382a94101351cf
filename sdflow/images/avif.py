"""The boxes of an AVIF file (ISO/IEC 14496-12 and 23008-12; AVIF 1.1, AOMedia)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from sdflow.images.formats import BrokenImageError, check_length, take

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from sdflow.images.formats import ByteSource

_BRANDS = frozenset({b"avif", b"avis"})
_WAY_TO_THE_FRAMES = (b"trak", b"mdia", b"minf", b"stbl", b"stsz")
_IN_FILE = 0  # construction method
_MAX_BOXES = 4096
_MAX_TABLE_BYTES = 1 << 20
# Of ITU-T H.273: 2 is unspecified, 1 is BT.709 with sRGB's primaries, 6 is BT.601 with the curve
# of BT.709, 13 is sRGB.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 6, 13)


class _Box(NamedTuple):
    name: bytes
    body: int
    """Offset of the content."""
    end: int


def is_avif(start: bytes) -> bool:
    """Whether the first 64 bytes of a file are those of an AVIF file."""
    if start[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return any(start[at : at + 4] in _BRANDS for at in (8, *range(16, end - 3, 4)))


def count_frames(data: ByteSource) -> int:
    """Frames of an image sequence, 1 for a still image; all boxes must be whole.

    Raises:
        BrokenImageError: The file ends inside a box, or has no image.
    """
    frames, names = 1, set()
    for box in _boxes(data, 0, len(data)):
        names.add(box.name)
        if box.name == b"meta":
            check_length(data, _end_of_items(data, box), "an item")
        if box.name == b"moov":
            frames = max(frames, _most_samples(data, box, _WAY_TO_THE_FRAMES))
    if b"meta" not in names or b"mdat" not in names:
        missing = "meta" if b"meta" not in names else "mdat"
        raise BrokenImageError(f"the file ends before its {missing} box", code="decode.truncated")
    return frames


def colour_refusal(data: ByteSource) -> str | None:
    """Why colours without a profile cannot be kept, or None; raises BrokenImageError.

    Only ``colr`` boxes of the primary item are looked at.
    """
    for meta in _named(data, 0, len(data), b"meta"):
        for box in _primary_properties(data, meta):
            if box.name != b"colr" or data[box.body : box.body + 4] != b"nclx":
                continue
            kinds = struct.unpack(">HHH", take(data, box.body + 4, 6, "the colours"))
            if kinds[0] not in _SRGB_PRIMARIES or kinds[1] not in _SRGB_TRANSFERS:
                return (
                    "colours of a wide or high dynamic range without a profile "
                    f"(nclx {'/'.join(map(str, kinds))}); convert to sRGB or embed a profile first"
                )
    return None


def _primary_properties(data: ByteSource, meta: _Box) -> Iterator[_Box]:
    """The properties of the primary item (HEIF, ISO/IEC 23008-12, 9.3)."""
    start = meta.body + 4
    primary = [_table(data, box).primary() for box in _named(data, start, meta.end, b"pitm")]
    for group in _named(data, start, meta.end, b"iprp"):
        containers = list(_named(data, group.body, group.end, b"ipco"))
        properties = [found for box in containers for found in _boxes(data, box.body, box.end)]
        for box in _named(data, group.body, group.end, b"ipma"):
            for index in dict.fromkeys(_table(data, box).associated(primary)):
                if 0 < index <= len(properties):
                    yield properties[index - 1]


def _named(data: ByteSource, at: int, end: int, name: bytes) -> Iterator[_Box]:
    return (box for box in _boxes(data, at, end) if box.name == name)


def _table(data: ByteSource, box: _Box) -> _Numbers:
    size = box.end - box.body
    if size > _MAX_TABLE_BYTES:
        raise BrokenImageError("a table of items larger than 1 MiB")
    return _Numbers(take(data, box.body, size, "a table of items"))


def _boxes(data: ByteSource, at: int, end: int) -> Iterator[_Box]:
    for _ in range(_MAX_BOXES):
        if at >= end:
            return
        size, name = struct.unpack(">I4s", take(data, at, 8, "a box"))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", take(data, at + 8, 8, "a box"))
            head = 16
        size = size or end - at  # 0: up to the end
        if size < head:
            raise BrokenImageError(f"the box at byte {at} has no length")
        if at + size > end:
            raise BrokenImageError(
                f"the file ends inside the box at byte {at}", code="decode.truncated"
            )
        yield _Box(name, at + head, at + size)
        at += size
    raise BrokenImageError(f"more than {_MAX_BOXES} boxes")


def _most_samples(data: ByteSource, parent: _Box, way: tuple[bytes, ...]) -> int:
    """The largest number of samples of a track."""
    most = 0
    for box in _boxes(data, parent.body, parent.end):
        if box.name != way[0]:
            continue
        if len(way) > 1:
            most = max(most, _most_samples(data, box, way[1:]))
        else:  # version and flags, size of every sample, number of samples
            most = max(most, *struct.unpack(">I", take(data, box.body + 8, 4, "the frame table")))
    return most


def _end_of_items(data: ByteSource, meta: _Box) -> int:
    """Where the last item ends whose bytes stand in the file itself (ISO/IEC 14496-12, 8.11.3)."""
    found = [box for box in _boxes(data, meta.body + 4, meta.end) if box.name == b"iloc"]
    if not found:
        raise BrokenImageError("no list of items")
    numbers = _Numbers(take(data, found[0].body, found[0].end - found[0].body, "the list of items"))
    version, _ = numbers.take(1), numbers.take(3)
    sizes = numbers.take(2)
    offset_bytes, length_bytes, base_bytes, index_bytes = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    id_bytes, last = 4 if version > 1 else 2, 0
    for _ in range(numbers.take(id_bytes)):
        numbers.take(id_bytes)
        method = numbers.take(2) & 15 if version else 0
        numbers.take(2)
        base, extents = numbers.take(base_bytes), numbers.take(2)
        if not offset_bytes + length_bytes and extents > 1:
            raise BrokenImageError("an item of many pieces without a place")
        for _ in range(extents):
            numbers.take(index_bytes if version else 0)
            offset, length = numbers.take(offset_bytes), numbers.take(length_bytes)
            last = max(last, base + offset + length if method == _IN_FILE else 0)
    return last


class _Numbers:
    """Big-endian numbers, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> int:
        """The next number of so many bytes; raises BrokenImageError behind the end."""
        if self._at + size > len(self._data):
            raise BrokenImageError("the list of items is cut short")
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")

    def primary(self) -> int:
        """The item that ``pitm`` names."""
        version, _ = self.take(1), self.take(3)
        return self.take(4 if version else 2)

    def associated(self, items: Container[int]) -> list[int]:
        """The numbers, from 1, of the properties that ``ipma`` gives to items."""
        version, flags = self.take(1), self.take(3)
        size = 2 if flags & 1 else 1
        found = []
        for _ in range(self.take(4)):
            item = self.take(4 if version else 2)
            indices = [self.take(size) for _ in range(self.take(1))]
            # The highest bit says whether the property is essential.
            found += [index & (1 << 8 * size - 1) - 1 for index in indices if item in items]
        return found
