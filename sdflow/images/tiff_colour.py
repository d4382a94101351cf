"""From the samples of a TIFF to grey or RGB with straight alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyvips

from sdflow.images.colour_profile import cmyk_to_rgb
from sdflow.images.formats import BrokenImageError
from sdflow.images.tiff_tags import CMYK, PALETTE, WHITE_IS_ZERO
from sdflow.images.vips import VipsError, to_array

if TYPE_CHECKING:
    from sdflow.images.formats import Pixels
    from sdflow.images.tiff_layout import TiffLayout


def to_pixels(layout: TiffLayout, samples: Pixels, icc: bytes | None) -> Pixels:
    """Make pixels of samples (H, W, C) as they are stored.

    Args:
        layout: What they mean.
        samples: May be changed.
        icc: The file's profile, for CMYK.

    Raises:
        BrokenImageError: The profile is damaged.
    """
    if layout.palette is not None and layout.photometric == PALETTE:
        return layout.palette[samples[..., 0]]
    if layout.photometric == CMYK:
        try:
            inks = pyvips.Image.new_from_array(np.ascontiguousarray(samples))
            return to_array(cmyk_to_rgb(inks, icc))
        except VipsError as error:
            raise BrokenImageError(f"libvips: {error}") from error
    top = (1 << layout.bits) - 1
    if layout.photometric == WHITE_IS_ZERO:
        samples[..., 0] = top - samples[..., 0]
    if layout.bits < 8:
        samples *= np.uint8(255 // top)
    return unmultiplied(samples) if layout.associated else samples


def unmultiplied(pixels: Pixels) -> Pixels:
    """Divide colours by their alpha, rounded to nearest; where alpha is 0 they become 0."""
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:].astype(np.uint32)  # 65535 * 65535 + 32767 fits
    scaled = pixels[..., :-1].astype(np.uint32) * np.uint32(top) + alpha // 2
    colours = np.minimum(scaled // np.maximum(alpha, 1), np.uint32(top)) * (alpha > 0)
    return np.concatenate((colours.astype(pixels.dtype), pixels[..., -1:]), axis=2)
