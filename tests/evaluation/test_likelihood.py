from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sdflow.evaluation.likelihood import SIDE_PX, Likelihood, dequantised
from tests.model.seeded import TINY, photo, seeded_model

_MODEL = seeded_model(TINY)


def test_levels_are_spread_evenly_over_their_own_width() -> None:
    pixels = photo(64, 64)
    values = dequantised(pixels, np.random.default_rng(0))
    offsets = (values + 1) * 127.5 - pixels
    assert -0.5 <= offsets.min() < -0.49
    assert 0.49 < offsets.max() <= 0.5
    assert abs(offsets.mean()) < 0.01
    assert abs(offsets.var() - 1 / 12) < 0.002


def test_bits_are_those_of_the_density_of_eight_bit_levels() -> None:
    """p(levels) = p(x) / 127.5 per number: what an ideal code of whole levels would need."""
    pixels, key = photo(16, 24), "a.png"
    likelihood = Likelihood(_MODEL, seed=3)
    words = np.random.default_rng(_words(3, key))
    image = torch.from_numpy(dequantised(pixels, words)).permute(2, 0, 1)[None].float()
    for bits, log_prob in (
        (likelihood.hr_bits(pixels, key), _MODEL.hr_log_prob(image)),
        (likelihood.lr_bits(pixels, key), _MODEL.lr_log_prob(image)),
    ):
        nats = float(log_prob) - pixels.size * math.log(127.5)
        assert bits == pytest.approx(-nats / math.log(2) / pixels.size, abs=1e-5)


def _words(seed: int, key: str) -> tuple[int, int]:
    from sdflow.noise import NoiseKey

    return NoiseKey(seed, key, 0).words("dequantise")


def test_bits_depend_on_key_and_seed_and_on_the_middle_alone() -> None:
    likelihood = Likelihood(_MODEL, seed=0)
    pixels = photo(SIDE_PX + 8, SIDE_PX + 8)
    bits = likelihood.lr_bits(pixels, "a")
    assert likelihood.lr_bits(pixels, "a") == bits
    assert likelihood.lr_bits(pixels, "b") != bits
    assert Likelihood(_MODEL, seed=1).lr_bits(pixels, "a") != bits
    other = pixels.copy()
    other[:4] = 0
    assert likelihood.lr_bits(other, "a") == bits
    assert likelihood.hr_bits(other, "a") == likelihood.hr_bits(pixels, "a")


def test_deep_pixels_count_as_eight_bit_levels_and_grey_as_colour() -> None:
    likelihood = Likelihood(_MODEL, seed=0)
    grey = photo(16, 16)[..., :1]
    deep = grey.astype(np.uint16) * 257 + 100
    bits = likelihood.hr_bits(np.repeat(grey, 3, axis=2), "a")
    assert likelihood.hr_bits(grey, "a") == bits
    assert likelihood.hr_bits(deep, "a") == bits


def test_what_is_too_small_for_the_network_has_no_bits() -> None:
    likelihood = Likelihood(_MODEL, seed=0)
    assert math.isnan(likelihood.hr_bits(photo(7, 30), "a"))
    assert math.isnan(likelihood.lr_bits(photo(3, 30), "a"))
    assert math.isfinite(likelihood.hr_bits(photo(9, 30), "a"))
