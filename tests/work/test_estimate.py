"""Pixels guessed from lengths: always some, learnt by kind, never far from what was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.work.estimate import PixelEstimate
from sdflow.work.shard import WorkItem

_KINDS = [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ""]
_SIZES = st.integers(0, 10**10)


@given(name=st.text(), size=_SIZES)
def test_every_source_has_pixels_whatever_its_name_and_length(name: str, size: int) -> None:
    assert PixelEstimate().pixels(name, size) >= 1


@given(kind=st.sampled_from(_KINDS), sizes=st.lists(_SIZES, min_size=2, max_size=2))
def test_longer_source_of_a_kind_has_no_fewer_pixels(kind: str, sizes: list[int]) -> None:
    estimate = PixelEstimate()
    few, many = (estimate.pixels("a" + kind, size) for size in sorted(sizes))
    assert few <= many


def test_photo_is_about_three_pixels_a_byte_before_anything_was_read() -> None:
    assert PixelEstimate().pixels("IMG_0001.JPG", 4_000_000) == 12_000_000


@pytest.mark.parametrize(("key", "like"), [("a/B.JPEG", "b.jpeg"), ("x.y.PNG", "z.png")])
def test_kind_is_the_extension_in_any_case(key: str, like: str) -> None:
    estimate = PixelEstimate()
    estimate.observe(key, 10**9, 10**7)
    assert estimate.pixels(like, 10**6) == estimate.pixels(key, 10**6)


@given(kind=st.sampled_from(_KINDS), per_byte=st.integers(1, 50))
def test_what_was_read_outweighs_the_guess_in_the_end(kind: str, per_byte: int) -> None:
    estimate = PixelEstimate()
    for _ in range(1000):
        estimate.observe("seen" + kind, 10**6, per_byte * 10**6)
    assert estimate.pixels("new" + kind, 10**6) == pytest.approx(per_byte * 10**6, rel=0.02)


def test_one_odd_source_does_not_upset_the_guess() -> None:
    estimate = PixelEstimate()
    estimate.observe("odd.jpg", 1_000, 10**6)  # a thousand pixels a byte
    assert estimate.pixels("a.jpg", 10**6) == pytest.approx(3 * 10**6, rel=0.2)


def test_image_gets_the_estimate_as_it_stands_when_it_is_drawn() -> None:
    estimate = PixelEstimate()
    drawn = estimate.added(WorkItem(key, "v1", 10**6) for key in ("a.jpg", "b.jpg"))
    assert next(drawn) == WorkItem("a.jpg", "v1", 10**6, pixels=3 * 10**6)
    estimate.observe("a.jpg", 2 * 10**6, 10**6)
    assert next(drawn) == WorkItem("b.jpg", "v1", 10**6, pixels=7 * 10**6 // 4)


@given(seen=st.sampled_from(_KINDS[:6]), other=st.sampled_from(_KINDS))
def test_kinds_learn_apart(seen: str, other: str) -> None:
    estimate = PixelEstimate()
    before = estimate.pixels("a" + other, 10**6)
    estimate.observe("a" + seen, 10**9, 10**5)
    assert (estimate.pixels("a" + other, 10**6) == before) == (seen != other)


def test_unknown_kinds_learn_together() -> None:
    estimate = PixelEstimate()
    estimate.observe("a.heic", 10**9, 20 * 10**9)
    assert estimate.pixels("b", 10**6) == estimate.pixels("c.bin", 10**6) > 10 * 10**6


@given(
    seen=st.lists(st.tuples(st.integers(1, 10**8), st.integers(1, 10**9)), max_size=20),
    size=st.integers(1, 10**8),
)
def test_estimate_lies_between_the_guess_and_the_extremes_that_were_seen(
    seen: list[tuple[int, int]], size: int
) -> None:
    estimate = PixelEstimate()
    for size_bytes, pixels in seen:
        estimate.observe("a.png", size_bytes, pixels)
    ratios = [0.6, *(pixels / size_bytes for size_bytes, pixels in seen)]
    guess = estimate.pixels("b.png", size)
    assert min(ratios) * size * 0.999 - 1 <= guess <= max(ratios) * size * 1.001 + 1
