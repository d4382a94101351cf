"""Drawn photos to calibrate and try weights with: the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def drawn_photos(side: int) -> list[NDArray[np.uint8]]:
    """Three square RGB images (side, side, 3): a landscape of waves and edges, a star, noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side].astype(np.float64)
    waves = np.stack([np.sin(x / p + y / q) for p, q in ((31, 17), (7, 23), (3, 5))], axis=2)
    edges = ((x // 29 + y // 37) % 2)[..., None] * np.array([0.3, 0.2, 0.25])
    landscape = 0.4 + 0.2 * waves + edges + rng.normal(0, 0.02, (side, side, 3))
    angle = np.arctan2(y - side / 2, x - side / 2)
    star = np.repeat((np.sin(24 * angle) > 0).astype(np.float64)[..., None], 3, axis=2)
    noise = rng.random((side, side, 3))
    return [
        np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8) for image in (landscape, star, noise)
    ]
