from __future__ import annotations

import numpy as np
import pytest

from sdflow.evaluation.patch_features import FEATURES, patch_features
from tests.evaluation.pictures import as_jpeg, blurred, fractal, noisy

_PHOTO = blurred(fractal(256), 0.7)


def _mean(rgb: np.ndarray) -> dict[str, float]:
    features = patch_features(rgb.astype(np.float64))
    return dict(zip(FEATURES, features.mean(axis=0).tolist(), strict=True))


def test_an_image_gives_16_patches_at_most_and_those_it_has() -> None:
    assert patch_features(_PHOTO.astype(np.float64)).shape == (16, len(FEATURES))
    assert len(patch_features(_PHOTO[:70, :100].astype(np.float64))) == 6
    assert len(patch_features(_PHOTO[:31].astype(np.float64))) == 0


@pytest.mark.parametrize("channel", range(3))
def test_noise_is_seen_in_its_channel(channel: int) -> None:
    louder = _PHOTO.copy()
    louder[..., channel] = noisy(_PHOTO, 8)[..., channel]
    before, after = (list(_mean(one).values())[:3] for one in (_PHOTO, louder))
    others = [number for number in range(3) if number != channel]
    assert after[channel] > before[channel] + 3
    assert [after[number] for number in others] == [before[number] for number in others]


def test_noise_of_one_channel_each_takes_their_correlation() -> None:
    grey = np.repeat(_PHOTO[..., :1], 3, axis=2)
    assert _mean(grey)["noise_colour"] > 0.95
    assert _mean(noisy(grey, 20))["noise_colour"] < 0.2


def test_coarse_grain_is_like_its_neighbours() -> None:
    flat = np.full_like(_PHOTO, 128)
    fine, coarse = _mean(noisy(flat, 20)), _mean(blurred(noisy(flat, 20), 1))
    assert coarse["noise_grain_1px"] > fine["noise_grain_1px"] + 0.3


@pytest.mark.parametrize("start", [0, 3])
def test_blocks_are_seen_wherever_a_crop_begins(start: int) -> None:
    window = np.s_[start : start + 240, start : start + 240]
    squeezed = as_jpeg(_PHOTO, 10)[window]
    assert _mean(squeezed)["blocks"] > _mean(_PHOTO[window])["blocks"] + 0.5


def test_blur_is_seen_in_edges_and_in_fine_detail() -> None:
    sharp, soft = _mean(_PHOTO), _mean(blurred(_PHOTO, 1.5))
    assert soft["edge_width"] > sharp["edge_width"]
    assert soft["fine_detail"] < sharp["fine_detail"]
    assert soft["coarse_detail"] < sharp["coarse_detail"]
    assert soft["gradient"] < sharp["gradient"]


def test_outliers_are_seen_in_the_tails() -> None:
    flat = noisy(np.full_like(_PHOTO, 128), 3)
    specked = flat.copy()
    specked[::16, ::16] = 255
    assert _mean(specked)["gradient_tails"] > _mean(flat)["gradient_tails"] + 1


def test_flat_patches_are_left_out() -> None:
    picture = _PHOTO.copy()
    picture[:, :128] = 255
    found = patch_features(picture.astype(np.float64))
    assert 0 < len(found) < 16
    assert np.isfinite(found).all()
