"""Which pairs an image gives: decided before anything is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.geometry import Size
from sdflow.images.texture import texture
from sdflow.tiling.crops import plan_crops

if TYPE_CHECKING:
    from sdflow.geometry import Region
    from sdflow.images.formats import Pixels
    from sdflow.work.parameters import PairParameters


def plan_cuts(pixels: Pixels, given: PairParameters) -> tuple[tuple[int, Region], ...]:
    """Number and place of the HR images that are large and textured enough.

    Args:
        pixels: (H, W, C), sides that are multiples of the scale; either may be 0.
        given: How to cut.
    """
    size = Size(*pixels.shape[:2])
    if not size.pixels:
        return ()
    return tuple(
        (number, region)
        for number, region in enumerate(plan_crops(size, crop=given.crop, stride=given.stride))
        if not given.min_texture or texture(pixels[region.slices]) >= given.min_texture
    )
