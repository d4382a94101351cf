"""Photos to train on, drawn: gradients, discs and stripes, with grain on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def drawn_photo(seed: int, side: int, *, grain: float = 2.0) -> NDArray[np.uint8]:
    """(side, side, 3) uint8, another scene for every seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    shade = rng.normal(size=(3, 2)) * 60
    scene = 128 + shade[:, :1, None] * (x - 0.5) + shade[:, 1:, None] * (y - 0.5)
    for _ in range(12):
        place, radius = rng.random(2), rng.uniform(0.05, 0.3)
        inside = np.hypot(x - place[0], y - place[1]) < radius
        angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 0.12 * side)
        along = x * np.cos(angle) + y * np.sin(angle)
        stripes = 30 * np.sin(2 * np.pi * waves * along) * rng.integers(2)
        colour = rng.uniform(20, 235, (3, 1, 1))
        scene = np.where(inside, colour + stripes, scene)
    noisy = scene + rng.normal(0, grain, scene.shape)
    pixels: NDArray[np.uint8] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return pixels.transpose(1, 2, 0)


def save_photos(folder: Path, *, count: int, side: int, first: int = 0) -> list[str]:
    """Write drawn photos as PNG; returns their names, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"photo{number:03d}.png" for number in range(first, first + count)]
    for number, name in enumerate(names, first):
        Image.fromarray(drawn_photo(number, side)).save(folder / name)
    return names
