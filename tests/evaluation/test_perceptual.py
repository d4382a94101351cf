from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdflow.errors import UsageError
from sdflow.evaluation.perceptual import haarpsi
from tests.evaluation.pictures import as_jpeg, blurred, fractal, noisy

if TYPE_CHECKING:
    from collections.abc import Callable

_PHOTO = fractal(96)


def test_equal_images_have_an_index_of_one() -> None:
    assert haarpsi(_PHOTO, _PHOTO) == pytest.approx(1)


@pytest.mark.parametrize("worse", [noisy, blurred])
def test_the_more_is_done_to_an_image_the_lower_its_index(
    worse: Callable[..., np.ndarray],
) -> None:
    found = [haarpsi(worse(_PHOTO, amount), _PHOTO) for amount in (0.5, 1, 2, 4, 8, 16)]
    assert found == sorted(found, reverse=True)
    assert all(0 < value < 1 for value in found)


def test_the_index_is_symmetric_and_does_not_know_the_depth() -> None:
    worse = as_jpeg(_PHOTO, 20)
    value = haarpsi(worse, _PHOTO)
    assert haarpsi(_PHOTO, worse) == pytest.approx(value)
    assert haarpsi(worse.astype(np.uint16) * 257, _PHOTO) == pytest.approx(value)


def test_a_change_of_colour_alone_is_seen() -> None:
    grey = np.repeat(_PHOTO[..., :1], 3, axis=2).astype(np.float64)
    tinted = grey + np.array((20, -20 * 0.299 / 0.587, 0))
    assert haarpsi(tinted, grey) < 0.99


def test_images_without_an_edge_have_no_index() -> None:
    black = np.zeros((32, 32, 3), np.uint8)
    assert math.isnan(haarpsi(black, black))


def test_images_of_other_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="one size"):
        haarpsi(_PHOTO[:90], _PHOTO)


def test_the_index_is_the_formula_of_the_paper() -> None:
    one, other = fractal(36, 1), noisy(blurred(fractal(36, 1), 1), 10)
    assert haarpsi(one, other) == pytest.approx(_by_definition(one, other))


def _by_definition(one: np.ndarray, other: np.ndarray) -> float:
    """HaarPSI with whole kernels, pixel by pixel."""
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    mean = np.full((2, 2), 0.25)
    planes = [
        [_convolved(np.dot(image, row), mean)[::2, ::2] for row in yiq] for image in (one, other)
    ]
    above, below = 0.0, 0.0
    weights = []
    for turned in (False, True):
        bands = []
        for luma in (planes[0][0], planes[1][0]):
            kernels = [_haar(2**scale) for scale in (1, 2, 3)]
            bands.append([np.abs(_convolved(luma, k.T if turned else k)) for k in kernels])
        local = (_alike(bands[0][0], bands[1][0]) + _alike(bands[0][1], bands[1][1])) / 2
        weights.append(np.maximum(bands[0][2], bands[1][2]))
        above += np.sum(weights[-1] / (1 + np.exp(-4.2 * local)))
        below += np.sum(weights[-1])
    chroma = [[np.abs(_convolved(plane, mean)) for plane in image[1:]] for image in planes]
    local = (_alike(chroma[0][0], chroma[1][0]) + _alike(chroma[0][1], chroma[1][1])) / 2
    weight = (weights[0] + weights[1]) / 2
    above += np.sum(weight / (1 + np.exp(-4.2 * local)))
    below += np.sum(weight)
    ratio = above / below
    return float((math.log(ratio / (1 - ratio)) / 4.2) ** 2)


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    similarity: np.ndarray = (2 * one * other + 30) / (one**2 + other**2 + 30)
    return similarity


def _haar(side: int) -> np.ndarray:
    kernel = np.ones((side, side)) / side
    kernel[side // 2 :] *= -1
    return kernel


def _convolved(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The middle of the full convolution with zeros outside, as MATLAB's conv2 "same"."""
    side = len(kernel)
    padded = np.pad(plane, side - 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    full = np.einsum("ijkl,kl->ij", windows, kernel[::-1, ::-1])
    first = side // 2  # of the full one; MATLAB rounds (side - 1) / 2 up
    middle: np.ndarray = full[first : first + plane.shape[0], first : first + plane.shape[1]]
    return middle
