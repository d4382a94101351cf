"""TIFF: from tifffile with imagecodecs, from Pillow's libtiff, from libvips' and by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyvips
from PIL import Image

from sdflow.images.formats import Metadata
from sdflow.images.vips import from_array

from .encodings_lossy import CHROMA, CMYK_ICC, NEAR, image_resources, in_srgb
from .encodings_png import packed
from .pictures import HEIGHT, WIDTH, Encoding, grain, pillow, ramps, vips, with_tifffile
from .samples import FULL, ICC, XMP, tiff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.images.formats import Pixels

TILE = (16, 32)


def multiplied(pixels: Pixels) -> Pixels:
    """With associated alpha: colours times alpha, rounded."""
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:].astype(float) / top
    colours = np.rint(pixels[..., :-1] * alpha).astype(pixels.dtype)
    return np.concatenate((colours, pixels[..., -1:]), axis=2)


def divided(pixels: Pixels) -> Pixels:
    """Back to straight alpha, in floating point; clear pixels have no colour."""
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:].astype(float)
    colours = np.where(alpha > 0, pixels[..., :-1].astype(float) * top / np.maximum(alpha, 1), 0)
    whole = np.minimum(np.floor(colours + 0.5), top).astype(pixels.dtype)
    return np.concatenate((whole, pixels[..., -1:]), axis=2)


def _kinds() -> Iterator[Encoding]:
    for dtype, bits in ((np.uint8, 8), (np.uint16, 16)):
        for bands in (1, 2, 3, 4):
            pixels = grain(bands, dtype)
            photometric = "rgb" if bands > 2 else "minisblack"
            extra = ["unassalpha"] if bands in (2, 4) else None
            options = {"photometric": photometric, "extrasamples": extra}
            name = f"TIFF {bands} x {bits}"
            yield Encoding(f"tifffile {name}", with_tifffile(pixels, **options), pixels)
            yield Encoding(f"vips {name}", vips(pixels, ".tif"), pixels)
            if bands > 1:
                planes = pixels.transpose(2, 0, 1)
                make = with_tifffile(planes, planarconfig="separate", **options)
                yield Encoding(f"tifffile {name} planar", make, pixels)
            if extra:
                stored = multiplied(pixels)
                make = with_tifffile(
                    stored, photometric=photometric, extrasamples=["assocalpha"], tile=TILE
                )
                yield Encoding(f"tifffile {name} associated", make, divided(stored))
        grey = grain(1, dtype)
        inverted = np.iinfo(dtype).max - grey
        make = with_tifffile(inverted, photometric="miniswhite")
        yield Encoding(f"tifffile TIFF white is zero {bits}", make, grey)
    for mode, bands in (("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)):
        pixels = grain(bands)
        yield Encoding(f"pillow TIFF {mode}", pillow(pixels, "TIFF"), pixels)


def _small() -> Iterator[Encoding]:
    grey = grain(1)
    one = np.where(grey > 99, np.uint8(255), np.uint8(0))
    image = Image.fromarray(one[..., 0]).convert("1")
    for packing in ("raw", "group3", "group4", "packbits", "tiff_lzw", "tiff_adobe_deflate"):
        yield Encoding(f"pillow TIFF 1 {packing}", pillow(image, "TIFF", compression=packing), one)
    make = vips(one, ".tif", bitdepth=1, compression="ccittfax4", miniswhite=True)
    yield Encoding("vips TIFF 1 fax, white is zero", make, one)
    make = with_tifffile(one[..., 0] > 0, photometric="minisblack", compression="packbits")
    yield Encoding("tifffile TIFF 1", make, one)
    for bits in (2, 4):
        levels = grain(1, levels=1 << bits)
        shown = levels * np.uint8(255 // ((1 << bits) - 1))
        even = shown[:, :-1]  # libvips loses the last sample of an odd number of 4 bits
        yield Encoding(f"vips TIFF grey {bits}", vips(even, ".tif", bitdepth=bits), even)
        rows = b"".join(row[1:] for row in _rows(packed(levels, bits)))
        tags = {"tag_256": WIDTH, "tag_257": HEIGHT, "tag_258": bits, "tag_277": 1, "tag_278": 37}
        make = partial(tiff, rows, **tags, tag_262=0)
        yield Encoding(f"hand TIFF grey {bits}, white is zero", make, 255 - shown)


def _rows(stream: bytes) -> list[bytes]:
    size = len(stream) // HEIGHT
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def _palettes() -> Iterator[Encoding]:
    levels = grain(1)
    flat = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    deep = np.random.default_rng(2).integers(0, 65536, (256, 3)).astype(np.uint16)
    image = Image.fromarray(levels[..., 0]).convert("P")
    image.putpalette(flat.tobytes())
    shown = flat[levels[..., 0]]
    yield Encoding("pillow TIFF palette", pillow(image, "TIFF", compression="tiff_lzw"), shown)
    for name, colours in (("8", flat.astype(np.uint16) * 257), ("16", deep)):
        make = with_tifffile(levels, photometric="palette", colormap=colours.T, tile=TILE)
        expected = shown if name == "8" else deep[levels[..., 0]]
        yield Encoding(f"tifffile TIFF palette of {name} bits", make, expected)


def _packings() -> Iterator[Encoding]:
    rgb, deep, soft = grain(3), grain(3, np.uint16), ramps(3)
    for packing in ("packbits", "lzw", "zlib", "deflate", "zstd", "lzma"):
        make = with_tifffile(rgb, photometric="rgb", compression=packing, rowsperstrip=8)
        yield Encoding(f"tifffile TIFF {packing}", make, rgb)
    for packing in ("lzw", "deflate", "zstd"):
        make = with_tifffile(
            *(deep,),
            photometric="rgb",
            compression=packing,
            predictor=2,
            tile=TILE,
            byteorder=">",
        )
        yield Encoding(f"tifffile TIFF 16 {packing} predictor tiles MM", make, deep)
    for packing in ("packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd"):
        yield Encoding(f"pillow TIFF {packing}", pillow(rgb, "TIFF", compression=packing), rgb)
    for packing in ("lzw", "deflate", "packbits"):
        make = vips(deep, ".tif", compression=packing, predictor="horizontal")
        yield Encoding(f"vips TIFF 16 {packing}", make, deep)
    make = vips(rgb, ".tif", tile=True, tile_width=16, tile_height=16, bigtiff=True)
    yield Encoding("vips BigTIFF tiles", make, rgb)
    make = with_tifffile(rgb, photometric="rgb", bigtiff=True, byteorder=">", rowsperstrip=5)
    yield Encoding("tifffile BigTIFF MM strips", make, rgb)
    make = pillow(rgb, "TIFF", big_tiff=True)
    yield Encoding("pillow BigTIFF", make, rgb)
    yield Encoding(
        "pillow TIFF JPEG", pillow(soft, "TIFF", compression="jpeg", quality=95), soft, CHROMA
    )
    for photometric, tile in (("rgb", None), ("ycbcr", TILE)):
        make = with_tifffile(
            *(soft,),
            photometric="rgb",
            compression="jpeg",
            tile=tile,
            compressionargs={"level": 95, "outcolorspace": photometric},
        )
        yield Encoding(f"tifffile TIFF JPEG {photometric}", make, soft, CHROMA)
    for bands in (1, 3):
        make = vips(ramps(bands), ".tif", compression="jpeg", Q=95, tile=True, tile_width=16)
        yield Encoding(f"vips TIFF JPEG {bands} tiles", make, ramps(bands), CHROMA)


def _inks() -> Iterator[Encoding]:
    kept = Metadata(icc=pyvips.Image.profile_load("srgb"))
    inks = ramps(4)
    shown = in_srgb(inks)
    make = pillow(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=CMYK_ICC)
    yield Encoding("pillow TIFF CMYK", make, shown, NEAR, metadata=kept)
    options = {"photometric": "separated", "iccprofile": CMYK_ICC, "compression": "lzw"}
    make = with_tifffile(inks, tile=TILE, **options)
    yield Encoding("tifffile TIFF CMYK tiles", make, shown, NEAR, metadata=kept)
    make = with_tifffile(inks.astype(np.uint16) * 257, **options)
    yield Encoding("tifffile TIFF CMYK 16", make, shown.astype(np.uint16) * 257, 257, metadata=kept)
    make = with_tifffile(inks, photometric="separated", compression="jpeg")
    yield Encoding("tifffile TIFF CMYK JPEG", make, shown, 2 * CHROMA, metadata=kept)


def _surroundings() -> Iterator[Encoding]:
    rgb = grain(3)
    for orientation in (2, 5, 8):
        make = pillow(
            *(rgb, "TIFF"),
            tiffinfo={274: orientation, 271: "Maker"},
            icc_profile=ICC,
            dpi=(300, 150),
            compression="tiff_lzw",
        )
        kept = Metadata(icc=ICC, dpi=FULL.dpi)
        name = f"pillow TIFF orientation {orientation}"
        yield Encoding(name, make, rgb, 0, orientation, kept)
    extra = [
        (274, 3, 1, 6, True),
        (700, 1, len(XMP), XMP, True),
        (33723, 7, 5, b"\x1c\2\0ab", True),
    ]
    make = with_tifffile(
        *(rgb,),
        photometric="rgb",
        iccprofile=ICC,
        extratags=extra,
        resolutionunit=3,
        resolution=(100, 50),
    )
    kept = Metadata(ICC, None, XMP, b"\x1c\2\0ab", (254, 127))
    yield Encoding("tifffile TIFF metadata", make, rgb, 0, 6, kept)
    resources = image_resources(b"\x1c\2\x50\0\3abc")
    extra = [(34377, 7, len(resources), resources, True), (37724, 7, 50, bytes(50), True)]
    make = with_tifffile(rgb, photometric="rgb", extratags=extra)
    kept = Metadata(iptc=b"\x1c\2\x50\0\3abc")
    yield Encoding("tifffile TIFF IPTC of Photoshop", make, rgb, metadata=kept)
    shown = from_array(rgb)
    shown.set_type(pyvips.GValue.gint_type, "orientation", 7)
    shown.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    make = vips(shown, ".tif", pyramid=True, tile=True, tile_width=16, tile_height=16)
    yield Encoding("vips TIFF pyramid", make, rgb, 0, 7, Metadata(xmp=XMP))
    make = with_tifffile(rgb, np.roll(rgb, 1, 0), photometric="rgb")
    yield Encoding("tifffile TIFF two pages", make, rgb, frames=2)


TIFF_ENCODINGS = (
    *(*_kinds(), *_small(), *_palettes()),
    *(*_packings(), *_inks(), *_surroundings()),
)
