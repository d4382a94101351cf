"""EXIF and XMP as items of an AVIF file (HEIF: ISO/IEC 23008-12; boxes: ISO/IEC 14496-12).

libheif would write both, but libvips hands it EXIF that it has put together anew, with a density
of its own, and turns the image by the orientation in it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from sdflow.images.formats import BrokenImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.images.formats import Metadata

_FULL_BOX_BYTES = 12  # size, name, version and flags
_XMP_TYPE = b"application/rdf+xml\0"
_ILOC_SIZES = 0x4440  # 4 bytes each for offset, length and base offset, as libheif writes them


class _Item(NamedTuple):
    name: bytes
    content_type: bytes
    body: bytes


def avif_with_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Add items at the end of the file, and their entries to the ``meta`` box.

    Args:
        data: What libheif wrote: one image, with or without an alpha plane.
        metadata: What ``metadata.fitted`` leaves for an AVIF.

    Raises:
        BrokenImageError: The boxes are not those that libheif writes.
    """
    items = []
    if metadata.exif:
        items.append(_Item(b"Exif", b"", bytes(4) + metadata.exif))  # 4 bytes: it begins at once
    if metadata.xmp:
        items.append(_Item(b"mime", _XMP_TYPE, metadata.xmp))
    if not items:
        return data
    start, end = dict(_boxes(data, 0))[b"meta"]
    meta = data[start:end]
    parts = {name: meta[at:to] for name, (at, to) in _boxes(meta, _FULL_BOX_BYTES)}
    if not {b"iloc", b"iinf", b"pitm"} <= parts.keys():
        raise BrokenImageError("the meta box names no items")
    (primary,) = struct.unpack_from(">H", parts[b"pitm"], _FULL_BOX_BYTES)
    first = 1 + max(struct.unpack_from(">H", box, 8 + 4)[0] for box in _infos(parts[b"iinf"]))
    numbers = range(first, first + len(items))
    parts[b"iinf"] = _grown(
        parts[b"iinf"], [_info(*pair) for pair in zip(numbers, items, strict=True)]
    )
    references = [_box(b"cdsc", struct.pack(">HHH", number, 1, primary)) for number in numbers]
    iref = parts.get(b"iref", _box(b"iref", bytes(4)))
    parts[b"iref"] = _box(b"iref", b"".join((iref[8:], *references)))
    new_entries = len(items) * 18
    growth = sum(map(len, parts.values())) + new_entries - (len(meta) - _FULL_BOX_BYTES)
    parts[b"iloc"] = _located(parts[b"iloc"], growth, numbers, items, len(data) + growth + 8)
    new_meta = _box(b"meta", b"".join((meta[8:_FULL_BOX_BYTES], *parts.values())))
    bodies = _box(b"mdat", b"".join(item.body for item in items))
    return b"".join((data[:start], new_meta, data[end:], bodies))


def _located(iloc: bytes, growth: int, numbers: range, items: list[_Item], at: int) -> bytes:
    """The table of locations: the old ones moved by ``growth``, new ones from ``at`` on."""
    version, sizes, count = struct.unpack_from(">B3xHH", iloc, 8)
    if version != 0 or sizes != _ILOC_SIZES or len(iloc) != 16 + 18 * count:
        raise BrokenImageError("the locations of items are stored in an unknown way")
    entries = []
    for start in range(16, len(iloc), 18):
        item, source, base, extents, offset, length = struct.unpack_from(">HHIHII", iloc, start)
        entries.append((item, source, base + growth, extents, offset, length))
    for number, item in zip(numbers, items, strict=True):
        entries.append((number, 0, at, 1, 0, len(item.body)))
        at += len(item.body)
    table = [struct.pack(">HHIHII", *entry) for entry in entries]
    return _box(b"iloc", b"".join((struct.pack(">B3xHH", 0, sizes, len(entries)), *table)))


def _info(number: int, item: _Item) -> bytes:
    hidden = 1
    start = struct.pack(">BxxBHH4s", 2, hidden, number, 0, item.name)
    return _box(b"infe", start + b"\0" + item.content_type)


def _infos(iinf: bytes) -> list[bytes]:
    if iinf[8] != 0:
        raise BrokenImageError("the items are listed in an unknown way")
    return [iinf[at:to] for _, (at, to) in _boxes(iinf, _FULL_BOX_BYTES + 2)]


def _grown(iinf: bytes, more: list[bytes]) -> bytes:
    (count,) = struct.unpack_from(">H", iinf, _FULL_BOX_BYTES)
    number = struct.pack(">H", count + len(more))
    rest = iinf[_FULL_BOX_BYTES + 2 :]
    return _box(b"iinf", b"".join((iinf[8:_FULL_BOX_BYTES], number, rest, *more)))


def _boxes(data: bytes, at: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield (name, (start, end)) of the boxes from ``at`` to the end."""
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            raise BrokenImageError("a box without a plain size")
        yield name, (at, at + size)
        at += size


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body
