from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.errors import PreconditionError, TransientStorageError
from sdflow.storage.memory import MemoryStore
from sdflow.storage.ranged import RangedObject
from sdflow.storage.store import ObjectInfo
from tests.storage.streams import content

BOUND = st.none() | st.integers(min_value=-5, max_value=250)


class Counting(MemoryStore):
    """Notes the range of every request; ``gate`` lets them through, ``broken`` breaks the next."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[int, int | None]] = []
        self.gate = Event()
        self.gate.set()
        self.broken = False

    def get(
        self, key: str, *, start: int = 0, stop: int | None = None, if_match: str | None = None
    ) -> bytes:
        self.ranges.append((start, stop))
        self.gate.wait()
        if self.broken:
            self.broken = False
            raise TransientStorageError("the line is broken", item=key)
        return super().get(key, start=start, stop=stop, if_match=if_match)


def ranged(
    data: bytes, *, block_bytes: int = 10, num_blocks: int = 3
) -> tuple[Counting, RangedObject]:
    store = Counting()
    store.put("k", data)
    return store, RangedObject(
        store, store.head("k"), block_bytes=block_bytes, num_blocks=num_blocks
    )


@given(
    st.binary(max_size=200),
    st.integers(min_value=1, max_value=60),
    st.integers(min_value=1, max_value=9),
    st.lists(st.tuples(BOUND, BOUND), min_size=1, max_size=20),
)
def test_slices_are_those_of_the_bytes(
    data: bytes, block_bytes: int, num_blocks: int, slices: list[tuple[int | None, int | None]]
) -> None:
    _, source = ranged(data, block_bytes=block_bytes, num_blocks=num_blocks)
    assert len(source) == len(data)
    for start, stop in slices:
        assert source[start:stop] == data[start:stop]


def test_steps_are_refused() -> None:
    _, source = ranged(b"abc")
    with pytest.raises(ValueError, match="forwards"):
        source[::-1]


def test_small_steps_forward_ask_once_for_each_block() -> None:
    store, source = ranged(content(95))
    assert b"".join(source[i : i + 3] for i in range(0, 95, 3)) == content(95)
    assert store.ranges == [(first, min(first + 10, 95)) for first in range(0, 95, 10)]


def test_the_blocks_read_last_are_kept() -> None:
    store, source = ranged(content(100))
    for number in (0, 1, 2, 0, 1, 3, 0, 1):  # 2 makes room for 3
        source[number * 10 : number * 10 + 1]
    assert [start for start, _ in store.ranges] == [0, 10, 20, 30]
    source[20:21]
    assert [start for start, _ in store.ranges] == [0, 10, 20, 30, 20]


def test_a_slice_asks_once_for_each_gap() -> None:
    store, source = ranged(content(100), num_blocks=8)
    source[15:16]
    assert source[5:38] == content(100)[5:38]
    assert store.ranges == [(10, 20), (0, 10), (20, 40)]
    assert source[5:38] == content(100)[5:38]
    assert len(store.ranges) == 3


def test_a_large_slice_is_one_request_and_displaces_nothing() -> None:
    store, source = ranged(content(100))
    source[50:51]
    assert source[3:97] == content(100)[3:97]
    source[50:51]
    assert store.ranges == [(50, 60), (3, 97)]


def test_nothing_is_asked_for_nothing() -> None:
    store, source = ranged(content(100))
    assert source[40:40] + source[70:30] + source[100:] + source[500:600] == b""
    assert store.ranges == []


def test_a_changed_object_is_told() -> None:
    store, source = ranged(content(100))
    source[0:5]
    store.put("k", content(101))
    for part in (slice(50, 51), slice(0, 100)):
        with pytest.raises(PreconditionError, match="changed"):
            source[part]


def test_a_size_that_is_wrong_is_told() -> None:
    store = Counting()
    source = RangedObject(store, ObjectInfo("k", 50, store.put("k", content(40))), block_bytes=10)
    assert source[0:40] == content(40)
    with pytest.raises(PreconditionError, match="50 bytes"):
        source[30:45]


def test_an_error_is_not_kept() -> None:
    store, source = ranged(content(100))
    source[10:11]
    store.broken = True
    with pytest.raises(TransientStorageError):
        source[5:25]
    assert source[5:25] == content(100)[5:25]
    assert store.ranges == [(10, 20), (0, 10), (0, 10), (20, 30)]


def test_a_block_that_many_want_at_once_is_asked_for_once() -> None:
    store, source = ranged(content(100))
    start = Barrier(8)
    store.gate.clear()

    def read(number: int) -> bytes:
        start.wait()
        if number == 0:
            store.gate.set()
        return source[number : number + 1]

    with ThreadPoolExecutor(8) as threads:
        assert b"".join(threads.map(read, range(8))) == content(100)[:8]
    assert store.ranges == [(0, 10)]


def test_all_who_wait_for_a_block_get_its_error() -> None:
    store, source = ranged(content(100))
    store.gate.clear()
    store.broken = True
    with ThreadPoolExecutor(2) as threads:
        reads = [threads.submit(source.__getitem__, slice(0, 1)) for _ in range(2)]
        while not source._blocks:  # noqa: SLF001 - until one of them asks
            pass
        store.gate.set()
        outcomes = [read.exception() or read.result() for read in reads]
    assert any(isinstance(outcome, TransientStorageError) for outcome in outcomes)
    assert source[0:1] == content(100)[0:1]


def test_many_threads_read_what_is_there() -> None:
    data = content(5000)
    _, source = ranged(data, block_bytes=64, num_blocks=4)

    def read(seed: int) -> bool:
        rng = random.Random(seed)  # noqa: S311 - no secret
        whole = True
        for _ in range(300):
            start = rng.randrange(5000)
            stop = start + rng.randrange(400)
            whole = whole and source[start:stop] == data[start:stop]
        return whole

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(8)))
