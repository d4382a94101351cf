"""TIFF files: what they hold, and their directory without or with metadata (TIFF 6.0).

Pillow turns a TIFF upright while it loads it, drops extra samples, cuts 16-bit colour to 8 bits,
and warns about damaged tags instead of refusing them. So it gets to see a directory with nothing
but the layout of the pixels, and only of layouts that it reads faithfully.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import zip_longest
from types import MappingProxyType
from typing import TYPE_CHECKING

from sdflow.images import ifd
from sdflow.images.formats import BrokenImageError, ImageFormat, ImageInfo, Metadata, Unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 277, 279, 324, 325
_COLOUR_MAP, _EXTRA, _SAMPLE_FORMAT = 320, 338, 339
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_STRIP_ROWS, _PLANES, _TILE_SIZE = 278, 284, (322, 323)
_XMP, _ICC = 700, 34675
_RESOLUTION = (_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT)
_SCALARS = (
    *(_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _STRIP_ROWS, _PLANES, *_TILE_SIZE),
    *(266, 292, 293, 317),  # FillOrder, T4Options, T6Options, Predictor
)
_ARRAYS = (
    *(_BITS, _STRIPS, _STRIP_BYTES, _COLOUR_MAP, _TILES, _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT),
    *(347, 530, 531, 532),  # JPEGTables, YCbCrSubSampling, YCbCrPositioning, ReferenceBlackWhite
)
_LAYOUT = frozenset((*_SCALARS, *_ARRAYS))
# Tags that describe stored pixels or point into the file, never carried to another file. The last
# line is the pixel grid of GeoTIFF, which is another one after a change of size.
_NOT_METADATA = _LAYOUT | {
    *(_SUBFILE, 255, 263, 264, 265, 280, 281, 288, 289, 290, 291, 301, 321, 332, 333, 334, 336),
    *(337, 340, 341, 342, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, _XMP, _ICC),
    *(330, 343, 344, 345, 346, 351, 32781, 50838, 50839),
    *(33550, 33922, 34264, 34735, 34736, 34737),
}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = MappingProxyType({_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _YCBCR: 3})
_JPEG = 7
_CM_PER_INCH = 2.54


def read_info(data: bytes) -> ImageInfo:
    """Read the first directory's layout and count the pages; raises BrokenImageError."""
    layout, first = ifd.read_start(data)
    directory = ifd.read_directory(data, first, layout, only=_LAYOUT)
    for tag in _SCALARS:
        if tag in directory.entries and len(directory.entries[tag].integers()) != 1:
            raise BrokenImageError(f"tag {tag} has more than one value")
    width, height = _numbers(directory, _WIDTH, (0,))[0], _numbers(directory, _HEIGHT, (0,))[0]
    if not width or not height:
        raise BrokenImageError("the tags give no size")
    bits = _numbers(directory, _BITS, (1,))
    samples = _numbers(directory, _SAMPLES, (1,))[0]
    is_palette = _numbers(directory, _PHOTOMETRIC, (0,))[0] == _PALETTE
    bands = samples + 2 if is_palette else samples
    frames = _count_pages(data, first, layout)
    refusal = _refusal(directory, frames)
    return ImageInfo(ImageFormat.TIFF, width, height, bands, max(bits), frames, refusal)


def unpack(data: bytes) -> Unpacked:
    """Separate the layout from the metadata; raises BrokenImageError.

    The payload is the file with a second directory at its end that holds the layout alone.
    """
    layout, first = ifd.read_start(data)
    directory = ifd.read_directory(data, first, layout)
    _check_pieces(directory, len(data))
    raw = [entry.raw for tag, entry in sorted(directory.entries.items()) if tag in _LAYOUT]
    table = struct.pack(layout.count_format, len(raw)) + b"".join(raw) + bytes(8)
    return Unpacked(_with_directory(data, layout, table), _metadata(directory))


def attach(data: bytes, metadata: Metadata) -> bytes:
    """Add metadata to a little-endian classic TIFF with one page.

    Args:
        data: The file; its pixels stay where they are.
        metadata: ``exif`` goes in tag by tag, apart from those that describe other pixels and
            from its thumbnail; ``dpi`` wins over the resolution inside it.

    Raises:
        BrokenImageError: ``exif`` is damaged.
        struct.error: The file would be larger than 4 GiB.
    """
    layout, first = ifd.read_start(data)
    directory = ifd.read_directory(data, first, layout)
    entries = {tag: entry for tag, entry in directory.entries.items() if tag in _LAYOUT}
    extra = ifd.Directory({}) if metadata.exif is None else ifd.read_stream(metadata.exif)
    entries |= {tag: entry for tag, entry in extra.entries.items() if tag not in _NOT_METADATA}
    if metadata.icc:
        entries[_ICC] = ifd.Entry(ifd.UNDEFINED, metadata.icc)
    if metadata.xmp:
        entries[_XMP] = ifd.Entry(ifd.BYTE, metadata.xmp)
    if metadata.dpi is not None:
        for tag, value in zip(_RESOLUTION, metadata.dpi, strict=False):
            ratio = Fraction(value).limit_denominator(10_000)
            pair = struct.pack("<II", ratio.numerator, ratio.denominator)
            entries[tag] = ifd.Entry(ifd.RATIONAL, pair)
        entries[_RESOLUTION_UNIT] = ifd.Entry(ifd.SHORT, struct.pack("<H", 2))
    table = ifd.write_directory(ifd.Directory(entries, extra.children), _end(data))
    return _with_directory(data, layout, table)


def _end(data: bytes) -> int:
    """Where a directory can be appended: directories begin at even offsets."""
    return len(data) + len(data) % 2


def _with_directory(data: bytes, layout: ifd.Layout, table: bytes) -> bytes:
    """The file with ``table`` at its end and the header pointing to it."""
    end, start = _end(data), 8 if layout.big else 4
    pointer = struct.pack(layout.offset_format, end)
    rest = memoryview(data)[start + len(pointer) :]
    return b"".join((data[:start], pointer, rest, bytes(end - len(data)), table))


def _metadata(directory: ifd.Directory) -> Metadata:
    tags = directory.entries
    rest = {tag: entry for tag, entry in tags.items() if tag not in _NOT_METADATA}
    exif = None
    if directory.children or not rest.keys() <= set(_RESOLUTION):
        exif = ifd.write_stream(ifd.Directory(rest, directory.children))
    unit = _numbers(directory, _RESOLUTION_UNIT, (2,))[0]
    factor = {2: 1.0, 3: _CM_PER_INCH}.get(unit)
    sides = [tags[tag].rationals() for tag in _RESOLUTION[:2] if tag in tags]
    dpi = None
    if factor is not None and len(sides) == 2 and all(side and side[0] for side in sides):
        dpi = (sides[0][0] * factor, sides[1][0] * factor)
    icc, xmp = (tags[tag].value if tag in tags else None for tag in (_ICC, _XMP))
    return Metadata(icc, exif, xmp, dpi=dpi)


def _numbers(directory: ifd.Directory, tag: int, default: Iterable[int] = ()) -> list[int]:
    entry = directory.entries.get(tag)
    return list(default) if entry is None else entry.integers() or list(default)


def _count_pages(data: bytes, at: int, layout: ifd.Layout) -> int:
    """Count the directories in the chain that are no reduced copy (bit 0 of NewSubfileType)."""
    pages, total = 0, 0
    while at:
        page = ifd.read_directory(data, at, layout, only=(_SUBFILE,))
        total += page.size_bytes
        if total > len(data):  # directories that overlap, or a ring of them
            raise BrokenImageError("the directories are longer than the file")
        pages += not _numbers(page, _SUBFILE, (0,))[0] & 1
        at = page.following
    return pages


def _check_pieces(directory: ifd.Directory, length: int) -> None:
    """Raise BrokenImageError unless every strip or tile that the image needs is in the file.

    Pillow leaves the pixels of missing ones black.
    """
    (width,), (height,) = _numbers(directory, _WIDTH), _numbers(directory, _HEIGHT)
    if _TILES in directory.entries and _STRIPS in directory.entries:
        raise BrokenImageError("both strips and tiles are named")
    if _TILES in directory.entries:
        offsets, sizes = _numbers(directory, _TILES), _numbers(directory, _TILE_BYTES)
        across, down = (_numbers(directory, tag, (0,))[0] for tag in _TILE_SIZE)
    else:
        offsets, sizes = _numbers(directory, _STRIPS), _numbers(directory, _STRIP_BYTES)
        across, down = width, min(height, _numbers(directory, _STRIP_ROWS, (height,))[0])
    if not across or not down or across * down > 4 * width * height + (1 << 24):
        raise BrokenImageError("the strips or tiles have no possible size")
    planes = 1
    if _numbers(directory, _PLANES, (1,))[0] == 2:
        planes = _numbers(directory, _SAMPLES, (1,))[0]
    needed = planes * -(-width // across) * -(-height // down)
    if len(offsets) < needed or not all(offsets):
        raise BrokenImageError(f"{needed} strips or tiles are needed, not all are there")
    if max(start + size for start, size in zip_longest(offsets, sizes, fillvalue=0)) > length:
        raise BrokenImageError("the file ends inside the pixels", code="decode.truncated")


def _refusal(tags: ifd.Directory, pages: int) -> str | None:
    """Why these pixels cannot be read as they are, or None."""
    photometric = _numbers(tags, _PHOTOMETRIC, (0,))[0]
    compression = _numbers(tags, _COMPRESSION, (1,))[0]
    bits, extra = _numbers(tags, _BITS, (1,)), _numbers(tags, _EXTRA)
    samples = _numbers(tags, _SAMPLES, (1,))[0]
    colours = _COLOURS.get(photometric)
    if pages != 1:
        return f"{pages} pages; save the pages as files of their own first"
    if photometric == _CMYK:
        return "CMYK colour; convert to RGB first, with the profiles that apply"
    if colours is None or (photometric == _YCBCR and compression != _JPEG):
        return f"colours of photometric kind {photometric}; convert to RGB first"
    if any(kind != 1 for kind in _numbers(tags, _SAMPLE_FORMAT)):
        return "signed or floating-point samples; convert to 8 bits, or 16-bit grey, first"
    if set(bits) == {16} and (samples > 1 or photometric != _BLACK_IS_ZERO):
        return "16-bit colour, alpha or white-is-zero grey; convert to 8 bits first"
    if len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 16):
        return f"{'/'.join(map(str, bits))}-bit samples; convert to 8 bits, or 16-bit grey, first"
    if samples - colours not in (0, 1) or len(extra) > samples - colours or set(extra) - {1, 2}:
        return f"{samples} samples a pixel, not all colour or alpha; remove the others first"
    if any(value % 256 and value % 257 for value in _numbers(tags, _COLOUR_MAP)):
        return "a palette of 16-bit or unscaled colours; convert to RGB first"
    return None
