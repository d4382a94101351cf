"""Where the samples of a TIFF file stand and what they mean (TIFF 6.0, BigTIFF, TN2).

This is the gate: everything that a decoder is told later has been checked here against the file
and against the limits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from sdflow.geometry import Size
from sdflow.images import ifd
from sdflow.images.formats import BrokenImageError, ImageFormat, ImageInfo
from sdflow.images.tiff_tags import (
    ASSOCIATED,
    BITS,
    CMYK,
    COLOUR_MAP,
    COMPRESSION,
    EXTRA,
    FILL_ORDER,
    HEIGHT,
    JPEG_TABLES,
    PALETTE,
    PHOTOMETRIC,
    PLANES,
    PREDICTABLE,
    PREDICTOR,
    RAW,
    SAMPLES,
    STRIP_BYTES,
    STRIP_ROWS,
    STRIPS,
    T4_OPTIONS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILES,
    WIDTH,
    number,
    numbers,
    read_page,
    refusal_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdflow.images.formats import ByteSource

_MAX_STRIP_BYTES = 1 << 18  # longer uncompressed strips are read in parts
_SPARE_BYTES = 1 << 15  # of a strip or tile, for the tables of its packing
_MAX_PIECE_BYTES = 1 << 26  # larger strips or tiles are not read at random
_MAX_PIECE_WIDTH = 4096  # nor are wider ones: a window would cost many times its own pixels


@dataclass(frozen=True, eq=False, slots=True)
class TiffLayout:
    """One page.

    Attributes:
        size: Of the image.
        segment: Of a strip or tile.
        bits: Of a sample: 1, 2, 4, 8 or 16.
        samples: Samples of a pixel, as they are stored.
        planes: 1, or ``samples`` where every sample has strips or tiles of its own.
        photometric: What the samples mean.
        compression: How strips or tiles are packed.
        differences: Whether a row holds differences to the pixel on the left.
        associated: Whether the colours are multiplied by alpha.
        order: ``<`` or ``>``.
        reversed_bits: Whether the lowest bit of a byte comes first.
        t4_options: For CCITT group 3.
        offsets: Of every strip or tile, by plane, row and column.
        lengths: Their bytes.
        palette: (colours, 3), in the type that it decodes to.
        jpeg_tables: The beginning that all JPEG streams share.
    """

    size: Size
    segment: Size
    bits: int
    samples: int
    planes: int
    photometric: int
    compression: int
    differences: bool
    associated: bool
    order: str
    reversed_bits: bool
    t4_options: int
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    palette: NDArray[np.uint8 | np.uint16] | None
    jpeg_tables: bytes

    @property
    def grid(self) -> Size:
        """Strips or tiles down and across."""
        return Size(
            -(-self.size.height // self.segment.height), -(-self.size.width // self.segment.width)
        )

    @property
    def segment_samples(self) -> int:
        """Samples of a pixel inside one strip or tile."""
        return self.samples // self.planes

    @property
    def row_bytes(self) -> int:
        """Unpacked bytes of a row of a strip or tile."""
        return -(-self.segment.width * self.segment_samples * self.bits // 8)

    @property
    def segment_bytes(self) -> int:
        """Memory of a decoded strip or tile."""
        return self.segment.pixels * self.segment_samples * (2 if self.bits == 16 else 1)

    @property
    def is_random(self) -> bool:
        """Whether strips or tiles are small enough to be read one by one."""
        is_narrow = self.segment.width <= _MAX_PIECE_WIDTH
        return is_narrow and self.segment_bytes <= _MAX_PIECE_BYTES


def read_info(data: ByteSource) -> ImageInfo:
    """Read what the first page holds and count the pages; raises BrokenImageError."""
    page, _, pages = read_page(data)
    bits, samples = numbers(page, BITS, (1,)), number(page, SAMPLES, 1)
    photometric, depth = number(page, PHOTOMETRIC, 0), max(bits)
    bands = {PALETTE: samples + 2, CMYK: samples - 1}.get(photometric, samples)
    refusal = refusal_of(page)
    if refusal is None and photometric == PALETTE:
        depth = 16 if _palette(page, depth).dtype == np.uint16 else min(depth, 8)
    whole_bytes = 0
    if refusal is None:
        segment = _segment(page)
        whole_bytes = segment.pixels * samples * (2 if depth == 16 else 1)
        cut = number(page, COMPRESSION, RAW) == RAW and TILES not in page.entries
        whole_bytes = 0 if cut or whole_bytes <= _MAX_PIECE_BYTES else whole_bytes
    width, height = number(page, WIDTH, 0), number(page, HEIGHT, 0)
    return ImageInfo(ImageFormat.TIFF, width, height, bands, depth, pages, refusal, whole_bytes)


def read_layout(data: ByteSource) -> TiffLayout:
    """Read and check how the first page, which is not refused, is stored.

    Raises:
        BrokenImageError: Not every strip or tile that the image needs is in the file.
    """
    page, layout, _ = read_page(data)
    bits, samples = numbers(page, BITS, (1,))[0], number(page, SAMPLES, 1)
    photometric, compression = number(page, PHOTOMETRIC, 0), number(page, COMPRESSION, RAW)
    offsets, lengths = (TILES, TILE_BYTES) if TILES in page.entries else (STRIPS, STRIP_BYTES)
    tables = page.entries.get(JPEG_TABLES)
    found = TiffLayout(
        size=Size(number(page, HEIGHT, 0), number(page, WIDTH, 0)),
        segment=_segment(page),
        bits=bits,
        samples=samples,
        planes=samples if number(page, PLANES, 1) == 2 else 1,
        photometric=photometric,
        compression=compression,
        differences=number(page, PREDICTOR, 1) == 2 and compression in PREDICTABLE,
        associated=numbers(page, EXTRA) == [ASSOCIATED],
        order=layout.order,
        reversed_bits=number(page, FILL_ORDER, 1) == 2,
        t4_options=number(page, T4_OPTIONS, 0),
        offsets=tuple(numbers(page, offsets)),
        lengths=tuple(numbers(page, lengths)),
        palette=_palette(page, bits) if photometric == PALETTE else None,
        jpeg_tables=b"" if tables is None else tables.value,
    )
    found = _with_lengths(found, len(data))
    _check_segments(found, len(data))
    return _cut(found) if compression == RAW and TILES not in page.entries else found


def _segment(page: ifd.Directory) -> Size:
    """The size of a strip or tile; raises BrokenImageError for one that cannot be."""
    if TILES in page.entries and STRIPS in page.entries:
        raise BrokenImageError("both strips and tiles are named")
    width, height = number(page, WIDTH, 0), number(page, HEIGHT, 0)
    if TILES in page.entries:
        size = Size(number(page, TILE_HEIGHT, 0), number(page, TILE_WIDTH, 0))
    else:
        size = Size(min(height, number(page, STRIP_ROWS, height)), width)
    if not size.pixels or size.pixels > 4 * width * height + (1 << 24):
        raise BrokenImageError("the strips or tiles have no possible size")
    return size


def _palette(page: ifd.Directory, bits: int) -> NDArray[np.uint8 | np.uint16]:
    """The colours (2 ** bits, 3): of 8 bits if the file has scaled such ones up."""
    levels = np.array(numbers(page, COLOUR_MAP), np.uint16)
    if len(levels) != 3 << bits:
        raise BrokenImageError("the palette is not whole")
    colours = levels.reshape(3, -1).T
    if not (colours >> 8).any():  # some writers forget to scale, as libtiff knows too
        return colours.astype(np.uint8)
    if not (colours % 256).any() or not (colours % 257).any():
        return (colours >> 8).astype(np.uint8)
    return colours


def _with_lengths(layout: TiffLayout, file_bytes: int) -> TiffLayout:
    """Lengths that the file leaves out: they are known without compression and for one strip."""
    if layout.lengths and all(layout.lengths):
        return layout
    if layout.compression == RAW:
        rows = [layout.segment.height] * layout.grid.height
        if layout.segment.width == layout.size.width:
            rows[-1] = layout.size.height - layout.segment.height * (layout.grid.height - 1)
        lengths = tuple(
            layout.row_bytes * count for count in rows for _ in range(layout.grid.width)
        )
        return replace(layout, lengths=lengths * layout.planes)
    if len(layout.offsets) == 1:
        return replace(layout, lengths=(max(0, file_bytes - layout.offsets[0]),))
    raise BrokenImageError("the lengths of strips or tiles are missing")


def _check_segments(layout: TiffLayout, file_bytes: int) -> None:
    """Raise BrokenImageError unless every strip or tile that the image needs is in the file."""
    needed = layout.planes * layout.grid.pixels
    if min(len(layout.offsets), len(layout.lengths)) < needed or not all(layout.offsets[:needed]):
        raise BrokenImageError(f"{needed} strips or tiles are needed, not all are there")
    most = 2 * layout.segment_bytes + _SPARE_BYTES
    if layout.compression != RAW and max(layout.lengths[:needed]) > most:
        raise BrokenImageError("a strip or tile is much longer than its pixels")
    ends = (
        start + size for start, size in zip_longest(layout.offsets, layout.lengths, fillvalue=0)
    )
    if max(ends) > file_bytes:
        raise BrokenImageError("the file ends inside the pixels", code="decode.truncated")


def _cut(layout: TiffLayout) -> TiffLayout:
    """Uncompressed strips as strips of fewer rows."""
    tall, strips = layout.segment.height, layout.grid.height
    rows = max(1, _MAX_STRIP_BYTES // layout.row_bytes)
    if rows >= tall:
        return layout
    while strips > 1 and tall % rows:  # the parts of all strips must be one grid
        rows -= 1
    offsets, lengths = [], []
    for index in range(layout.planes * strips):
        height = min(tall, layout.size.height - index % strips * tall)
        if layout.lengths[index] < height * layout.row_bytes:
            raise BrokenImageError("a strip is shorter than its pixels")
        for y in range(0, height, rows):
            offsets.append(layout.offsets[index] + y * layout.row_bytes)
            lengths.append(min(rows, height - y) * layout.row_bytes)
    size = Size(rows, layout.segment.width)
    return replace(layout, segment=size, offsets=tuple(offsets), lengths=tuple(lengths))
