"""PNG: every kind of pixel, from Pillow, libvips, libspng and by hand."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdflow.images.formats import Metadata

from .encodings_lossy import image_resources
from .pictures import HEIGHT, WIDTH, Encoding, coded, grain, pillow, vips
from .samples import FULL, XMP, exif, png

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.images.formats import Pixels


def packed(levels: Pixels, bits: int) -> bytes:
    """Rows of PNG: a filter byte, then samples of 1 to 16 bits, the highest bit first."""
    rows = levels.reshape(levels.shape[0], -1).astype(np.uint16)
    places = np.arange(bits - 1, -1, -1, dtype=np.uint16)
    spread = (rows[..., None] >> places & 1).astype(np.uint8).reshape(len(rows), -1)
    return b"".join(b"\0" + row.tobytes() for row in np.packbits(spread, axis=1))


def by_hand(
    levels: Pixels, bits: int, colour: int, *chunks: tuple[bytes, bytes]
) -> Callable[[], bytes]:
    return lambda: png((WIDTH, HEIGHT), bits, colour, packed(levels, bits), *chunks)


def keyed(levels: Pixels, key: tuple[int, ...], top: int) -> Pixels:
    """With alpha that is 0 where the colour is ``key``."""
    opaque = (levels != np.array(key, levels.dtype)).any(axis=2, keepdims=True)
    return np.concatenate((levels, (opaque * top).astype(levels.dtype)), axis=2)


def _greys() -> Iterator[Encoding]:
    for bits in (1, 2, 4):
        levels = grain(1, levels=1 << bits)
        shown = levels * np.uint8(255 // ((1 << bits) - 1))
        yield Encoding(f"hand PNG grey {bits}", by_hand(levels, bits, 0), shown)
        trns = (b"tRNS", struct.pack(">H", 1))
        alpha = keyed(levels, (1,), 255)
        alpha[..., 0] = shown[..., 0]
        yield Encoding(f"hand PNG grey {bits} tRNS", by_hand(levels, bits, 0, trns), alpha)
        yield Encoding(f"vips PNG grey {bits}", vips(shown, ".png", bitdepth=bits), shown)
    grey = grain(1)
    yield Encoding("pillow PNG L tRNS", pillow(grey, "PNG", transparency=7), keyed(grey, (7,), 255))
    deep = grain(1, np.uint16, levels=50)
    trns = (b"tRNS", struct.pack(">H", 9))
    yield Encoding("hand PNG grey 16 tRNS", by_hand(deep, 16, 0, trns), keyed(deep, (9,), 65535))
    one = np.where(grey > 99, np.uint8(255), np.uint8(0))
    yield Encoding("pillow PNG 1", pillow(Image.fromarray(one[..., 0]).convert("1"), "PNG"), one)


def _colours() -> Iterator[Encoding]:
    for bands in (1, 2, 3, 4):
        flat, deep = grain(bands), grain(bands, np.uint16)
        yield Encoding(f"pillow PNG {bands} x 8", pillow(flat, "PNG"), flat)
        yield Encoding(f"vips PNG {bands} x 8", vips(flat, ".png"), flat)
        yield Encoding(f"vips PNG {bands} x 16", vips(deep, ".png"), deep)
        name = f"vips PNG {bands} x 16 interlaced"
        yield Encoding(name, vips(deep, ".png", interlace=True), deep)
        code = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
        yield Encoding(f"hand PNG {bands} x 16", by_hand(deep, 16, code), deep)
    rgb, deep = grain(3), grain(3, np.uint16)
    yield Encoding("vips PNG RGB interlaced", vips(rgb, ".png", interlace=True), rgb)
    yield Encoding("pillow PNG grey 16", pillow(deep[..., :1], "PNG"), deep[..., :1])
    yield Encoding("spng PNG RGB 16", coded("spng", deep), deep)
    one = (int(rgb[0, 0, 0]), int(rgb[0, 0, 1]), int(rgb[0, 0, 2]))
    yield Encoding(
        "pillow PNG RGB tRNS", pillow(rgb, "PNG", transparency=one), keyed(rgb, one, 255)
    )
    few = grain(3, np.uint16, levels=3)
    trns = (b"tRNS", struct.pack(">3H", 1, 2, 0))
    yield Encoding("hand PNG RGB 16 tRNS", by_hand(few, 16, 2, trns), keyed(few, (1, 2, 0), 65535))


def _palettes() -> Iterator[Encoding]:
    for bits in (1, 2, 4, 8):
        colours = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3)).astype(np.uint8)
        levels = grain(1, levels=1 << bits)
        shown = colours[levels[..., 0]]
        plte = (b"PLTE", colours.tobytes())
        yield Encoding(f"hand PNG palette {bits}", by_hand(levels, bits, 3, plte), shown)
        alpha = np.full((1 << bits, 1), 255, np.uint8)
        alpha[:2, 0] = 0, 99
        clear = np.concatenate((shown, alpha[levels[..., 0]]), axis=2)
        make = by_hand(levels, bits, 3, plte, (b"tRNS", alpha[:2].tobytes()))
        yield Encoding(f"hand PNG palette {bits} tRNS", make, clear)
        image = Image.fromarray(levels[..., 0]).convert("P")
        image.putpalette(colours.tobytes())
        yield Encoding(f"pillow PNG palette {bits}", pillow(image, "PNG", bits=bits), shown)


def _surroundings() -> Iterator[Encoding]:
    rgb = grain(3)
    rest = {"icc_profile": FULL.icc, "dpi": FULL.dpi}
    for orientation in (3, 6):
        tags = exif(tag_274=orientation)
        make = pillow(rgb, "PNG", exif=b"Exif\0\0" + tags, **rest)
        kept = Metadata(FULL.icc, tags, dpi=FULL.dpi)
        name = f"pillow PNG orientation {orientation}"
        yield Encoding(name, make, rgb, orientation=orientation, metadata=kept)
    packet = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    make = by_hand(rgb, 8, 2, packet, (b"pHYs", struct.pack(">IIB", 11811, 5906, 1)))
    kept = Metadata(xmp=XMP, dpi=(300, 150))
    yield Encoding("hand PNG XMP and density", make, rgb, metadata=kept)
    for name in ("tEXt", "zTXt"):
        records = b"\x1c\2\x50\0\3abc"
        digits = image_resources(records).hex().encode()
        text = b"\niptc\n%8d\n%b\n%b\n" % (len(digits) // 2, digits[:72], digits[72:])
        body = text if name == "tEXt" else b"\0" + zlib.compress(text)
        make = by_hand(rgb, 8, 2, (name.encode(), b"Raw profile type iptc\0" + body))
        kept = Metadata(iptc=records)
        yield Encoding(f"hand PNG IPTC in {name}", make, rgb, metadata=kept)
    frames = [Image.fromarray(np.roll(rgb, step, 0)) for step in range(3)]
    make = pillow(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield Encoding("pillow APNG", make, rgb, frames=3)


PNG_ENCODINGS = (*_greys(), *_colours(), *_palettes(), *_surroundings())
