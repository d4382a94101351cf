"""Which patches a run sees."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sdflow.training.patches import POOL, draw_patch, stream


@given(seed=st.integers(), count=st.integers(1, 5000), index=st.integers(0, 10**9))
def test_a_draw_is_a_function_of_its_arguments(seed: int, count: int, index: int) -> None:
    one, again = (draw_patch(seed=seed, name="hr", count=count, index=index) for _ in range(2))
    assert one == again
    assert 0 <= one.photo < count
    assert 0 <= min(one.top, one.left) <= max(one.top, one.left) < 1
    assert 0 <= one.turns < 4


def test_neighbours_seeds_and_sets_draw_differently() -> None:
    first = draw_patch(seed=0, name="hr", count=1000, index=0)
    assert first != draw_patch(seed=0, name="hr", count=1000, index=1)
    assert first != draw_patch(seed=1, name="hr", count=1000, index=0)
    assert first != draw_patch(seed=0, name="lr", count=1000, index=0)


def test_rows_do_not_share_random_numbers() -> None:
    one, two = (stream(0, "noise", index).standard_normal(100_000) for index in (0, 1))
    assert abs(float((one * two).mean())) < 0.02
    assert not set(one) & set(two)


def test_a_small_set_is_drawn_from_evenly() -> None:
    counts = Counter(draw_patch(seed=0, name="hr", count=20, index=i).photo for i in range(4000))
    assert set(counts) == set(range(20))
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_large_set_needs_no_more_photos_at_a_time_than_the_pool() -> None:
    count = 4 * POOL
    draws = [draw_patch(seed=0, name="hr", count=count, index=i).photo for i in range(8 * count)]
    for start in range(0, len(draws) - 4 * POOL, 97):
        window = draws[start : start + 4 * POOL]
        assert len(set(window)) <= POOL + len(window) // 8 + 1
    assert len(set(draws)) > 0.9 * count  # an epoch has passed


def test_every_flip_and_turn_occurs() -> None:
    draws = [draw_patch(seed=0, name="hr", count=5, index=index) for index in range(200)]
    assert {(draw.flip, draw.turns) for draw in draws} == {
        (flip, turns) for flip in (False, True) for turns in range(4)
    }
