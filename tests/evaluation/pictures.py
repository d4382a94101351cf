"""Pictures with the spectrum of photos, and ways to make them worse."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdflow.evaluation.libraries import library

if TYPE_CHECKING:
    from numpy.typing import NDArray


_GAUSSIAN = library("scipy.ndimage").gaussian_filter


def fractal(side: int, seed: int = 0, *, deviation: float = 40) -> NDArray[np.uint8]:
    """(side, side, 3): amplitudes fall with frequency, and edges go through it."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) / frequency
    luma = np.fft.ifft2(spectrum).real
    plane = luma / luma.std() + np.sign(_GAUSSIAN(luma, 4))
    tint = _GAUSSIAN(rng.normal(size=(side, side, 3)), (8, 8, 0)) * 5
    return rounded(128 + deviation / 2 * plane[..., None] + deviation / 4 * tint)


def noisy(pixels: NDArray[np.uint8], deviation: float, seed: int = 0) -> NDArray[np.uint8]:
    return rounded(pixels + np.random.default_rng(seed).normal(0, deviation, pixels.shape))


def blurred(pixels: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    return rounded(_GAUSSIAN(pixels.astype(np.float64), (sigma_px, sigma_px, 0)))


def as_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def rounded(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return values.round().clip(0, 255).astype(np.uint8)
