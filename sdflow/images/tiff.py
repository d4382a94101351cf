"""What surrounds the pixels of a TIFF file: its other tags (TIFF 6.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdflow.images import ifd
from sdflow.images.formats import Metadata
from sdflow.images.iptc import find_iptc
from sdflow.images.tiff_tags import LAYOUT_TAGS, SUBFILE, page_offset

if TYPE_CHECKING:
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
_CM_PER_INCH = 2.54


def read_metadata(data: ByteSource) -> Metadata:
    """Read what is around the pixels of the first page; raises BrokenImageError."""
    layout, at, _ = page_offset(data)
    skipped = _NOT_METADATA - {_XMP, _ICC, _PHOTOSHOP}
    return _metadata(ifd.read_directory(data, at, layout, without=skipped), layout)


def _metadata(directory: ifd.Directory, layout: ifd.Layout) -> Metadata:
    tags = directory.entries
    rest = {tag: entry for tag, entry in tags.items() if tag not in _NOT_METADATA}
    iptc = rest.pop(_IPTC, None)
    resources = b"" if iptc or _PHOTOSHOP not in tags else tags[_PHOTOSHOP].value
    exif = None
    if directory.children or not rest.keys() <= set(_RESOLUTION):
        exif = ifd.write_stream(ifd.Directory(rest, directory.children))
    unit = tags[_RESOLUTION_UNIT].integers() if _RESOLUTION_UNIT in tags else [_INCH]
    factor = {_INCH: 1.0, _CENTIMETRE: _CM_PER_INCH}.get(*unit[:1] or [0])
    sides = [tags[tag].rationals() for tag in _RESOLUTION[:2] if tag in tags]
    dpi = None
    if factor is not None and len(sides) == 2 and all(side and side[0] for side in sides):
        dpi = (sides[0][0] * factor, sides[1][0] * factor)
    icc, xmp = (tags[tag].value or None if tag in tags else None for tag in (_ICC, _XMP))
    return Metadata(icc, exif, xmp, _stored(iptc, layout) if iptc else find_iptc(resources), dpi)


def _stored(entry: ifd.Entry, layout: ifd.Layout) -> bytes:
    """A text that some writers announce as whole numbers, as its bytes stand in the file."""
    if entry.kind != ifd.LONG or layout.order == "<":
        return entry.value
    return np.frombuffer(entry.value, "<u4").astype(">u4").tobytes()
