from __future__ import annotations

import threading
from itertools import count, islice
from threading import Event, Lock
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.errors import TransientStorageError
from sdflow.storage.listing import list_in_parallel
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo, key_order
from tests.storage.test_memory import MemoryBench

if TYPE_CHECKING:
    from collections.abc import Iterator

# All around the slash, which folders end in: "-", ".", "/" and "0" are neighbours.
KEYS = st.text(st.sampled_from("ab-./0é\udcff"), min_size=1, max_size=7)


@given(st.sets(KEYS, max_size=40), st.integers(1, 4), st.integers(1, 5))
def test_it_is_the_listing(keys: set[str], threads: int, ahead: int) -> None:
    bench = MemoryBench()
    bench.raw_set_many({key: key.encode(errors="surrogateescape") for key in keys})
    found = list(list_in_parallel(bench.store, threads=threads, ahead=ahead))
    assert [info.key for info in found] == sorted(keys, key=key_order)
    assert found == list(bench.store.list())


@given(st.sets(KEYS, max_size=20))
def test_listing_sub_folders_in_their_place_gives_the_listing(keys: set[str]) -> None:
    bench = MemoryBench()
    bench.raw_set_many(dict.fromkeys(keys, b""))

    def walk(folder: str) -> Iterator[ObjectInfo]:
        for entry in bench.store.list_folder(folder):
            if isinstance(entry, str):
                yield from walk(entry)
            else:
                yield entry

    assert list(walk("")) == list(bench.store.list())


class Endless(MemoryStore):
    """Folders "0/" to "9/" that never end, and a count of what was read from them."""

    num_read = 0

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for number in count():
            self.num_read += 1
            yield ObjectInfo(f"{prefix or '0/'}{number:09d}", 1, "v")

    def list_folder(self, folder: str = "") -> Iterator[ObjectInfo | str]:
        if folder:
            yield from (info for info in self.list(folder))
        else:
            yield from (f"{number}/" for number in range(10))


@pytest.mark.parametrize(("threads", "ahead"), [(1, 10), (2, 10), (8, 100)])
def test_memory_is_bounded_however_large_folders_are(threads: int, ahead: int) -> None:
    store = Endless()
    most = 0
    for taken, _ in enumerate(islice(list_in_parallel(store, threads=threads, ahead=ahead), 5000)):
        most = max(most, store.num_read - taken)
    # The heads of two levels, what both skip again, and one that each looks further.
    assert most <= 2 * (threads + 2) * ahead


class Meeting(MemoryStore):
    """Listings of the folders below a folder wait until so many have begun."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._missing = number
        self._lock = Lock()
        self._complete = Event()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if prefix.count("/") == 2:
            with self._lock:
                self._missing -= 1
                if self._missing == 0:
                    self._complete.set()
            assert self._complete.wait(timeout=30)
        yield from super().list(prefix)


def test_folders_are_listed_at_once_also_below_a_lone_folder() -> None:
    store = Meeting(4)
    for number in range(40):
        store.put(f"photos/{number % 8}/{number}", b"")
    found = [info.key for info in list_in_parallel(store, threads=4, ahead=6)]
    assert found == [info.key for info in store.list()]


def test_very_many_small_folders_are_one_listing() -> None:
    store = Meeting(1000)  # which would never meet
    for number in range(2000):
        store.put(f"photos/{number}/only", b"")
    found = [info.key for info in list_in_parallel(store, threads=4, ahead=50)]
    assert found == [info.key for info in store.list()]


def test_folders_may_be_as_deep_as_they_like() -> None:
    store = MemoryStore()
    for depth in range(50):
        store.put("a/" * depth + "b", b"")
        store.put("a/" * depth + "0", b"")
    assert list(list_in_parallel(store, threads=2, ahead=1)) == list(store.list())


class Broken(MemoryStore):
    """One folder cannot be listed."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if prefix == "b/":
            raise TransientStorageError("broken", item=prefix)
        yield from super().list(prefix)


def test_an_error_comes_where_its_folder_is_and_ends_the_threads() -> None:
    store = Broken()
    for key in ("a/1", "a/2", "b/1", "c/1"):
        store.put(key, b"")
    listing = list_in_parallel(store, threads=3, ahead=1)
    assert [next(listing).key for _ in range(2)] == ["a/1", "a/2"]
    with pytest.raises(TransientStorageError, match="broken"):
        next(listing)
    assert listing_threads() == []


def test_closing_it_ends_the_threads() -> None:
    listing = list_in_parallel(Endless(), threads=4, ahead=10)
    assert len(list(islice(listing, 50))) == 50
    assert listing_threads() != []
    listing.close()  # type: ignore[attr-defined] # a generator
    assert listing_threads() == []


def test_nothing_is_started_before_the_first_is_asked_for_nor_for_one_thread() -> None:
    list_in_parallel(Endless(), threads=4)
    assert next(list_in_parallel(Endless(), threads=1)).key == "0/000000000"
    assert listing_threads() == []


def listing_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("listing")]
