from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.evaluation.natural import NUM_FEATURES, normalise_contrast, scene_features, tiled
from tests.evaluation.pictures import fractal

_RNG = np.random.default_rng(0)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_patches_are_the_squares_of_the_grid(height: int, width: int, side: int) -> None:
    plane = np.arange(height * width, dtype=np.float64).reshape(height, width)
    patches = tiled(plane, side)
    across = width // side
    assert patches.shape == (across * (height // side), side, side)
    for number, patch in enumerate(patches):
        y, x = (side * place for place in divmod(number, across))
        assert np.array_equal(patch, plane[y : y + side, x : x + side])


def test_a_flat_plane_has_no_contrast() -> None:
    coefficients, deviation = normalise_contrast(np.full((20, 30), 77.0))
    assert np.abs(coefficients).max() < 1e-4
    assert deviation.max() < 1e-4


def test_light_and_contrast_are_taken_away() -> None:
    plane = fractal(64)[..., 0].astype(np.float64) * 100  # where the 1 beside the deviation is lost
    darker, _ = normalise_contrast(plane / 2 + 9)
    assert darker == pytest.approx(normalise_contrast(plane)[0], abs=0.01)


def test_the_window_is_seven_pixels_wide() -> None:
    plane = np.zeros((21, 21))
    plane[10, 10] = 100
    touched = normalise_contrast(plane)[1] > 0
    expected = np.zeros_like(touched)
    expected[7:14, 7:14] = True
    assert np.array_equal(touched, expected)


def test_the_window_is_a_gaussian_of_7_sixths_of_a_pixel() -> None:
    weights = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    middle = 1 / weights.sum() ** 2
    plane = np.zeros((21, 21))
    plane[10, 10] = 100
    coefficients, deviation = normalise_contrast(plane)
    assert deviation[10, 10] == pytest.approx(100 * math.sqrt(middle - middle**2))
    expected = 100 * (1 - middle) / (deviation[10, 10] + 1)
    assert coefficients[10, 10] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("shape", "draw"), [(2, _RNG.normal), (1, _RNG.laplace)], ids=["normal", "laplace"]
)
def test_the_shape_of_a_distribution_is_found(shape: float, draw: object) -> None:
    assert callable(draw)
    values = draw(0, 1.5, (3, 200, 200))
    features = scene_features(values)
    assert features.shape == (3, NUM_FEATURES)
    assert features[:, 0] == pytest.approx(shape, rel=0.05)
    scale = 1.5 * (math.sqrt(2) if shape == 2 else 1)
    assert features[:, 1] == pytest.approx(scale, rel=0.05)


def test_products_have_the_mean_of_neighbours_that_are_alike() -> None:
    """Rows of one value: a pixel's product with the one beside it is its square, below it is 0."""
    rows = np.broadcast_to(_RNG.normal(0, 1, (1, 4000, 1)), (1, 4000, 8)).copy()
    rows += _RNG.normal(0, 1e-3, rows.shape)
    right, below = scene_features(rows)[0, [3, 7]]
    assert right > 0.5
    assert below == pytest.approx(0, abs=0.1)


def test_mirrored_patches_swap_their_diagonals() -> None:
    coefficients = normalise_contrast(fractal(96)[..., 0].astype(np.float64))[0][None]
    there, back = scene_features(coefficients)[0], scene_features(coefficients[:, :, ::-1])[0]
    assert back[:10] == pytest.approx(there[:10])
    assert back[10:14] == pytest.approx(there[14:18])
    assert back[14:18] == pytest.approx(there[10:14])


def test_a_patch_with_nothing_below_zero_has_no_features() -> None:
    patches = np.stack((np.ones((8, 8)), _RNG.normal(size=(8, 8))))
    known = np.isfinite(scene_features(patches)).all(axis=1)
    assert known.tolist() == [False, True]
