"""Channels of pixel arrays: what the network sees, what goes around it, and classical resizing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdflow.images.formats import Pixels

Resample: TypeAlias = Literal["bicubic", "lanczos"]


@dataclass(frozen=True, eq=False, slots=True)
class Rest:
    """What ``split_channels`` keeps from the network.

    Attributes:
        alpha: (H, W) of the image's dtype, or None.
        grey: The three channels are one, repeated.
    """

    alpha: Pixels | None
    grey: bool


def split_channels(pixels: Pixels) -> tuple[Pixels, Rest]:
    """Split (H, W, 1 to 4) into (H, W, 3) of the same dtype and the rest.

    Grey is repeated three times. The results may be views.
    """
    bands = pixels.shape[2]
    grey, has_alpha = bands < 3, bands in (2, 4)
    rgb = np.repeat(pixels[..., :1], 3, axis=2) if grey else pixels[..., :3]
    return rgb, Rest(pixels[..., -1] if has_alpha else None, grey)


def join_channels(rgb: Pixels, alpha: Pixels | None, *, grey: bool) -> Pixels:
    """Undo ``split_channels`` for pixels that were resized meanwhile.

    Args:
        rgb: (H, W, 3), uint8 or uint16.
        alpha: (H, W) of the same dtype, or None.
        grey: Make one channel of three: their mean, rounded to the nearest. (A third of an
            integer is never halfway between two.)

    Returns:
        (H, W, 1 to 4) of the dtype of ``rgb``.
    """
    colour = rgb
    if grey:
        total = rgb.sum(axis=2, keepdims=True, dtype=np.uint32)
        colour = ((total + 1) // 3).astype(rgb.dtype)
    return colour if alpha is None else np.concatenate((colour, alpha[..., None]), axis=2)


def pad_to_cells(pixels: Pixels, side: int) -> Pixels:
    """Continue (H, W, ...) by its last row and column to multiples of ``side``."""
    missing = (-pixels.shape[0] % side, -pixels.shape[1] % side)
    if not any(missing):
        return pixels
    rest = [(0, 0)] * (pixels.ndim - 2)
    return np.pad(pixels, [(0, missing[0]), (0, missing[1]), *rest], mode="edge")


def resize_plane(
    plane: Pixels, *, height: int, width: int, resample: Resample = "lanczos"
) -> Pixels:
    """Resize one channel (H, W) with Pillow; a flat channel stays exactly flat.

    uint8 is Pillow's own arithmetic for ``L``. uint16 goes through float32, which holds every
    level, and is rounded to the nearest (halves up) and clipped.

    Args:
        plane: (H, W), uint8 or uint16, at least one pixel.
        height: New number of rows, at least 1.
        width: New number of columns, at least 1.
        resample: Pillow's kernels: bicubic with a = -1/2, or Lanczos with three lobes; both are
            widened when making smaller.

    Returns:
        (height, width) of the dtype of ``plane``.
    """
    kernel = Image.Resampling[resample.upper()]
    if plane.dtype == np.uint8:
        return np.array(
            Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), kernel)
        )
    image = Image.fromarray(plane.astype(np.float32)).resize((width, height), kernel)
    levels: NDArray[np.float32] = np.asarray(image) + np.float32(0.5)
    np.floor(levels, out=levels)
    return levels.clip(0, np.iinfo(np.uint16).max, out=levels).astype(np.uint16)


def resize_pixels(pixels: Pixels, *, height: int, width: int, resample: Resample) -> Pixels:
    """Resize (H, W, C) channel by channel, as ``resize_plane`` does.

    For 8-bit RGB this equals Pillow's ``Image.resize``. Alpha is one more channel: unlike
    Pillow's RGBA, colours are not weighted by it.

    Returns:
        (height, width, C) of the dtype of ``pixels``.
    """
    resized: Pixels = np.empty((height, width, pixels.shape[2]), pixels.dtype)
    for band in range(pixels.shape[2]):
        plane = pixels[..., band]
        resized[..., band] = resize_plane(plane, height=height, width=width, resample=resample)
    return resized
