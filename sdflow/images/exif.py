"""Changes to EXIF: what no longer holds for new pixels is put right or left out (EXIF 3.0)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from sdflow.images import ifd
from sdflow.images.formats import BrokenImageError, take
from sdflow.images.tiff_tags import HEIGHT, LAYOUT_TAGS, WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.geometry import Size

ORIENTATION, SOFTWARE, MAKER_NOTE = 274, 305, 37500
_DESCRIPTION = 270
# PixelXDimension and PixelYDimension; FocalPlane*Resolution, in stored pixels of the sensor.
_STATED, _FOCAL_PLANE, _FOCAL_UNIT = (40962, 40963), (41486, 41487), 41488
_WIDTH, _HEIGHT = (WIDTH, _STATED[0]), (HEIGHT, _STATED[1])
# SubjectArea and SubjectLocation, in stored pixels; the focal plane of TIFF/EP.
_TURNED = (b"\5", b"\6", b"\7", b"\10")  # orientations that make rows columns
_PLACES = frozenset({37396, 41492, 37390, 37391, 37392})
PIXEL_TAGS = (LAYOUT_TAGS - {WIDTH, HEIGHT}) | {
    # The layout of pixels in a file, and what stands in fields of its own.
    *(254, 255, 263, 264, 265, 280, 281, 288, 289, 290, 291, 301, 321, 330, 333, 334),
    *(336, 337, 340, 341, 342, 343, 344, 345, 346, 351, 512, 513, 514, 515, 517, 518, 519),
    *(520, 521, 529, 700, 32781, 33723, 34675),
    # The pixel grid of GeoTIFF; Photoshop's resources (a thumbnail among them) and layers.
    *(33550, 33922, 34264, 34735, 34736, 34737, 34377, 37724, 50838, 50839),
}
"""Tags that describe the stored pixels of one file or point into it; no other file gets them."""
_MOST_TAGS = 500  # of a damaged directory: reading it tag by tag takes the square of their number
_DENOMINATOR, _MAX_LONG = 10_000, (1 << 32) - 1
_FARTHEST_BYTES = 1 << 14  # a MakerNote farther out is moved: the room before it would stay empty


@dataclass(frozen=True, slots=True)
class Exif:
    """An EXIF stream, read.

    Attributes:
        order: ``<`` or ``>``, as in ``struct``.
        directory: The first directory with EXIF, GPS and Interop below it. The second one, of the
            thumbnail, is not read.
        is_whole: Nothing was unreadable.
    """

    order: str
    directory: ifd.Directory
    is_whole: bool = True

    @property
    def software(self) -> str | None:
        """What the Software tag says."""
        entry = self.directory.entries.get(SOFTWARE)
        text = "" if entry is None else entry.value.decode("utf-8", "replace")
        return "".join(filter(str.isprintable, text)).strip() or None


def read(stream: bytes) -> Exif:
    """Read a stream, without those tags of a damaged one that cannot be read.

    Raises:
        BrokenImageError: Not even the first directory is there.
    """
    layout, first = ifd.read_start(stream)
    try:
        return Exif(layout.order, ifd.read_stream(stream))
    except BrokenImageError:
        whole = stream + bytes(8)  # as in ``read_stream``
        return Exif(layout.order, _salvaged(whole, first, layout), is_whole=False)


def write(exif: Exif) -> bytes:
    """Serialise; the MakerNote stays where it was, for it may count from the stream's start."""
    found = _maker_note(exif.directory)
    placed: dict[tuple[int, ...], tuple[int, bytes]] = {}
    if found is not None and len(found.raw) == ifd.CLASSIC.entry_bytes and len(found.value) > 4:
        (offset,) = struct.unpack(f"{exif.order}I", found.raw[-4:])
        if 8 <= offset <= _FARTHEST_BYTES:
            placed = {(ifd.EXIF_TAG, MAKER_NOTE): (offset, found.value)}
    return ifd.write_stream(exif.directory, exif.order, placed=placed)


def updated(exif: Exif, size: Size, software: str | None) -> Exif:
    """The same for upright pixels of another size.

    Args:
        exif: As it was; without tags, for one to begin.
        size: Of the new pixels; it replaces the sizes that are stated.
        software: Becomes the Software tag; None leaves it alone.
    """
    turns = exif.directory.entries.get(ORIENTATION)
    turned = turns is not None and turns.value[:1] in _TURNED
    directory = _with_size(exif.directory, size, turned=turned)
    entries = {tag: entry for tag, entry in directory.entries.items() if tag not in PIXEL_TAGS}
    if _DESCRIPTION in entries and _is_layout(entries[_DESCRIPTION].value):
        del entries[_DESCRIPTION]
    if ORIENTATION in entries:
        entries[ORIENTATION] = ifd.Entry(ifd.SHORT, struct.pack("<H", 1))
    if software is not None:
        entries[SOFTWARE] = ifd.Entry(ifd.ASCII, software.encode("ascii", "replace") + b"\0")
    return replace(exif, directory=replace(directory, entries=entries))


def without_maker_note(exif: Exif) -> Exif:
    """The same without its MakerNote, which is by far the largest tag of most cameras."""
    directory = exif.directory
    children = dict(directory.children)
    if ifd.EXIF_TAG in children:
        child = children[ifd.EXIF_TAG]
        children[ifd.EXIF_TAG] = replace(child, entries=_without(child.entries, MAKER_NOTE))
    return replace(exif, directory=replace(directory, children=children))


def _maker_note(directory: ifd.Directory) -> ifd.Entry | None:
    child = directory.children.get(ifd.EXIF_TAG)
    return None if child is None else child.entries.get(MAKER_NOTE)


def _without(entries: Mapping[int, ifd.Entry], tag: int) -> dict[int, ifd.Entry]:
    return {number: entry for number, entry in entries.items() if number != tag}


def _is_layout(description: bytes) -> bool:
    """Whether it says how tifffile, OME or ImageJ laid out the pixels, and nothing for people."""
    return description.lstrip().startswith((b'{"shape"', b"ImageJ=")) or b"<OME" in description


def _with_size(directory: ifd.Directory, size: Size, *, turned: bool) -> ifd.Directory:
    entries = {tag: entry for tag, entry in directory.entries.items() if tag not in _PLACES}
    entries = _with_focal_plane(entries, size, turned=turned)
    for tags, side in ((_WIDTH, size.width), (_HEIGHT, size.height)):
        for tag in tags:
            if tag in entries:
                entries[tag] = ifd.Entry(ifd.LONG, struct.pack("<I", side))
    children = {
        tag: _with_size(child, size, turned=turned) for tag, child in directory.children.items()
    }
    return replace(directory, entries=entries, children=children)


def _with_focal_plane(
    entries: dict[int, ifd.Entry], size: Size, *, turned: bool
) -> dict[int, ifd.Entry]:
    """The pixels on a length of the sensor, as many as there are now; else without them.

    Args:
        entries: With the former size, of the stored pixels.
        size: Of the new pixels.
        turned: Whether rows have become columns.
    """
    plane = {*_FOCAL_PLANE, _FOCAL_UNIT}
    result = {tag: entry for tag, entry in entries.items() if tag not in plane}
    sources = [
        (entries.get(density), entries.get(stated))
        for density, stated in zip(_FOCAL_PLANE, _STATED, strict=True)
    ]
    (across, width), (down, height) = reversed(sources) if turned else sources
    x, y = _scaled(across, width, size.width), _scaled(down, height, size.height)
    if x is None or y is None:
        return result
    unit = {_FOCAL_UNIT: entries[_FOCAL_UNIT]} if _FOCAL_UNIT in entries else {}
    return {**result, _FOCAL_PLANE[0]: x, _FOCAL_PLANE[1]: y, **unit}


def _scaled(density: ifd.Entry | None, former: ifd.Entry | None, side: int) -> ifd.Entry | None:
    """A density for ``side`` pixels in place of the former ones, or None if that is not known."""
    if density is None or former is None or former.kind not in (ifd.SHORT, ifd.LONG):
        return None
    values, sides = density.rationals(), former.integers()
    if not values or not sides or not sides[0]:
        return None
    ratio = (Fraction(values[0]) * side / sides[0]).limit_denominator(_DENOMINATOR)
    if not 0 < ratio.numerator <= _MAX_LONG:
        return None
    return ifd.Entry(ifd.RATIONAL, struct.pack("<II", ratio.numerator, ratio.denominator))


def _salvaged(
    stream: bytes, at: int, layout: ifd.Layout, path: tuple[int, ...] = ()
) -> ifd.Directory:
    """Read what can be read, tag by tag; BrokenImageError where there is no table."""
    if layout.big:
        raise BrokenImageError("EXIF with offsets of 8 bytes")
    (count,) = struct.unpack(layout.count_format, take(stream, at, 2, "a directory"))
    table = take(stream, at + 2, layout.entry_bytes * count, "a directory")
    if count > _MOST_TAGS:
        raise BrokenImageError(f"a damaged directory of {count} tags")
    entries: dict[int, ifd.Entry] = {}
    children: dict[int, ifd.Directory] = {}
    for start in range(0, len(table), layout.entry_bytes):
        (tag,) = struct.unpack_from(f"{layout.order}H", table, start)
        try:
            entry = ifd.read_directory(stream, at, layout, only=(tag,)).entries[tag]
            if tag not in ifd.POINTERS:
                entries[tag] = entry
            elif tag not in path:
                (target, *_) = entry.integers() or [0]
                children[tag] = _salvaged(stream, target, layout, (*path, tag))
        except BrokenImageError:
            continue
    return ifd.Directory(entries, children)
