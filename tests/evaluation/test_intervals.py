from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.evaluation.intervals import mean_interval, paired_difference

_FINITE = st.floats(-1e3, 1e3)


def test_an_interval_is_the_one_in_the_tables_of_student() -> None:
    found = mean_interval([1, 2, 3, 4, 5])
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert (found.mean, found.num) == (3, 5)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), rel=1e-6)


def test_19_of_20_intervals_hold_the_truth() -> None:
    draws = np.random.default_rng(0).normal(7, 3, (1000, 5))
    held = [found.low <= 7 <= found.high for found in map(mean_interval, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


@given(st.lists(_FINITE, min_size=2, max_size=20), st.integers(0, 5))
def test_images_without_a_value_do_not_count(values: list[float], num_without: int) -> None:
    assert mean_interval([*values, *[math.nan] * num_without]) == mean_interval(values)


def test_too_few_values_have_no_interval() -> None:
    single = mean_interval([4.0])
    assert (single.mean, single.num) == (4, 1)
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    none = mean_interval([math.nan])
    assert math.isnan(none.mean)
    assert none.num == 0


def test_a_perfect_image_makes_the_mean_infinite_and_its_interval_unknown() -> None:
    found = mean_interval([30, math.inf])
    assert found.mean == math.inf
    assert math.isnan(found.low)


@given(st.lists(st.tuples(_FINITE, _FINITE), min_size=2, max_size=20))
def test_a_paired_difference_is_the_interval_of_differences(
    pairs: list[tuple[float, float]],
) -> None:
    ours, theirs = zip(*pairs, strict=True)
    assert paired_difference(ours, theirs) == mean_interval([a - b for a, b in pairs])


def test_pairs_know_more_than_means_where_hard_images_are_hard_for_both() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(27, 4, 20)
    ours = theirs + 0.5 + rng.normal(0, 0.1, 20)
    difference = paired_difference(ours.tolist(), theirs.tolist())
    assert difference.low > 0.4
    assert mean_interval(ours.tolist()).low < theirs.mean()


def test_two_perfect_results_differ_by_nothing() -> None:
    assert paired_difference([math.inf, 30], [math.inf, 30]).mean == 0


def test_a_pair_without_a_value_does_not_count() -> None:
    assert paired_difference([1, math.nan, 5], [0, 3, 3]) == mean_interval([1, 2])


def test_results_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1, 2], [1])
