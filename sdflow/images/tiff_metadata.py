"""What surrounds the pixels of a TIFF file: its other tags (TIFF 6.0)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from sdflow.images import ifd
from sdflow.images.formats import BrokenImageError, Metadata, take
from sdflow.images.iptc import find_iptc
from sdflow.images.tiff_tags import LAYOUT_TAGS, SUBFILE, page_offset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.images.formats import ByteSource

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RESOLUTION_UNIT = 296
_RESOLUTION = (282, 283, _RESOLUTION_UNIT)
_INCH, _CENTIMETRE = 2, 3
_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
# Tags that describe stored pixels or point into the file, never carried to another file. The last
# lines are Photoshop's resources (a thumbnail among them) and layers, and the pixel grid of
# GeoTIFF, which is another one after a change of size.
_NOT_METADATA = LAYOUT_TAGS | {
    *(SUBFILE, 255, 263, 264, 265, 280, 281, 288, 289, 290, 291, 301, 321, 332, 333, 334, 336),
    *(337, 340, 341, 342, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, _XMP, _ICC),
    *(330, 343, 344, 345, 346, 351, 32781, 50838, 50839),
    *(_PHOTOSHOP, 37724),
    *(33550, 33922, 34264, 34735, 34736, 34737),
}
_WHOLE_NUMBERS = (ifd.BYTE, ifd.SHORT, ifd.LONG, ifd.LONG8)
_CM_PER_INCH = 2.54
_MOST_VALUE_BYTES = 1 << 24  # memory must not follow what a writer keeps in private tags
_MOST_BYTES = 1 << 26  # of all values together
_MOST_TAGS = 1 << 16  # a tag is a number of 16 bits
_MOST_NAMED = 8


def read_metadata(data: ByteSource) -> tuple[Metadata, str]:
    """Read what is around the pixels of the first page, as far as it is whole.

    Returns:
        The metadata, and what was damaged or too large and is left out of it, for people.

    Raises:
        BrokenImageError: There is no directory.
    """
    layout, at, _ = page_offset(data)
    found = _Salvage(data, layout)
    directory = found.read(at, without=_NOT_METADATA - {_XMP, _ICC, _PHOTOSHOP})
    metadata = _metadata(directory, layout)
    lost = ", ".join(map(str, found.lost[:_MOST_NAMED]))
    if len(found.lost) > _MOST_NAMED:
        lost += f" and {len(found.lost) - _MOST_NAMED} more"
    return metadata, f"damaged or oversized tags left out ({lost})" if lost else ""


class _Salvage:
    """Reads directories without the tags that cannot be read.

    Args:
        data: The file.
        layout: How numbers are stored.

    Attributes:
        lost: Tags that were left out.
    """

    def __init__(self, data: ByteSource, layout: ifd.Layout) -> None:
        self.lost: list[int] = []
        self._data = data
        self._layout = layout
        self._room = min(len(data), _MOST_BYTES)

    def read(
        self, at: int, path: tuple[int, ...] = (), without: frozenset[int] = frozenset()
    ) -> ifd.Directory:
        """The directory at an offset and those below it; raises BrokenImageError."""
        whole = self._whole(at, without)
        # A named pointer is not followed but read like any other tag.
        entries = dict(ifd.read_directory(self._data, at, self._layout, only=whole).entries)
        children = {}
        for tag in [tag for tag in entries if tag in ifd.POINTERS]:
            try:
                (target, *_) = entries.pop(tag).integers() or [0]
                if tag not in path:
                    children[tag] = self.read(target, (*path, tag))
            except BrokenImageError:
                self.lost.append(tag)
        return ifd.Directory(entries, children)

    def _whole(self, at: int, without: frozenset[int]) -> set[int]:
        """The tags that can be read, judged by the table alone."""
        layout, order = self._layout, self._layout.order
        width, step, inline = (8, 20, 8) if layout.big else (2, 12, 4)
        (count,) = struct.unpack(layout.count_format, take(self._data, at, width, "a directory"))
        if count > _MOST_TAGS:
            raise BrokenImageError(f"a directory of {count} tags")
        table = take(self._data, at + width, count * step, "a directory")
        found: dict[int, bool] = {}
        for start in range(0, len(table), step):
            form = f"{order}HHQQ" if layout.big else f"{order}HHII"
            tag, kind, length, offset = struct.unpack_from(form, table, start)
            if tag not in without and tag not in found:
                found[tag] = self._is_whole(kind, length, offset, inline)
                if tag == _RESOLUTION_UNIT and kind not in _WHOLE_NUMBERS:
                    found[tag] = False
        if not found.get(_RESOLUTION_UNIT, True):  # without it the others would mean inches
            found |= {tag: False for tag in _RESOLUTION if tag in found}
        self.lost += [tag for tag, is_whole in found.items() if not is_whole]
        return {tag for tag, is_whole in found.items() if is_whole}

    def _is_whole(self, kind: int, length: int, offset: int, inline: int) -> bool:
        try:
            size = length * ifd.element_bytes(kind)
        except KeyError:
            return False
        if size > min(_MOST_VALUE_BYTES, self._room):
            return False
        if size > inline and offset + size > len(self._data):
            return False
        self._room -= size
        return True


def _metadata(directory: ifd.Directory, layout: ifd.Layout) -> Metadata:
    tags = directory.entries
    rest = {tag: entry for tag, entry in tags.items() if tag not in _NOT_METADATA}
    iptc = rest.pop(_IPTC, None)
    resources = b"" if iptc or _PHOTOSHOP not in tags else tags[_PHOTOSHOP].value
    exif = None
    if directory.children or not rest.keys() <= set(_RESOLUTION):
        exif = ifd.write_stream(ifd.Directory(rest, directory.children))
    icc, xmp = (tags[tag].value or None if tag in tags else None for tag in (_ICC, _XMP))
    stored = _stored(iptc, layout) if iptc else find_iptc(resources)
    return Metadata(icc, exif, xmp, stored, _density(tags))


def _density(tags: Mapping[int, ifd.Entry]) -> tuple[float, float] | None:
    unit = tags[_RESOLUTION_UNIT].integers() if _RESOLUTION_UNIT in tags else [_INCH]
    factor = {_INCH: 1.0, _CENTIMETRE: _CM_PER_INCH}.get(*unit[:1] or [0])
    sides = [tags[tag].rationals() for tag in _RESOLUTION[:2] if tag in tags]
    if factor is None or len(sides) < 2 or not all(side and side[0] for side in sides):
        return None
    return sides[0][0] * factor, sides[1][0] * factor


def _stored(entry: ifd.Entry, layout: ifd.Layout) -> bytes:
    """A text that some writers announce as whole numbers, as its bytes stand in the file."""
    if entry.kind != ifd.LONG or layout.order == "<":
        return entry.value
    return np.frombuffer(entry.value, "<u4").astype(">u4").tobytes()
