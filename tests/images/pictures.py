"""What the table of encodings is made of: pictures, other libraries that write them, and a row."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pyvips
import tifffile
from PIL import Image

from sdflow.images.formats import Metadata
from sdflow.images.orientation import upright
from sdflow.images.vips import from_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sdflow.images.formats import Pixels

HEIGHT, WIDTH = 37, 53  # odd, and larger than a tile of 16 and a JPEG block
NO_METADATA = Metadata()


@dataclass(frozen=True, eq=False, slots=True)
class Encoding:
    """One real file.

    Attributes:
        name: The library that wrote it comes first.
        make: The file.
        pixels: What was written, as it was stored.
        tolerance: Largest mean difference per sample, of 255 or of 65535; 0 means lossless.
        orientation: What the file says; ``expected`` is turned.
        metadata: What must be found; fields that are None are not looked at.
        frames: Images in the file; above 1 only the first one is read.
    """

    name: str
    make: Callable[[], bytes]
    pixels: Pixels
    tolerance: float = 0
    orientation: int = 1
    metadata: Metadata = NO_METADATA
    frames: int = 1

    @property
    def expected(self) -> Pixels:
        """The upright pixels."""
        return upright(self.pixels, self.orientation)

    @property
    def is_lossless(self) -> bool:
        """Whether every bit must be as it was written."""
        return self.tolerance == 0


def grain(bands: int, dtype: type = np.uint8, *, levels: int = 0) -> Pixels:
    """Noise, which no lossy step leaves alone; alpha has clear and opaque parts."""
    top = levels or np.iinfo(dtype).max + 1
    values = np.random.default_rng(bands).integers(0, top, (HEIGHT, WIDTH, bands))
    pixels: Pixels = values.astype(dtype)
    if bands in (2, 4):
        pixels[:9, :, -1], pixels[9:20, :, -1] = 0, np.iinfo(dtype).max
    return pixels


def ramps(bands: int, dtype: type = np.uint8) -> Pixels:
    """Smooth ramps of another direction in every band, which lossy formats keep well."""
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    planes = [x, y, (x + y) / 2, 1 - x * y][:bands]
    pixels: Pixels = np.rint(np.stack(planes, 2) * np.iinfo(dtype).max).astype(dtype)
    return pixels


def picture(pixels: Pixels) -> Image.Image:
    """For Pillow."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def pillow(image: Image.Image | Pixels, format: str, **options: Any) -> Callable[[], bytes]:  # noqa: ANN401 # Pillow's own
    """Pillow with its own libjpeg, zlib, libtiff, libwebp and libavif."""

    def make() -> bytes:
        buffer = BytesIO()
        shown = image if isinstance(image, Image.Image) else picture(image)
        shown.save(buffer, format, **options)
        return buffer.getvalue()

    return make


def vips(image: pyvips.Image | Pixels, suffix: str, **options: Any) -> Callable[[], bytes]:  # noqa: ANN401 # libvips' own
    """libvips with libraries of its own."""

    def make() -> bytes:
        shown = image if isinstance(image, pyvips.Image) else from_array(image)
        found: bytes = shown.write_to_buffer(suffix, **options)
        return found

    return make


def coded(codec: str, pixels: Pixels, **options: Any) -> Callable[[], bytes]:  # noqa: ANN401 # imagecodecs' own
    """One of imagecodecs' codecs, by name."""
    return lambda: bytes(getattr(imagecodecs, f"{codec}_encode")(pixels, **options))


def with_tifffile(*pages: Pixels | NDArray[np.bool], **options: Any) -> Callable[[], bytes]:  # noqa: ANN401 # tifffile's own
    """tifffile with imagecodecs; one band is written as (H, W)."""

    def make() -> bytes:
        buffer = BytesIO()
        big, order = options.get("bigtiff", False), options.get("byteorder", "<")
        rest = {name: options[name] for name in options if name not in ("bigtiff", "byteorder")}
        with tifffile.TiffWriter(buffer, bigtiff=big, byteorder=order) as writer:
            for page in pages:
                flat = page[..., 0] if page.ndim == 3 and page.shape[2] == 1 else page
                writer.write(flat, metadata=None, **rest)
        return buffer.getvalue()

    return make
