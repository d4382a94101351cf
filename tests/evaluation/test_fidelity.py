from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdflow.errors import UsageError
from sdflow.evaluation.fidelity import consistency, ms_ssim, psnr, ssim
from sdflow.evaluation.planes import limited_luma, mixed
from tests.evaluation.pictures import blurred, fractal, noisy

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.evaluation.fidelity import Channel

_PHOTO = fractal(184)
_MEASURES = (psnr, ssim, ms_ssim)


@given(st.integers(1, 100))
def test_psnr_of_a_constant_difference_is_the_formula(difference: int) -> None:
    dark = np.full((20, 24, 3), 50, np.uint8)
    light = dark + np.uint8(difference)
    in_rgb = 20 * math.log10(255 / difference)
    assert psnr(dark, light, channel="rgb") == pytest.approx(in_rgb)
    assert psnr(dark, light) == pytest.approx(in_rgb + 20 * math.log10(255 / 219))


def test_luma_is_that_of_bt_601_and_not_rounded() -> None:
    rgb = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255.0]]])
    assert limited_luma(rgb)[0] == pytest.approx([16, 235, 81.481, 144.553, 40.966])


@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_equal_images_are_perfect(channel: Channel) -> None:
    assert psnr(_PHOTO, _PHOTO, channel=channel) == math.inf
    assert ssim(_PHOTO, _PHOTO, channel=channel) == pytest.approx(1)
    assert ms_ssim(_PHOTO, _PHOTO, channel=channel) == pytest.approx(1)


@pytest.mark.parametrize("measure", _MEASURES)
@pytest.mark.parametrize("worse", [noisy, blurred])
def test_the_more_is_done_to_an_image_the_lower_it_is(
    measure: Callable[..., float], worse: Callable[..., np.ndarray]
) -> None:
    found = [measure(worse(_PHOTO, amount), _PHOTO) for amount in (0.5, 1, 2, 4, 8)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("measure", _MEASURES)
@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_neither_order_nor_depth_nor_form_matters(
    measure: Callable[..., float], channel: Channel
) -> None:
    worse = noisy(_PHOTO, 8)
    value = measure(worse, _PHOTO, channel=channel)
    assert measure(_PHOTO, worse, channel=channel) == pytest.approx(value)
    deep = worse.astype(np.uint16) * 257
    assert measure(deep, _PHOTO.astype(np.float64), channel=channel) == pytest.approx(value)
    grey = worse[..., 0], _PHOTO[..., :1]
    in_colour = [np.repeat(np.atleast_3d(one), 3, axis=2) for one in grey]
    assert measure(*grey, channel=channel) == pytest.approx(measure(*in_colour, channel=channel))


@pytest.mark.parametrize("measure", _MEASURES)
def test_the_border_does_not_count(measure: Callable[..., float]) -> None:
    framed = np.zeros_like(_PHOTO)
    framed[4:-4, 4:-4] = _PHOTO[4:-4, 4:-4]
    assert measure(framed, _PHOTO) == pytest.approx(measure(_PHOTO, _PHOTO))
    assert measure(framed, _PHOTO, border_px=3) < measure(_PHOTO, _PHOTO)


def test_ssim_of_one_window_is_the_formula() -> None:
    one, other = (fractal(11, seed)[..., 0].astype(np.float64) for seed in (1, 2))
    luminance, structure = _compared(one, other)
    expected = (luminance * structure).item()
    assert ssim(one, other, channel="rgb", border_px=0) == pytest.approx(expected)


def _compared(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The factors l and cs of SSIM, wherever the whole window of 11 x 11 lies inside."""
    along = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(along, along) / along.sum() ** 2

    def mean(values: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(values, window.shape)
        means: np.ndarray = np.einsum("ijkl,kl->ij", windows, window)
        return means

    m1, m2 = mean(one), mean(other)
    variances = mean(one**2) - m1**2 + mean(other**2) - m2**2
    covariance = mean(one * other) - m1 * m2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance: np.ndarray = (2 * m1 * m2 + c1) / (m1**2 + m2**2 + c1)
    structure: np.ndarray = (2 * covariance + c2) / (variances + c2)
    return luminance, structure


@settings(max_examples=20)
@given(st.integers(0, 255), st.integers(0, 255))
def test_flat_images_differ_in_the_luminance_of_the_coarsest_scale(one: int, other: int) -> None:
    flat = [np.full((176, 176), level, np.uint8) for level in (one, other)]
    c1 = (0.01 * 255) ** 2
    luminance = (2 * one * other + c1) / (one**2 + other**2 + c1)
    value = ms_ssim(*flat, channel="rgb", border_px=0)
    assert value == pytest.approx(luminance**0.1333, rel=1e-6)


def test_ms_ssim_is_the_formula_of_the_paper() -> None:
    picture = fractal(176)  # which can be halved four times
    worse = noisy(blurred(picture, 1), 9)
    one, other = (image[..., 0].astype(np.float64) for image in (picture, worse))
    found = ms_ssim(one, other, channel="rgb", border_px=0)
    expected = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        luminance, structure = _compared(one, other)
        last = weight == 0.1333
        expected *= float(np.mean(luminance * structure if last else structure)) ** weight
        if last:
            break
        one, other = (
            (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4
            for plane in (one, other)
        )
    assert found == pytest.approx(expected)


def test_an_inverted_image_has_no_structure_in_common() -> None:
    assert ssim(255 - _PHOTO, _PHOTO) < 0
    assert ms_ssim(255 - _PHOTO, _PHOTO) == 0


def test_what_is_too_small_has_no_value() -> None:
    small = _PHOTO[:18, :18]
    assert math.isnan(ssim(small, small))
    assert math.isnan(psnr(small[:8], small[:8]))
    assert math.isnan(ms_ssim(_PHOTO[:183], _PHOTO[:183]))
    assert ms_ssim(_PHOTO, _PHOTO) == pytest.approx(1)


def test_consistency_is_over_every_pixel_and_channel() -> None:
    changed = _PHOTO.copy()
    changed[0, 0, 2] ^= 16
    assert consistency(changed, _PHOTO) == pytest.approx(
        10 * math.log10(255**2 * _PHOTO.size / 16**2)
    )


@pytest.mark.parametrize("measure", [*_MEASURES, consistency])
def test_images_of_other_sizes_or_with_alpha_are_refused(measure: Callable[..., float]) -> None:
    with pytest.raises(UsageError, match="184 x 90 px with 184 x 184 px"):
        measure(_PHOTO[:90], _PHOTO)
    with pytest.raises(UsageError, match="grey or RGB"):
        measure(np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 4), np.uint8))


def test_planes_are_mixed_by_rows() -> None:
    rgb = _PHOTO.astype(np.float64)
    planes = mixed(rgb, np.array([[0, 0, 1.0], [2, 0, 0]]))
    assert np.array_equal(planes, np.stack((rgb[..., 2], 2 * rgb[..., 0])))
