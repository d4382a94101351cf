from __future__ import annotations

import math

import numpy as np
import pytest

from sdflow.errors import UsageError
from sdflow.evaluation.degradation import (
    FEATURES,
    FREQUENCIES,
    Degradation,
    compare,
    describe,
    frechet,
)
from tests.evaluation.pictures import as_jpeg, blurred, fractal, noisy

_PICTURES = [blurred(fractal(128, seed), 0.7) for seed in range(8)]
_UNSEEN = [blurred(fractal(128, seed), 0.7) for seed in range(20, 28)]


@pytest.fixture(scope="module")
def real() -> Degradation:
    return describe(as_jpeg(noisy(one, 6, 1), 60) for one in _UNSEEN)


def test_a_set_is_no_distance_from_itself(real: Degradation) -> None:
    found = compare(real, real)
    assert found.noise_db == 0
    assert found.patch == 0
    assert found.frechet == pytest.approx(0, abs=1e-9)


def test_a_description_has_a_row_for_every_patch_and_a_value_for_every_ring(
    real: Degradation,
) -> None:
    assert real.spectrum_db.shape == (3, len(FREQUENCIES))
    assert real.features.shape == (8 * 16, len(FEATURES))
    assert real.num_images == 8


def test_the_same_degradation_of_other_pictures_is_nearest(real: Degradation) -> None:
    same = compare(describe(as_jpeg(noisy(one, 6), 60) for one in _PICTURES), real)
    others = [
        _PICTURES,
        [as_jpeg(one, 60) for one in _PICTURES],
        [noisy(one, 6) for one in _PICTURES],
        [as_jpeg(noisy(one, 12), 60) for one in _PICTURES],
        [blurred(as_jpeg(noisy(one, 6), 60), 1) for one in _PICTURES],
    ]
    for other in (compare(describe(pictures), real) for pictures in others):
        assert same.noise_db < other.noise_db
        assert same.patch < other.patch
        assert same.frechet < other.frechet


def test_noise_that_is_missing_is_missed_the_more_there_is(real: Degradation) -> None:
    sets = [describe(noisy(one, sigma) for one in _PICTURES) for sigma in (0, 2, 4, 8, 16)]
    found = [compare(one, sets[0]) for one in sets]
    for values in ([one.noise_db for one in found], [one.features["noise_red"] for one in found]):
        assert values == sorted(values)


def test_what_is_told_apart_is_what_was_done(real: Degradation) -> None:
    clean = describe(_PICTURES)
    squeezed = compare(describe(as_jpeg(one, 15) for one in _PICTURES), clean)
    assert max(squeezed.features, key=squeezed.features.__getitem__) == "blocks"


def test_as_many_patches_of_both_are_compared_in_any_order(real: Degradation) -> None:
    few = describe(_PICTURES[:3])
    forth, back = compare(few, real), compare(real, few)
    assert forth.num_patches == back.num_patches == 3 * 16
    assert compare(few, real).patch == forth.patch


def test_the_mean_is_over_features_that_all_have_a_name(real: Degradation) -> None:
    found = compare(describe(_PICTURES), real)
    assert tuple(found.features) == FEATURES
    assert found.patch == pytest.approx(np.mean(list(found.features.values())))


def test_grey_photos_can_be_the_real_ones() -> None:
    grey = describe(one[..., 0] for one in _UNSEEN)
    found = compare(describe(_PICTURES), grey)
    assert math.isfinite(found.patch)
    assert math.isfinite(found.frechet)


def test_depth_does_not_matter(real: Degradation) -> None:
    deep = describe(one.astype(np.uint16) * 257 for one in _PICTURES)
    shallow = describe(_PICTURES)
    assert deep.features == pytest.approx(shallow.features)
    assert deep.spectrum_db == pytest.approx(shallow.spectrum_db)


def test_a_set_without_patches_is_refused() -> None:
    for nothing in ([], [np.zeros((31, 90, 3), np.uint8)], [np.full((64, 64), 9, np.uint8)]):
        with pytest.raises(UsageError, match=f"none of {len(nothing)} images"):
            describe(nothing)


@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (1, 3), (2, 0), (0.5, -1)])
def test_the_frechet_distance_of_stretched_and_moved_features_is_the_formula(
    factor: float, shift: float
) -> None:
    one = np.random.default_rng(0).normal(size=(200, 5)) @ np.random.default_rng(1).normal(
        size=(5, 5)
    )
    other = factor * one + shift
    moved = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2)
    stretched = (factor - 1) ** 2 * one.var(axis=0, ddof=1).sum()
    assert frechet(one, other) == pytest.approx(moved + stretched, abs=1e-9)


def test_the_frechet_distance_of_turned_gaussians_is_that_of_the_root_of_their_product() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) for _ in range(2))
    first, second = np.cov(one.T), np.cov(other.T)
    root = np.sqrt(np.linalg.eigvals(first @ second)).real.sum()
    moved = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2)
    expected = moved + np.trace(first) + np.trace(second) - 2 * root
    assert frechet(one, other) == pytest.approx(expected)
    assert frechet(other, one) == pytest.approx(expected)


def test_features_that_depend_on_each_other_have_a_distance() -> None:
    one = np.repeat(np.random.default_rng(0).normal(size=(50, 1)), 6, axis=1)
    assert frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert frechet(one, one + 1) == pytest.approx(6)
