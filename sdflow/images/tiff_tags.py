"""The tags of a TIFF file that say how its pixels are stored, and which kinds are read.

Sources: TIFF 6.0, BigTIFF, Adobe's Technical Notes 1 and 2.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from sdflow.images import ifd
from sdflow.images.formats import BrokenImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.images.formats import ByteSource

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, T4_OPTIONS, _T6_OPTIONS, PREDICTOR = 266, 292, 293, 317
STRIPS, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANES = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
COLOUR_MAP, _INK_SET, EXTRA, _SAMPLE_FORMAT, JPEG_TABLES = 320, 332, 338, 339, 347
_SCALARS = (
    *(WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, SAMPLES, STRIP_ROWS, PLANES, _INK_SET),
    *(TILE_WIDTH, TILE_HEIGHT, FILL_ORDER, T4_OPTIONS, _T6_OPTIONS, PREDICTOR),
)
_ARRAYS = (
    *(BITS, STRIPS, STRIP_BYTES, COLOUR_MAP, TILES, TILE_BYTES, EXTRA, _SAMPLE_FORMAT),
    *(JPEG_TABLES, 530, 531, 532),  # YCbCrSubSampling, YCbCrPositioning, ReferenceBlackWhite
)
LAYOUT_TAGS = frozenset((*_SCALARS, *_ARRAYS))

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_COLOURS = MappingProxyType(
    {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
)
RAW, CCITT_RLE, CCITT_3, CCITT_4, LZW, JPEG, DEFLATE, PACKBITS = 1, 2, 3, 4, 5, 7, 8, 32773
OLD_DEFLATE, LZMA, ZSTD = 32946, 34925, 50000
_CCITT = frozenset({CCITT_RLE, CCITT_3, CCITT_4})
PREDICTABLE = frozenset({LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTD})
_READ = _CCITT | PREDICTABLE | {RAW, JPEG, PACKBITS}
# Like libtiff's own RGBA reader, a fourth sample (a second one of grey) that is unspecified, or
# that no ExtraSamples tag names, is taken for alpha. It counts as straight, which keeps every
# sample as it is stored.
_UNSPECIFIED, ASSOCIATED, _STRAIGHT = 0, 1, 2
_ALPHAS = frozenset({_UNSPECIFIED, ASSOCIATED, _STRAIGHT})
_UNSIGNED, _VOID = 1, 4
_MAX_PAGES = 1 << 16  # reduced copies counted


def page_offset(data: ByteSource) -> tuple[ifd.Layout, int, int]:
    """How numbers are stored, offset of the first page, number of pages.

    A page is a directory that is no reduced copy (bit 0 of NewSubfileType); if all say so, the
    first one is.
    """
    layout, first = ifd.read_start(data)
    pages: list[tuple[int, int]] = []
    total, at = 0, first
    while at:
        page = ifd.read_directory(data, at, layout, only=(SUBFILE,))
        total += page.size_bytes
        if total > len(data):  # directories that overlap, or a ring of them
            raise BrokenImageError("the directories are longer than the file")
        if len(pages) > _MAX_PAGES:
            raise BrokenImageError(f"more than {_MAX_PAGES} pages", code="decode.unsupported")
        pages.append((number(page, SUBFILE, 0) & 1, at))
        at = page.following
    whole = [offset for reduced, offset in pages if not reduced]
    return layout, (whole or [first])[0], max(1, len(whole))


def read_page(data: ByteSource) -> tuple[ifd.Directory, ifd.Layout, int]:
    """The first page's layout tags, how numbers are stored, the number of pages.

    Raises:
        BrokenImageError: It cannot be followed, or gives no size.
    """
    layout, at, pages = page_offset(data)
    page = ifd.read_directory(data, at, layout, only=LAYOUT_TAGS)
    for tag in _SCALARS:
        if tag in page.entries and len(page.entries[tag].integers()) != 1:
            raise BrokenImageError(f"tag {tag} has more than one value")
    if not number(page, WIDTH, 0) or not number(page, HEIGHT, 0):
        raise BrokenImageError("the tags give no size")
    return page, layout, pages


def numbers(page: ifd.Directory, tag: int, default: Iterable[int] = ()) -> list[int]:
    """The values of a tag; raises BrokenImageError if they are no whole numbers."""
    entry = page.entries.get(tag)
    return list(default) if entry is None else entry.integers() or list(default)


def number(page: ifd.Directory, tag: int, default: int) -> int:
    """The first value of a tag; raises BrokenImageError if it is no whole number."""
    return numbers(page, tag, (default,))[0]


def refusal_of(page: ifd.Directory) -> str | None:
    """Why these pixels cannot be read as they are, or None."""
    photometric, compression = number(page, PHOTOMETRIC, 0), number(page, COMPRESSION, RAW)
    bits, extra = numbers(page, BITS, (1,)), numbers(page, EXTRA)
    samples, planes = number(page, SAMPLES, 1), number(page, PLANES, 1)
    colours = _COLOURS.get(photometric)
    if colours is None or (photometric == YCBCR and (compression != JPEG or planes == 2)):
        return f"colours of photometric kind {photometric}; convert to RGB first"
    if any(kind not in (_UNSIGNED, _VOID) for kind in numbers(page, _SAMPLE_FORMAT)):
        return "signed or floating-point samples; convert to 8 or 16 bits first"
    if len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 16):
        return f"{'/'.join(map(str, bits))}-bit samples; convert to 8 or 16 bits first"
    alphas = samples - colours
    if alphas not in (0, 1) or len(extra) > alphas or set(extra) - _ALPHAS:
        return f"{samples} samples a pixel, not all colour or alpha; remove the others first"
    if alphas and photometric in (PALETTE, CMYK):
        return "a palette or CMYK with alpha; convert to RGB first"
    if photometric == CMYK and number(page, _INK_SET, 1) != 1:
        return "inks that are not CMYK; convert to RGB first"
    return _packing_refusal(page, bits[0], samples if planes != 2 else 1, compression)


def _packing_refusal(page: ifd.Directory, bits: int, samples: int, compression: int) -> str | None:
    if compression not in _READ:
        return f"compression {compression}; save with LZW or Deflate first"
    if compression in _CCITT and (bits, samples) != (1, 1):
        return "fax compression of more than one bit; save with LZW or Deflate first"
    if compression == JPEG and (bits != 8 or samples == 2):
        return f"JPEG compression of {samples} x {bits} bits; save with LZW or Deflate first"
    predictor = number(page, PREDICTOR, 1)
    if compression in PREDICTABLE and (predictor not in (1, 2) or (predictor == 2 and bits < 8)):
        return f"predictor {predictor} of {bits} bits; save without one first"
    return None
