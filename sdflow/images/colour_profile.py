"""From the inks of a print to sRGB, through ICC profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyvips

from sdflow.images.vips import VipsError

if TYPE_CHECKING:
    from typing import Final

_PROFILE_FIELD = "icc-profile-data"
SRGB: Final[bytes] = pyvips.Image.profile_load("srgb")
"""The profile of what ``cmyk_to_rgb`` returns."""
DAMAGED_PROFILE: Final = "damaged ICC profile left out"
"""The note for an image that is read without its profile."""


def cmyk_to_rgb(image: pyvips.Image, icc: bytes | None) -> pyvips.Image:
    """Convert pixel by pixel, relative colorimetric with black point compensation.

    Args:
        image: Four bands of 8 or 16 bits, the whole range being full ink.
        icc: Profile of the inks; a common one (SWOP-like) where it is missing or is not for CMYK.

    Returns:
        sRGB of the same depth.
    """
    inks = image.copy(interpretation="cmyk")
    if icc is not None:
        inks.set_type(pyvips.GValue.blob_type, _PROFILE_FIELD, icc)
    return inks.icc_transform(
        "srgb",
        embedded=True,
        input_profile="cmyk",
        intent="relative",
        black_point_compensation=True,
        depth=8 if image.format == "uchar" else 16,
    )


def usable(icc: bytes | None) -> bytes | None:
    """The profile of inks, or None for one that is damaged so that nothing can be converted."""
    try:
        cmyk_to_rgb(pyvips.Image.black(1, 1, bands=4), icc)
    except VipsError:
        return None
    return icc
