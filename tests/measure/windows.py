"""Windows of a gigapixel result beside Pillow's own bicubic of the same windows of the source."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyvips
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SIDE_PX = 128
_MARGIN_PX = 4  # the kernel reaches two
_SCALE = 4


@dataclass(frozen=True)
class Difference:
    """How far a result is from the direct computation, over all windows, in levels of 255.

    Attributes:
        windows: How many were compared.
        most: Largest difference of one sample.
        mean: Mean difference.
    """

    windows: int
    most: int
    mean: float


def compare(source: Path, result: Path, *, count: int) -> Difference:
    """Compare the corners, the middle, and windows at places that a fixed seed chooses.

    Raises:
        RuntimeError: The result has not four times the size of the source.
    """
    before, after = _size(source), _size(result)
    if after != (_SCALE * before[0], _SCALE * before[1]):
        raise RuntimeError(f"{result.name}: {after} is not {_SCALE} x {before}")
    places = _places(before, count)
    sources = _Reader(source)
    results = _Reader(result)
    differences = []
    for y, x in places:
        expected = _upscaled(sources, before, y, x)
        found = results.window(_SCALE * y, _SCALE * x, _SCALE * _SIDE_PX)
        differences.append(np.abs(expected.astype(np.int16) - found))
    everything = np.stack(differences)
    return Difference(len(places), int(everything.max()), float(everything.mean()))


class _Reader:
    """Reads windows from top to bottom; of a JPEG only the band that is needed is held."""

    def __init__(self, path: Path) -> None:
        self._is_random = path.suffix == ".tif"
        access = "random" if self._is_random else "sequential"
        self._image = pyvips.Image.new_from_file(str(path), access=access)
        self._region = pyvips.Region.new(self._image)
        self._band: NDArray[np.uint8] = np.zeros((0, self._image.width, 3), np.uint8)
        self._top = 0

    def window(self, y: int, x: int, side: int, width: int | None = None) -> NDArray[np.uint8]:
        """(side, width or side, 3) pixels; y never decreases."""
        width = width or side
        if self._is_random:
            return self._fetch(x, y, width, side)
        full = self._image.width
        while self._top + len(self._band) < y + side:
            keep = self._band[max(0, min(y - self._top, len(self._band))) :]
            bottom = self._top + len(self._band)
            more = self._fetch(0, bottom, full, min(64, y + side - bottom))
            self._top, self._band = bottom - len(keep), np.concatenate([keep, more])
        return self._band[y - self._top : y - self._top + side, x : x + width]

    def _fetch(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        pixels = np.frombuffer(self._region.fetch(x, y, width, height), np.uint8)
        return pixels.reshape(height, width, self._image.bands)


def _size(path: Path) -> tuple[int, int]:
    image = pyvips.Image.new_from_file(str(path), access="sequential")
    return image.height, image.width


def _places(size: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Top left corners in the source, from top to bottom."""
    rng = random.Random(0)  # noqa: S311 - chooses samples, guards no secret
    last_y, last_x = size[0] - _SIDE_PX, size[1] - _SIDE_PX
    corners = [(0, 0), (0, last_x), (last_y // 2, last_x // 2), (last_y, 0), (last_y, last_x)]
    others = [(rng.randint(0, last_y), rng.randint(0, last_x)) for _ in range(count)]
    return sorted([*corners, *others])


def _upscaled(reader: _Reader, size: tuple[int, int], y: int, x: int) -> NDArray[np.uint8]:
    """Pillow's bicubic of a window of the source, computed with real neighbours around it."""
    top, left = max(0, y - _MARGIN_PX), max(0, x - _MARGIN_PX)
    bottom = min(size[0], y + _SIDE_PX + _MARGIN_PX)
    right = min(size[1], x + _SIDE_PX + _MARGIN_PX)
    window = reader.window(top, left, bottom - top, right - left)
    large = (_SCALE * (right - left), _SCALE * (bottom - top))
    pixels = np.asarray(Image.fromarray(window).resize(large, Image.Resampling.BICUBIC))
    y, x = _SCALE * (y - top), _SCALE * (x - left)
    return pixels[y : y + _SCALE * _SIDE_PX, x : x + _SCALE * _SIDE_PX]
