"""What the encoders of this machine cost: speed, size, and which of them ``sdflow`` uses."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

from PIL import Image

from sdflow.bench.content import mosaic
from sdflow.images.color import resize_pixels
from sdflow.images.formats import ImageFormat
from sdflow.worker.charts import drawn_photos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sdflow.images.formats import Pixels

FORMATS = tuple(ImageFormat)
QUALITY = 95
_SIDE = 1536
_SCALE = 4
_LIBRARIES = ("pyvips", "tifffile", "imagecodecs")


@dataclass(frozen=True, slots=True)
class Encoder:
    """One way to write an image.

    Attributes:
        format: What is written.
        library: What writes it.
        settings: How, in its own words.
        encode: From (H, W, 3) uint8 to a file.
    """

    format: str
    library: str
    settings: str
    encode: Callable[[Pixels], bytes]


@dataclass(frozen=True, slots=True)
class EncoderRow:
    """What one of them took.

    Attributes:
        format: As above.
        library: As above.
        settings: As above.
        mp_per_s: Megapixels for every second of processor time: what one core does.
        bytes_per_px: Size of the file.
    """

    format: str
    library: str
    settings: str
    mp_per_s: float
    bytes_per_px: float


def missing_libraries() -> list[str]:
    """Those that are not installed; their encoders are left out."""
    return [name for name in _LIBRARIES if _module(name) is None]


def measure_encoders(
    folder: Path | None, *, runs: int, formats: Sequence[str] = FORMATS
) -> list[EncoderRow]:
    """Encode the same image with every encoder, in turns.

    Args:
        folder: Photos to put together for it, see ``content.mosaic``; None for a drawn landscape,
            enlarged.
        runs: Rounds; the median counts.
        formats: Only these.

    Raises:
        UsageError: There is no photo in the folder.
    """
    pixels = _drawn() if folder is None else mosaic(folder, _SIDE)
    encoders = [one for one in _encoders() if one.format in formats]
    seconds: list[list[float]] = [[] for _ in encoders]
    sizes = [0 for _ in encoders]
    for _ in range(runs):
        for number, encoder in enumerate(encoders):
            started = process_time()
            sizes[number] = len(encoder.encode(pixels))
            seconds[number].append(process_time() - started)
    area = pixels.shape[0] * pixels.shape[1]
    return [
        EncoderRow(one.format, one.library, one.settings, area / 1e6 / median(took), size / area)
        for one, took, size in zip(encoders, seconds, sizes, strict=True)
    ]


def encoder_table(rows: Sequence[EncoderRow]) -> str:
    """Markdown, a line each, by format; from the fastest on."""
    rows = sorted(rows, key=lambda row: (FORMATS.index(ImageFormat(row.format)), -row.mp_per_s))
    lines = ["| format | library | settings | MP/s per core | bytes/px |", "|---|---|---|--:|--:|"]
    lines += [
        f"| {row.format} | {row.library} | {row.settings} | {row.mp_per_s:.1f} | "
        f"{row.bytes_per_px:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _drawn() -> Pixels:
    small = drawn_photos(_SIDE // _SCALE)[0]
    return resize_pixels(small, height=_SIDE, width=_SIDE, resample="bicubic")


def _module(name: str) -> Any:  # noqa: ANN401  # a module
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _encoders() -> Iterator[Encoder]:
    yield from _pillow_encoders()
    if _module("pyvips") is not None:
        yield from _vips_encoders()
    if _module("imagecodecs") is not None:
        yield from _imagecodecs_encoders()
        if _module("tifffile") is not None:
            yield from _tifffile_encoders()


def _pillow_encoders() -> Iterator[Encoder]:
    def encoder(name: str, settings: str, **options: object) -> Encoder:
        def encode(pixels: Pixels) -> bytes:
            buffer = BytesIO()
            Image.fromarray(pixels).save(buffer, name, **options)
            return buffer.getvalue()

        return Encoder(name.lower(), "Pillow", settings, encode)

    for level in (1, 6):
        yield encoder("PNG", f"level {level}", compress_level=level)
    for compression in ("tiff_adobe_deflate", "tiff_lzw"):
        yield encoder("TIFF", compression.removeprefix("tiff_"), compression=compression)
    yield encoder("JPEG", f"quality {QUALITY}, 4:4:4", quality=QUALITY, subsampling="4:4:4")
    yield encoder("WEBP", f"quality {QUALITY}, method 4", quality=QUALITY, method=4)
    yield encoder("AVIF", f"quality {QUALITY}, speed 6", quality=QUALITY, speed=6, max_threads=1)


def _vips_encoders() -> Iterator[Encoder]:
    from sdflow.images import vips

    def encoder(name: str, settings: str, **options: object) -> Encoder:
        def encode(pixels: Pixels) -> bytes:
            save = getattr(vips.from_array(pixels), f"{saver}save_buffer")
            data: bytes = save(keep="none", **options)
            return data

        saver = {"avif": "heif"}.get(name, name)
        return Encoder(name, "libvips", settings, encode)

    for level in (1, 2, 6):
        for kind in ("up", "avg", "paeth"):
            yield encoder("png", f"level {level}, filter {kind}", compression=level, filter=kind)
    for compression in ("deflate", "lzw"):
        options = {"compression": compression, "predictor": "horizontal"}
        yield encoder("tiff", f"{compression}, predictor 2", **options)
    full = {"Q": QUALITY, "subsample_mode": "off"}
    yield encoder("jpeg", f"quality {QUALITY}, 4:4:4", **full)
    for effort in (2, 4):
        settings = f"quality {QUALITY}, effort {effort}"
        yield encoder("webp", settings, Q=QUALITY, effort=effort, exact=True)
    for effort in (0, 2):
        settings = f"quality {QUALITY}, effort {effort}, 4:4:4"
        yield encoder("avif", settings, compression="av1", effort=effort, **full)


def _imagecodecs_encoders() -> Iterator[Encoder]:
    from sdflow.images import png_writer

    codecs = _module("imagecodecs")

    def encoder(name: str, settings: str, function: str, **options: object) -> Encoder:
        def encode(pixels: Pixels) -> bytes:
            data: bytes = getattr(codecs, function)(pixels, **options)
            return data

        return Encoder(name, "imagecodecs", settings, encode)

    yield encoder("png", "level 2, filter up", "png_encode", level=2, filter=32)
    rle = {"level": 1, "strategy": 3, "filter": 16}
    yield encoder("png", "level 1, run lengths, filter sub", "png_encode", **rle)
    for level in (1, 2, 6):
        packed = partial(png_writer.write, level=level)
        yield Encoder("png", "sdflow", f"libdeflate {level}, filter up", packed)
    full = {"level": QUALITY, "subsampling": "444"}
    yield encoder("jpeg", f"quality {QUALITY}, 4:4:4", "jpeg8_encode", **full)


def _tifffile_encoders() -> Iterator[Encoder]:
    tifffile = _module("tifffile")

    def encoder(compression: str, level: int | None) -> Encoder:
        def encode(pixels: Pixels) -> bytes:
            buffer = BytesIO()
            tifffile.imwrite(
                buffer,
                pixels,
                photometric="rgb",
                compression=compression,
                compressionargs=None if level is None else {"level": level},
                predictor=2,
                rowsperstrip=64,
                metadata=None,
                maxworkers=1,
            )
            return buffer.getvalue()

        name = compression.removeprefix("adobe_")
        settings = name if level is None else f"{name} {level}"
        return Encoder("tiff", "tifffile", f"{settings}, predictor 2", encode)

    for level in (1, 6):
        yield encoder("adobe_deflate", level)
    for level in (1, 3):
        yield encoder("zstd", level)
    yield encoder("lzw", None)
