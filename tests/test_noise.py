from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdflow.geometry import Region
from sdflow.noise import NoiseKey, _philox, component, gaussian_field, uniform

_OWNER = NoiseKey(seed=3, key="a/b.jpg", sample=1)
_WHOLE = Region(0, 0, 40, 50)
_FIELD = gaussian_field(_OWNER, _WHOLE, 6)


@given(
    st.integers(0, 39),
    st.integers(0, 49),
    st.integers(1, 40),
    st.integers(1, 50),
    st.integers(1, 6),
)
def test_noise_of_any_window_is_the_window_of_the_noise(
    y: int, x: int, height: int, width: int, channels: int
) -> None:
    region = Region(y, x, min(height, 40 - y), min(width, 50 - x))
    rows, columns = region.slices
    window = gaussian_field(_OWNER, region, channels)
    assert torch.equal(window, _FIELD[:channels, rows, columns])


def test_noise_does_not_depend_on_how_much_is_made_at_once_or_by_how_many() -> None:
    threads = torch.get_num_threads()
    wide = Region(5, 7, 70, 1000)  # several bands of rows
    field = gaussian_field(_OWNER, wide, 5)
    try:
        torch.set_num_threads(1)
        assert torch.equal(gaussian_field(_OWNER, wide, 5), field)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(gaussian_field(_OWNER, Region(74, 900, 1, 107), 5), field[:, 69:, 893:])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_noise_has_the_same_bits_on_a_gpu() -> None:
    assert torch.equal(gaussian_field(_OWNER, _WHOLE, 6, device="cuda").cpu(), _FIELD)


def test_philox_matches_the_published_known_answers() -> None:
    """Random123's kat_vectors for philox4x32-10, those whose counter has a zero last word."""
    words = _philox((0, 0), Region(0, 0, 1, 1), 0, "cpu")
    assert [int(word) for word in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize(
    "other",
    [
        NoiseKey(seed=4, key="a/b.jpg", sample=1),
        NoiseKey(seed=3, key="a/b.png", sample=1),
        NoiseKey(seed=3, key="a/b.jpg", sample=2),
    ],
)
def test_seed_key_and_sample_each_make_other_noise(other: NoiseKey) -> None:
    field = gaussian_field(other, _WHOLE, 6)
    correlation = np.corrcoef(field.flatten().numpy(), _FIELD.flatten().numpy())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(_FIELD.numel())


def test_noise_is_standard_normal_and_independent_of_its_neighbours() -> None:
    field = gaussian_field(NoiseKey(0, "k", 0), Region(0, 0, 128, 128), 12).double().numpy()
    count = field.size
    ordered = np.sort(field, axis=None)
    expected = np.array([NormalDist().cdf(value) for value in ordered[:: count // 1000]])
    ranks = np.arange(count)[:: count // 1000] / count
    assert np.abs(expected - ranks).max() < 1.63 / np.sqrt(count)  # Kolmogorov-Smirnov at 1 %
    for first, second in [
        (field[:, 1:], field[:, :-1]),
        (field[:, :, 1:], field[:, :, :-1]),
        (field[1:], field[:-1]),
    ]:
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(first.size)


def test_tails_follow_the_inverse_normal_distribution() -> None:
    from sdflow.noise import _normal

    bits = torch.tensor([0, 1, 1 << 16, 1 << 24, 1 << 31, (1 << 32) - 1])
    expected = [NormalDist().inv_cdf((float(b) + 0.5) / 2**32) for b in bits]
    np.testing.assert_allclose(_normal(bits).numpy(), expected, rtol=3e-7, atol=1e-9)


def test_component_is_uniform_and_fixed_by_the_owner() -> None:
    drawn = [component(NoiseKey(0, f"{index}.jpg", 0), 16) for index in range(16_000)]
    counts = np.bincount(drawn, minlength=16)
    assert ((counts - 1000) ** 2 / 1000).sum() < 37.7  # chi-squared, 15 degrees, 0.1 %
    assert component(_OWNER, 16) == component(NoiseKey(3, "a/b.jpg", 1), 16)


def test_uniform_numbers_are_uniform_and_fixed_by_owner_and_purpose() -> None:
    owners = [NoiseKey(0, f"{index}.jpg", index % 3) for index in range(16_000)]
    drawn = np.array([uniform(owner, "tau") for owner in owners])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    ranks = np.arange(drawn.size) / drawn.size
    assert np.abs(np.sort(drawn) - ranks).max() < 1.63 / np.sqrt(drawn.size)  # as above
    others = np.array([uniform(owner, "other") for owner in owners])
    assert abs(np.corrcoef(drawn, others)[0, 1]) < 4 / np.sqrt(drawn.size)
    assert uniform(_OWNER, "tau") == uniform(NoiseKey(3, "a/b.jpg", 1), "tau")


def test_keys_that_are_not_utf8_have_noise_too() -> None:
    owner = NoiseKey(0, "caf\udce9.jpg", 0)
    assert torch.isfinite(gaussian_field(owner, Region(0, 0, 2, 2), 1)).all()
