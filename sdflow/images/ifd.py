"""Image file directories: the tag lists of TIFF and EXIF (TIFF 6.0, section 2; BigTIFF).

Reading is strict: a directory that is not whole raises, so nothing is half understood.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdflow.images.formats import BrokenImageError, take

if TYPE_CHECKING:
    from sdflow.images.formats import ByteSource

EXIF_TAG, GPS_TAG, _INTEROP_TAG = 34665, 34853, 40965
POINTERS = frozenset({EXIF_TAG, GPS_TAG, _INTEROP_TAG})

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 1, 2, 3, 4, 5, 7, 16
_ATOM_BYTES = MappingProxyType(
    {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
    | {16: 8, 17: 8, 18: 8}  # BigTIFF
)
_BIG = frozenset({16, 17, 18})
_PAIRS = frozenset({5, 10})  # rationals are two atoms
_UNSIGNED = MappingProxyType({1: "u1", 3: "<u2", 4: "<u4", 13: "<u4", 16: "<u8", 18: "<u8"})
_MAX_ENTRIES = 1 << 16  # a tag is a number of 16 bits


class Layout(NamedTuple):
    """How numbers are stored.

    Attributes:
        order: ``<`` or ``>``, as in ``struct``.
        big: BigTIFF, with offsets of 8 bytes.
    """

    order: str
    big: bool

    @property
    def offset_format(self) -> str:
        """``struct`` format of an offset."""
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def count_format(self) -> str:
        """``struct`` format of the number of entries."""
        return f"{self.order}{'Q' if self.big else 'H'}"

    @property
    def entry_bytes(self) -> int:
        """Size of one entry."""
        return 20 if self.big else 12


CLASSIC = Layout("<", big=False)
BIG = Layout("<", big=True)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag's value.

    Attributes:
        kind: TIFF's number for the type.
        value: The elements, little-endian whatever the file's order.
        raw: The entry as it stands in the file; empty for one that was made here.
    """

    kind: int
    value: bytes
    raw: bytes = b""

    @property
    def count(self) -> int:
        """Number of elements."""
        return len(self.value) // element_bytes(self.kind)

    def integers(self) -> list[int]:
        """The elements of an unsigned type; BrokenImageError for another type."""
        if self.kind not in _UNSIGNED:
            raise BrokenImageError(f"a tag that must be a number has type {self.kind}")
        numbers: list[int] = np.frombuffer(self.value, _UNSIGNED[self.kind]).tolist()
        return numbers

    def rationals(self) -> list[float]:
        """The elements of RATIONAL, x / 0 left out; empty for another type."""
        if self.kind != RATIONAL:
            return []
        pairs = np.frombuffer(self.value, "<u4").reshape(-1, 2).tolist()
        return [above / below for above, below in pairs if below]


@dataclass(frozen=True, slots=True)
class Directory:
    """Tags with their values, and the directories that some tags point to (EXIF, GPS, Interop).

    Attributes:
        entries: By tag; pointers are not among them.
        children: By the tag of the pointer.
        following: Offset of the next directory of the file, 0 where there is none.
        size_bytes: Length of the table as it was read, without values that stand elsewhere.
    """

    entries: Mapping[int, Entry]
    children: Mapping[int, Directory] = field(default_factory=dict)
    following: int = 0
    size_bytes: int = 0


def element_bytes(kind: int) -> int:
    """Size of one element of a type; KeyError for a type that does not exist."""
    return _ATOM_BYTES[kind] * (2 if kind in _PAIRS else 1)


def read_start(data: ByteSource) -> tuple[Layout, int]:
    """Read the header of a TIFF stream: how numbers are stored, offset of the first directory."""
    order = {b"II": "<", b"MM": ">"}.get(data[0:2])
    version = struct.unpack(f"{order}H", take(data, 2, 2, "the header"))[0] if order else 0
    if order is None or version not in (42, 43):
        raise BrokenImageError("no TIFF header", code="decode.unsupported")
    layout = Layout(order, big=version == 43)
    at, size = (8, 8) if layout.big else (4, 4)
    (first,) = struct.unpack(layout.offset_format, take(data, at, size, "the header"))
    if first < at + size:
        raise BrokenImageError("the header points to no directory")
    return layout, first


def read_directory(
    data: ByteSource,
    at: int,
    layout: Layout,
    *,
    only: Container[int] | None = None,
    without: Container[int] = (),
) -> Directory:
    """Read the directory at offset ``at``, and those it points to.

    Args:
        data: The whole TIFF stream.
        at: Offset of the directory.
        layout: From ``read_start``.
        only: Tags to read; no others are looked at and no pointer is followed. Default: all.
        without: Tags that are not read even then.

    Raises:
        BrokenImageError: A value lies outside the stream, all together are longer than it, or a
            type does not exist.
    """

    def read(start: int, path: tuple[int, ...]) -> Directory:
        table, following, size_bytes = _read_table(data, start, layout)
        entries: dict[int, Entry] = {}
        children: dict[int, Directory] = {}
        total = 0
        for raw in table:
            (tag,) = struct.unpack_from(f"{layout.order}H", raw)
            if tag in entries or tag in without or (only is not None and tag not in only):
                continue
            entry = _read_entry(data, raw, layout)
            total += len(entry.value)
            if total > len(data):  # overlapping values: a small file must not become a huge one
                raise BrokenImageError("the tags are longer than the file")
            if tag not in POINTERS or only is not None:
                entries[tag] = entry
            elif tag not in path and tag not in children:
                (target, *_) = entry.integers() or [0]
                children[tag] = read(target, (*path, tag))
        return Directory(entries, children, following, size_bytes)

    return read(at, ())


def _read_table(data: ByteSource, at: int, layout: Layout) -> tuple[list[bytes], int, int]:
    """The entries as they stand, the offset of the next directory, the length of all this."""
    width = struct.calcsize(layout.count_format)
    (count,) = struct.unpack(layout.count_format, take(data, at, width, "a directory"))
    if count > _MAX_ENTRIES:
        raise BrokenImageError(f"a directory of {count} tags")
    table = take(data, at + width, count * layout.entry_bytes, "a directory")
    end = at + width + len(table)
    link = take(data, end, struct.calcsize(layout.offset_format), "a directory")
    (following,) = struct.unpack(layout.offset_format, link)
    step = layout.entry_bytes
    entries = [table[start : start + step] for start in range(0, len(table), step)]
    return entries, following, end + len(link) - at


def _read_entry(data: ByteSource, raw: bytes, layout: Layout) -> Entry:
    inline = 8 if layout.big else 4
    tag, kind, count = struct.unpack_from(f"{layout.order}HH{'Q' if layout.big else 'I'}", raw)
    if kind not in _ATOM_BYTES:
        raise BrokenImageError(f"tag {tag} has an unknown type {kind}")
    size = count * element_bytes(kind)
    value = raw[-inline:][:size]
    if size > inline:
        (offset,) = struct.unpack(layout.offset_format, raw[-inline:])
        value = take(data, offset, size, f"the value of tag {tag}")
    return Entry(kind, _to_little(value, kind) if layout.order == ">" else value, raw)


def _to_little(value: bytes, kind: int) -> bytes:
    return np.frombuffer(value, f">u{_ATOM_BYTES[kind]}").byteswap().tobytes()


def write_directory(
    directory: Directory,
    at: int,
    layout: Layout = CLASSIC,
    *,
    following: int = 0,
    placed: Mapping[tuple[int, ...], int] = MappingProxyType({}),
) -> bytes:
    """Serialise a directory and its children, to stand at offset ``at`` (even) of a stream.

    Values with numbers of 8 bytes, which only a BigTIFF can have, are left out of a classic one.

    Args:
        directory: Its own ``following`` is not looked at: it held for another stream.
        at: Where the result will stand.
        layout: How numbers are stored.
        following: Offset of the next directory.
        placed: By tag, below a child by the child's tag and the tag, where values stand in the
            stream already.

    Raises:
        struct.error: A number does not fit into the layout.
    """
    order, inline = layout.order, 8 if layout.big else 4
    count_bytes, offset_bytes = map(struct.calcsize, (layout.count_format, layout.offset_format))
    tags = sorted(
        {tag for tag, entry in directory.entries.items() if layout.big or entry.kind not in _BIG}
        | directory.children.keys()
    )
    room = at + count_bytes + layout.entry_bytes * len(tags) + offset_bytes
    table, heap = [struct.pack(layout.count_format, len(tags))], bytearray()
    for tag in tags:
        end = room + len(heap)
        if tag in directory.children:
            kind, count = LONG8 if layout.big else LONG, 1
            value = struct.pack(layout.offset_format, end)
            below = {path[1:]: offset for path, offset in placed.items() if path[0] == tag}
            heap += write_directory(directory.children[tag], end, layout, placed=below)
        else:
            entry = directory.entries[tag]
            kind, count, value = entry.kind, entry.count, _in_order(entry, order)
            if (tag,) in placed:
                value = struct.pack(layout.offset_format, placed[tag,])
            elif len(value) > inline:
                heap += value
                value = struct.pack(layout.offset_format, end)
        heap += bytes(len(heap) % 2)
        start = struct.pack(f"{order}HH{'Q' if layout.big else 'I'}", tag, kind, count)
        table.append(start + value.ljust(inline, b"\0"))
    return b"".join((*table, struct.pack(layout.offset_format, following), heap))


def _in_order(entry: Entry, order: str) -> bytes:
    return entry.value if order == "<" else _to_little(entry.value, entry.kind)


def read_stream(data: bytes) -> Directory:
    """Read the first directory of a whole TIFF stream, such as EXIF; raises BrokenImageError."""
    layout, first = read_start(data)
    # Many writers of EXIF leave out the link to a next directory where there is none.
    return read_directory(data + bytes(8), first, layout)


def write_stream(
    directory: Directory,
    order: str = "<",
    *,
    placed: Mapping[tuple[int, ...], tuple[int, bytes]] = MappingProxyType({}),
) -> bytes:
    """A classic TIFF stream that holds one directory and its children.

    Args:
        directory: See ``write_directory``.
        order: ``<`` or ``>``.
        placed: By tag as in ``write_directory``, an offset from 8 up and the value to put there,
            for values with offsets of their own inside, such as MakerNote. They must not overlap.
    """
    layout = Layout(order, big=False)
    stream = bytearray(8)
    for offset, value in sorted(placed.values()):
        stream += bytes(offset - len(stream)) + value
    stream += bytes(len(stream) % 2)
    mark = b"II" if order == "<" else b"MM"
    stream[:8] = mark + struct.pack(f"{order}HI", 42, len(stream))
    offsets = {path: offset for path, (offset, _) in placed.items()}
    return bytes(stream) + write_directory(directory, len(stream), layout, placed=offsets)
