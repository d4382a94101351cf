"""Plain bicubic interpolation behind the engine's interface: the honest baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.images.color import pad_to_cells, resize_pixels
from sdflow.tiling.grid import plan_grid
from sdflow.worker.photo import SCALE, Drawing, Drawn, Photo, lr_size
from sdflow.worker.planning import image_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sdflow.errors import SdflowError
    from sdflow.geometry import Size
    from sdflow.tiling.parts import Part
    from sdflow.work.parameters import Task

_TILE_PX = 16  # parts are whole tiles: small ones let the band around a wide image's parts be low
_HALO_PX = 4  # the kernel reaches two LR pixels


class BicubicEngine:
    """Resizes with Pillow's bicubic filter; every sample of an image is the same.

    Args:
        scale: By how much; 1 gives back what comes in.
    """

    batch_px = 1  # nothing is gained by taking images together
    limits = None
    scale = SCALE

    def __init__(self, scale: int = SCALE) -> None:
        self.scale = scale

    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]:
        """Cut a source into parts, as ``TiledEngine.parts``."""
        size_lr = lr_size(size, task, self.scale)
        grid = plan_grid(size_lr, tile=_TILE_PX, halo=_HALO_PX, overlap=0, multiple_of=1)
        return image_parts(grid, size_lr, task, pixel_bytes=pixel_bytes)

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        """Outputs of several photos, one after the other, as ``TiledEngine.draw``."""
        run = self.upscale if drawing.task == "upscale" else self.downscale
        for index, photo in enumerate(photos):
            samples = [
                run(photo.pixels, key=photo.key, seed=drawing.seed, tau=drawing.tau, sample=sample)
                for sample in drawing.samples
            ]
            if photo.within is not None:
                kept = photo.within.kept(drawing.task, self.scale).slices
                samples = [np.ascontiguousarray(pixels[kept]) for pixels in samples]
            yield index, Drawn(tuple(samples))

    def upscale(
        self, image: NDArray[Any], *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> NDArray[Any]:
        """(H, W, 3) pixels to (4H, 4W, 3) of the same depth, if ``scale`` is 4."""
        del key, seed, tau, sample
        height, width = (self.scale * side for side in image.shape[:2])
        return resize_pixels(image, height=height, width=width, resample="bicubic")

    def downscale(
        self, image: NDArray[Any], *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> NDArray[Any]:
        """(H, W, 3) pixels to (ceil(H / 4), ceil(W / 4), 3) of the same depth, if ``scale`` is 4.

        Sides that are no multiple of it are first continued by their last row or column.
        """
        del key, seed, tau, sample
        full = pad_to_cells(image, self.scale)
        height, width = (side // self.scale for side in full.shape[:2])
        return resize_pixels(full, height=height, width=width, resample="bicubic")
