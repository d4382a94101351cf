"""Plain bicubic interpolation behind the engine's interface: the honest baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.images.color import resize_pixels
from sdflow.worker.photo import Drawing, Drawn, Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sdflow.errors import SdflowError

SCALE = 4


class BicubicEngine:
    """Resizes by 4 with Pillow's bicubic filter; every sample of an image is the same."""

    batch_px = 1  # nothing is gained by taking images together
    limits = None

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
            yield index, Drawn(tuple(samples))

    def upscale(
        self, image: NDArray[Any], *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> NDArray[Any]:
        """(H, W, 3) pixels to (4H, 4W, 3) of the same depth."""
        del key, seed, tau, sample
        height, width = image.shape[:2]
        return resize_pixels(image, height=SCALE * height, width=SCALE * width, resample="bicubic")

    def downscale(
        self, image: NDArray[Any], *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> NDArray[Any]:
        """(H, W, 3) pixels to (ceil(H / 4), ceil(W / 4), 3) of the same depth.

        Sides that are no multiple of 4 are first continued by their last row or column.
        """
        del key, seed, tau, sample
        height, width = (-(-side // SCALE) for side in image.shape[:2])
        missing = (SCALE * height - image.shape[0], SCALE * width - image.shape[1])
        padded = np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        return resize_pixels(padded, height=height, width=width, resample="bicubic")
