from __future__ import annotations

import math

import numpy as np
import pytest

from sdflow.evaluation.noise_spectrum import FREQUENCIES, noise_spectrum
from tests.evaluation.pictures import blurred, fractal

_RNG = np.random.default_rng(0)
_GREY_NOISE = np.repeat(_RNG.normal(size=(256, 256, 1)), 3, axis=2)


def _spectrum(rgb: np.ndarray) -> np.ndarray:
    found = noise_spectrum(rgb.astype(np.float64))
    assert found is not None
    return found


@pytest.mark.parametrize("deviation", [1, 5])
def test_white_noise_has_its_variance_at_high_frequencies(deviation: float) -> None:
    luma = _spectrum(128 + deviation * _GREY_NOISE)[0]
    expected = 10 * math.log10(deviation**2 + 1 / 12)
    high = FREQUENCIES > 0.25
    assert luma[high].mean() == pytest.approx(expected, abs=0.4)
    assert luma[high] == pytest.approx(expected, abs=1)


def test_grey_noise_has_no_colour() -> None:
    _, blue, red = _spectrum(128 + 5 * _GREY_NOISE)
    rounding = 10 * math.log10(1 / 12)
    assert blue == pytest.approx(rounding, abs=0.01)
    assert red == pytest.approx(rounding, abs=0.01)


def test_noise_through_a_lens_has_less_of_high_frequencies() -> None:
    sharp = _spectrum(128 + 10 * _GREY_NOISE)[0]
    soft = _spectrum(blurred(np.clip(128 + 10 * _GREY_NOISE, 0, 255).astype(np.uint8), 0.7))[0]
    drop = sharp - soft
    expected = 10 * math.log10(math.e) * (2 * math.pi * 0.7 * FREQUENCIES) ** 2  # a Gaussian's
    assert drop[:8] == pytest.approx(expected[:8], abs=1)


def test_noise_is_found_beside_structure() -> None:
    picture = fractal(256).astype(np.float64)
    picture[:64] = 128
    louder = _spectrum(picture + 4 * _GREY_NOISE) - _spectrum(picture + 2 * _GREY_NOISE)
    assert louder[0, 2:] == pytest.approx(10 * math.log10((16 + 1 / 12) / (4 + 1 / 12)), abs=0.3)


def test_clipped_patches_and_small_images_say_nothing() -> None:
    white = np.full((64, 64, 3), 255.0)
    assert noise_spectrum(white) is None
    assert noise_spectrum(white[:31] / 2) is None
    white[:32, :32] = 128 + _GREY_NOISE[:32, :32]
    assert _spectrum(white)[0, -1] > -3
