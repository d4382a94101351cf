from __future__ import annotations

import numpy as np
import pytest

from sdflow.images.texture import texture


def test_stripes_and_flat_areas() -> None:
    flat = np.full((16, 16, 3), 90, np.uint8)
    stripes = flat.copy()
    stripes[:, ::2] += 10
    assert texture(flat) == 0
    assert texture(stripes) == pytest.approx(10 / 2)  # every step along rows, none along columns


def test_depth_and_alpha_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (20, 30, 3), np.uint8)
    alpha = rng.integers(0, 256, (20, 30, 1), np.uint8)
    assert texture(np.concatenate([colour, alpha], axis=2)) == texture(colour)
    assert texture(colour.astype(np.uint16) * np.uint16(257)) == pytest.approx(texture(colour))
    assert texture(colour[..., :1]) == pytest.approx(
        texture(np.concatenate([colour[..., :1], alpha], axis=2))
    )


def test_a_single_pixel_has_none() -> None:
    assert texture(np.zeros((1, 1, 3), np.uint8)) == 0
