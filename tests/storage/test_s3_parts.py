from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sdflow.storage.s3.parts import MAX_PARTS, PART_BYTES, cut_parts, part_size_bytes

_LARGEST_OBJECT = 5 * 2**40
_LARGEST_PART = 5 * 2**30


def test_the_parts_that_s3_allows_hold_the_largest_object() -> None:
    sizes = [part_size_bytes(number) for number in range(1, MAX_PARTS + 1)]
    assert sum(sizes) > _LARGEST_OBJECT
    assert max(sizes) < _LARGEST_PART
    assert all(size <= following for size, following in pairwise(sizes))


def test_the_parts_of_sixty_gibibytes_are_small() -> None:
    assert sum(part_size_bytes(number) for number in range(1, 3841)) == 60 * 2**30
    assert part_size_bytes(3840) == PART_BYTES


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=1, max_value=9))
def test_parts_are_the_content_and_full_but_for_the_last(
    chunks: list[bytes], first_bytes: int
) -> None:
    parts = list(cut_parts(chunks, first_bytes=first_bytes))
    assert b"".join(parts) == b"".join(chunks)
    sizes = [part_size_bytes(number + 1, first_bytes=first_bytes) for number in range(len(parts))]
    assert [len(part) for part in parts[:-1]] == sizes[:-1]
    assert all(0 < len(part) <= size for part, size in zip(parts, sizes, strict=True))


def test_parts_grow_where_there_are_many() -> None:
    parts = list(cut_parts([bytes(1000)] * 5, first_bytes=1))
    assert len(parts[3999]) == 1
    assert [len(part) for part in parts[4000:4051]] == [2] * 50 + [3]
