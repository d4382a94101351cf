"""TIFF files from bands of rows, with metadata and reduced copies (TIFF 6.0; BigTIFF)."""

from __future__ import annotations

import struct
from fractions import Fraction
from io import SEEK_END
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile

from sdflow.images import exif, ifd
from sdflow.images.bands import Bands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from sdflow.images.formats import Metadata, Pixels

LEVEL = 1  # of libdeflate; see ``sdflow bench --encoders``
TILE = 512
_MOST_STRIPPED_PX = 1 << 22  # larger images are tiled, so that a window can be read alone
_STRIP_BYTES = 1 << 18
_HALVED_ROWS = 32  # at once; even, so that the cuts do not show
_CLASSIC_BYTES = (1 << 32) - (1 << 26)
_WIDTH, _HEIGHT, _RESOLUTION, _RESOLUTION_UNIT = 256, 257, (282, 283), 296
_XMP, _IPTC, _ICC = 700, 33723, 34675
_INCH = 2


def write_pixels(
    file: BinaryIO, bands: Bands, *, pyramid: bool, scratch: Callable[[], BinaryIO]
) -> None:
    """Write an image, deflated, in memory that does not grow with its height.

    Strips, or tiles of 512 where the image is large or gets reduced copies. Those follow as pages
    of their own, marked as reduced, each half the size of the one before (the mean of 2 x 2 pixels)
    down to one tile.

    Args:
        file: Empty, open for reading and writing.
        bands: The pixels.
        pyramid: Whether to write reduced copies.
        scratch: Opens an empty file that vanishes when closed, for the pixels of a reduced copy.
    """
    total_bytes = bands.num_bytes * 4 // 3 if pyramid else bands.num_bytes
    reduced = False
    with tifffile.TiffWriter(file, bigtiff=total_bytes > _CLASSIC_BYTES) as writer:
        while True:
            is_last = not pyramid or max(bands.size.height, bands.size.width) <= TILE
            below = None if is_last else scratch()
            _write_page(writer, bands, below, tiled=pyramid or _is_large(bands), reduced=reduced)
            if reduced:
                bands.rows.close()  # type: ignore[attr-defined]  # the generator over scratch
            if below is None:
                return
            bands, reduced = _read_back(below, bands), True


def attach(file: BinaryIO, metadata: Metadata) -> None:
    """Add metadata to the first page of a little-endian TIFF, classic or BigTIFF.

    EXIF goes in tag by tag, apart from those that describe other pixels; a MakerNote keeps its
    bytes but not its offset. ``dpi`` wins over the resolution inside EXIF. The new directory
    stands at the end of the file, the old one becomes waste.

    Args:
        file: Open for reading and writing.
        metadata: What ``metadata.fitted`` leaves for a TIFF.
    """
    data = _FileBytes(file)
    layout, first = ifd.read_start(data)
    page = ifd.read_directory(data, first, layout)
    entries = {
        tag: entry
        for tag, entry in page.entries.items()
        if tag not in (*_RESOLUTION, _RESOLUTION_UNIT)
    }
    extra = ifd.Directory({}) if metadata.exif is None else exif.read(metadata.exif).directory
    left_out = exif.PIXEL_TAGS | {_WIDTH, _HEIGHT}
    entries |= {tag: entry for tag, entry in extra.entries.items() if tag not in left_out}
    entries |= _field_entries(metadata)
    end = len(data) + len(data) % 2
    directory = ifd.Directory(entries, extra.children)
    table = ifd.write_directory(directory, end, layout, following=page.following)
    file.seek(0, SEEK_END)
    file.write(bytes(end - len(data)) + table)
    file.seek(8 if layout.big else 4)
    file.write(struct.pack(layout.offset_format, end))


class _FileBytes:
    """An open file as bytes that are read where they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, SEEK_END)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice, /) -> bytes:
        self._file.seek(part.start)
        return self._file.read(part.stop - part.start)


def _field_entries(metadata: Metadata) -> dict[int, ifd.Entry]:
    entries = {}
    if metadata.icc:
        entries[_ICC] = ifd.Entry(ifd.UNDEFINED, metadata.icc)
    if metadata.xmp:
        entries[_XMP] = ifd.Entry(ifd.BYTE, metadata.xmp)
    if metadata.iptc:
        entries[_IPTC] = ifd.Entry(ifd.UNDEFINED, metadata.iptc)
    if metadata.dpi is not None:
        for tag, value in zip(_RESOLUTION, metadata.dpi, strict=True):
            ratio = Fraction(value).limit_denominator(10_000)
            pair = struct.pack("<II", ratio.numerator, ratio.denominator)
            entries[tag] = ifd.Entry(ifd.RATIONAL, pair)
        entries[_RESOLUTION_UNIT] = ifd.Entry(ifd.SHORT, struct.pack("<H", _INCH))
    return entries


def _is_large(bands: Bands) -> bool:
    return bands.size.pixels > _MOST_STRIPPED_PX


def _write_page(
    writer: tifffile.TiffWriter, bands: Bands, below: BinaryIO | None, *, tiled: bool, reduced: bool
) -> None:
    layout: dict[str, Any]
    data: Pixels | Iterator[Pixels]
    sides = (bands.size.height, bands.size.width)
    if tiled:
        data = _tiles(bands, below)
        # libvips refuses tiles that are much larger than their image.
        layout = {"tile": tuple(min(TILE, -(-side // 16) * 16) for side in sides)}
    else:
        data = _squeezed(next(bands.cut(bands.size.height)))
        rows = min(bands.size.height, max(1, _STRIP_BYTES // bands.row_bytes))
        layout = {"rowsperstrip": rows}
    alpha = bands.num_bands in (2, 4)
    writer.write(
        data,
        shape=sides if bands.num_bands == 1 else (*sides, bands.num_bands),
        dtype=bands.dtype,
        photometric="rgb" if bands.num_bands > 2 else "minisblack",
        planarconfig="contig" if bands.num_bands > 1 else None,
        extrasamples=["unassalpha"] if alpha else None,
        compression="adobe_deflate",
        compressionargs={"level": LEVEL},
        predictor=2,
        subfiletype=1 if reduced else 0,
        metadata=None,
        software=False,
        maxworkers=1,
        **layout,
    )


def _tiles(bands: Bands, below: BinaryIO | None) -> Iterator[Pixels]:
    """Yield tiles row by row; meanwhile write the rows of the image of half the size."""
    for band in bands.cut(TILE):
        if below is not None:
            for y in range(0, len(band), _HALVED_ROWS):
                below.write(_halved(band[y : y + _HALVED_ROWS]).tobytes())
        for x in range(0, bands.size.width, TILE):
            yield np.ascontiguousarray(_squeezed(band[:, x : x + TILE]))
        del band  # before the next one is made


def _squeezed(pixels: Pixels) -> Pixels:
    """Grey without its third axis, which tifffile would take for the width."""
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _halved(band: Pixels) -> Pixels:
    """The mean of every 2 x 2 pixels, halves up; the last of an odd side counts twice.

    Colours are weighted by alpha, so that none comes through that is transparent.
    """
    height, width, num_bands = band.shape
    padded = np.pad(band, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint64)
    mean = (_sum_of_quarters(padded) + 2) >> 2
    if num_bands in (2, 4):
        alpha = padded[..., -1:]
        total = _sum_of_quarters(alpha)
        weighted = _sum_of_quarters(padded[..., :-1] * alpha) + total // 2
        np.floor_divide(weighted, total, out=mean[..., :-1], where=total > 0)
    result: Pixels = mean.astype(band.dtype)
    return result


def _sum_of_quarters(levels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    rows = levels[::2] + levels[1::2]
    total: NDArray[np.uint64] = rows[:, ::2] + rows[:, 1::2]
    return total


def _read_back(file: BinaryIO, above: Bands) -> Bands:
    """The image of half the size of ``above``; ``file`` is closed with its rows."""
    size, num_bands, dtype = above.size.divided(2), above.num_bands, above.dtype
    row_bytes = size.width * num_bands * dtype.itemsize

    def rows() -> Iterator[Pixels]:
        with file:
            file.seek(0)
            while data := file.read(TILE * row_bytes):
                yield np.frombuffer(data, dtype).reshape(-1, size.width, num_bands)

    return Bands(rows(), size, num_bands, dtype)
