"""JPEG, WebP and AVIF, from Pillow, libvips and imagecodecs."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pyvips
from PIL import Image, ImageCms

from sdflow.images.formats import Metadata

from .pictures import Encoding, coded, grain, pillow, ramps, vips
from .samples import FULL, ICC, XMP, exif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.images.formats import Pixels

CMYK_ICC: bytes = pyvips.Image.profile_load("cmyk")
NEAR, CHROMA = 1.5, 3.0  # mean levels that a fine JPEG is off, and one with halved colour


def in_srgb(inks: Pixels) -> Pixels:
    """What Pillow's LittleCMS makes of inks with CMYK_ICC (255 is full ink)."""
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(BytesIO(CMYK_ICC)),
        ImageCms.createProfile("sRGB"),
        "CMYK",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    shown = ImageCms.applyTransform(Image.fromarray(inks, "CMYK"), transform)
    return np.array(shown)


def image_resources(records: bytes) -> bytes:
    """IPTC records as Photoshop keeps them, after a resource with a name."""
    parts = ((b"\x03abc", b"odd"), (b"\0\0", records))
    found = b""
    for number, (name, body) in zip((0x03ED, 0x0404), parts, strict=True):
        start = struct.pack(">4sH", b"8BIM", number) + name + struct.pack(">I", len(body))
        found += start + body + bytes(len(body) % 2)
    return found


def with_photoshop(make: Callable[[], bytes], records: bytes) -> Callable[[], bytes]:
    """A JPEG with IPTC in two segments."""

    def changed() -> bytes:
        data, resources = make(), image_resources(records)
        parts = [b"Photoshop 3.0\0" + part for part in (resources[:20], resources[20:])]
        segments = [struct.pack(">HH", 0xFFED, 2 + len(part)) + part for part in parts]
        return b"".join((data[:2], *segments, data[2:]))

    return changed


def _jpegs() -> Iterator[Encoding]:
    grey, rgb = ramps(1), ramps(3)
    for name, pixels in (("grey", grey), ("RGB", rgb)):
        for progressive in (False, True):
            kind = f"JPEG {name}{' progressive' if progressive else ''}"
            make = pillow(pixels, "JPEG", quality=95, progressive=progressive, subsampling="4:4:4")
            yield Encoding(f"pillow {kind}", make, pixels, NEAR)
            make = vips(pixels, ".jpg", Q=95, interlace=progressive, subsample_mode="off")
            yield Encoding(f"vips {kind}", make, pixels, NEAR)
    for chroma in ("4:2:2", "4:2:0"):
        make = pillow(rgb, "JPEG", quality=95, subsampling=chroma)
        yield Encoding(f"pillow JPEG {chroma}", make, rgb, CHROMA)
    for chroma in ("440", "411"):
        make = coded("jpeg8", rgb, level=95, subsampling=chroma)
        yield Encoding(f"imagecodecs JPEG {chroma}", make, rgb, CHROMA)
    yield Encoding(
        "pillow JPEG RGB Adobe", pillow(rgb, "JPEG", quality=95, keep_rgb=True), rgb, NEAR
    )
    make = pillow(rgb, "JPEG", quality=95, restart_marker_rows=1)
    yield Encoding("pillow JPEG restarts", make, rgb, CHROMA)


def _inks() -> Iterator[Encoding]:
    inks = ramps(4)
    rgb, kept = in_srgb(inks), Metadata(icc=pyvips.Image.profile_load("srgb"))
    image = Image.fromarray(inks, "CMYK")
    for progressive in (False, True):
        options = {"quality": 98, "subsampling": "4:4:4", "progressive": progressive}
        make = pillow(image, "JPEG", icc_profile=CMYK_ICC, **options)
        name = f"pillow JPEG CMYK{' progressive' if progressive else ''}"
        yield Encoding(name, make, rgb, CHROMA, metadata=kept)
    make = pillow(image, "JPEG", quality=98, subsampling="4:4:4")
    yield Encoding("pillow JPEG CMYK without a profile", make, rgb, CHROMA, metadata=kept)
    shown = pyvips.Image.new_from_array(inks).copy(interpretation="cmyk")
    shown.set_type(pyvips.GValue.blob_type, "icc-profile-data", CMYK_ICC)
    make = vips(shown, ".jpg", Q=98, subsample_mode="off")
    yield Encoding("vips JPEG CMYK", make, rgb, CHROMA, metadata=kept)
    spaces = {"colorspace": "CMYK", "outcolorspace": "YCCK", "subsampling": "444"}
    make = coded("jpeg8", np.invert(inks), level=98, **spaces)
    yield Encoding("imagecodecs JPEG YCCK", make, rgb, CHROMA, metadata=kept)


def _surroundings() -> Iterator[Encoding]:
    rgb = ramps(3)
    for orientation in range(1, 9):
        tags = exif(tag_274=orientation)
        make = pillow(
            *(rgb, "JPEG"),
            quality=95,
            exif=b"Exif\0\0" + tags,
            icc_profile=ICC,
            xmp=XMP,
            dpi=(300, 150),
        )
        kept = Metadata(ICC, tags, XMP, dpi=FULL.dpi)
        name = f"pillow JPEG orientation {orientation}"
        yield Encoding(name, make, rgb, CHROMA, orientation, kept)
    records = b"\x1c\2\x50\0\3abc"
    kept = Metadata(iptc=records)
    make = with_photoshop(pillow(rgb, "JPEG", quality=95), records)
    yield Encoding("pillow JPEG IPTC", make, rgb, CHROMA, metadata=kept)
    for suffix in (".jpg", ".webp"):
        shown = pyvips.Image.new_from_array(rgb).copy(interpretation="srgb")
        for field, value in (("icc-profile-data", ICC), ("xmp-data", XMP)):
            shown.set_type(pyvips.GValue.blob_type, field, value)
        shown.set_type(pyvips.GValue.gint_type, "orientation", 6)
        kept = Metadata(ICC, xmp=XMP)
        name = f"vips {suffix[1:]} orientation and profile"
        yield Encoding(name, vips(shown, suffix, Q=95), rgb, 2 * CHROMA, 6, kept)


def _webps() -> Iterator[Encoding]:
    for bands in (3, 4):
        hard, soft = grain(bands), ramps(bands)
        make = pillow(hard, "WEBP", lossless=True, exact=True)
        yield Encoding(f"pillow WebP {bands} lossless", make, hard)
        make = vips(hard, ".webp", lossless=True, exact=True)
        yield Encoding(f"vips WebP {bands} lossless", make, hard)
        make = pillow(soft, "WEBP", quality=95, exact=True)
        yield Encoding(f"pillow WebP {bands} lossy", make, soft, CHROMA)
        make = vips(soft, ".webp", Q=95, exact=True)
        yield Encoding(f"vips WebP {bands} lossy", make, soft, CHROMA)
    rgb, tags = grain(3), exif(tag_274=8)
    options = {"lossless": True, "icc_profile": ICC, "exif": b"Exif\0\0" + tags, "xmp": XMP}
    kept = Metadata(ICC, tags, XMP)
    yield Encoding("pillow WebP metadata", pillow(rgb, "WEBP", **options), rgb, 0, 8, kept)
    frames = [Image.fromarray(np.roll(rgb, step, 0)) for step in range(2)]
    make = pillow(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield Encoding("pillow WebP animation", make, rgb, frames=2)


def _avifs() -> Iterator[Encoding]:
    for bands in (3, 4):
        hard, soft, deep = grain(bands), ramps(bands), ramps(bands, np.uint16)
        make = vips(hard, ".avif", lossless=True)
        yield Encoding(f"vips AVIF {bands} lossless", make, hard)
        make = pillow(soft, "AVIF", quality=95, subsampling="4:4:4", speed=8)
        yield Encoding(f"pillow AVIF {bands}", make, soft, CHROMA)
        for bits in (10, 12):
            make = vips(deep, ".avif", lossless=True, bitdepth=bits)
            levels = deep >> (16 - bits)
            shown: Pixels = (levels << (16 - bits) | levels >> (2 * bits - 16)).astype(np.uint16)
            yield Encoding(f"vips AVIF {bands} x {bits}", make, shown)
    rgb = ramps(3)
    options = {"quality": 95, "subsampling": "4:4:4", "icc_profile": ICC, "xmp": XMP, "speed": 8}
    kept = Metadata(ICC, xmp=XMP)
    for turn in (3, 6, 7):
        make = pillow(rgb, "AVIF", exif=b"Exif\0\0" + exif(tag_274=turn), **options)
        yield Encoding(f"pillow AVIF turned {turn}", make, rgb, CHROMA, turn, kept)
    frames = [Image.fromarray(np.roll(rgb, step, 0)) for step in range(3)]
    make = pillow(frames[0], "AVIF", save_all=True, append_images=frames[1:], quality=95, speed=8)
    yield Encoding("pillow AVIF sequence", make, rgb, CHROMA, frames=3)


LOSSY_ENCODINGS = (*_jpegs(), *_inks(), *_surroundings(), *_webps(), *_avifs())
