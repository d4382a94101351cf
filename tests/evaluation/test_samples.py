from __future__ import annotations

import math

import numpy as np
import pytest

from sdflow.evaluation.samples import diversity, mean_gain, spread_map
from tests.evaluation.pictures import fractal, noisy

_TRUTH = fractal(96, deviation=20)


def test_equal_samples_do_not_spread_and_their_mean_gains_nothing() -> None:
    samples = [noisy(_TRUTH, 5)] * 3
    assert not spread_map(samples).any()
    assert mean_gain(samples, _TRUTH) == pytest.approx(0)


def test_spread_is_the_deviation_of_the_noise_where_it_is() -> None:
    samples = np.stack([noisy(_TRUTH, 8, seed) for seed in range(12)])
    samples[:, :48] = _TRUTH[:48]
    spread = spread_map(samples)
    assert spread.shape == (96, 96)
    assert not spread[:48].any()
    assert spread[48:].mean() == pytest.approx(8, rel=0.05)
    assert diversity(samples) == pytest.approx(spread.mean())


def test_deep_samples_spread_on_the_scale_of_8_bits() -> None:
    samples = np.stack([noisy(_TRUTH, 8, seed) for seed in range(2)])
    deep = samples.astype(np.uint16) * 257
    assert spread_map(deep) == pytest.approx(spread_map(samples))


def test_one_sample_has_no_spread_to_tell() -> None:
    assert math.isnan(diversity([_TRUTH]))


def test_the_mean_of_errors_that_know_nothing_of_each_other_gains_10_log_of_their_number() -> None:
    samples = [noisy(_TRUTH, 10, seed) for seed in range(8)]
    assert mean_gain(samples, _TRUTH, channel="rgb") == pytest.approx(10 * math.log10(8), abs=0.1)


def test_the_mean_gains_3_db_at_most_where_the_truth_is_one_of_them() -> None:
    truth = noisy(_TRUTH, 10, 100)
    samples = [noisy(_TRUTH, 10, seed) for seed in range(32)]
    expected = 10 * math.log10(2 / (1 + 1 / 32))
    assert mean_gain(samples, truth, channel="rgb") == pytest.approx(expected, abs=0.1)
