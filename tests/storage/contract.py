"""What every store promises, checked from outside: raw access goes around the code under test."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import TYPE_CHECKING

import pytest

from sdflow.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    NotFoundError,
    PreconditionError,
)
from sdflow.storage.conditional import has_conditional_puts
from sdflow.storage.listing import list_in_parallel
from tests.storage.streams import StreamContract, broken_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.storage.store import Store

ODD_KEYS = [
    "a b/c  d.png",
    "a+b%20c&d=e;f,g.png",
    "brackets [1] {2} (3).png",
    "emoji 😀/👩‍🚀.png",
    "hash#and?question=1.png",
    "quotes '\"`<>.png",
    "umlaut ä and a\u0308.png",
    "~!$*@^|\\:.png",
    "日本 語/ключ.png",
    ".hidden/..x/...",
    "line\nbreak\ttab.png",
]


class Bench(ABC):
    """A store under test, and the way around it.

    Attributes:
        store: Rooted below something that holds other objects too.
    """

    store: Store

    @abstractmethod
    def raw_get(self, key: str) -> bytes | None:
        """The content that really is there."""

    @abstractmethod
    def raw_set(self, key: str, data: bytes) -> None:
        """Put content there without the store."""

    def raw_set_many(self, objects: Mapping[str, bytes]) -> None:
        """Put many contents there without the store."""
        for key, data in objects.items():
            self.raw_set(key, data)


class StoreContract(StreamContract):
    """Subclasses give a fixture ``bench``."""

    def test_many_keys_are_listed_once_each_and_in_byte_order(self, bench: Bench) -> None:
        objects = {f"d{i % 7}/{i * 7919 % 2500:04d}.png": b"x" * (i % 3) for i in range(2500)}
        bench.raw_set_many(objects)
        listed = list(bench.store.list())
        assert [info.key for info in listed] == sorted(objects, key=str.encode)
        assert {info.key: info.size_bytes for info in listed} == {
            key: len(data) for key, data in objects.items()
        }

    def test_odd_keys_round_trip(self, bench: Bench) -> None:
        for key in ODD_KEYS:
            bench.store.put(key, key.encode())
            assert bench.raw_get(key) == key.encode()
            assert bench.store.get(key) == key.encode()
            assert bench.store.head(key).key == key
        assert [info.key for info in bench.store.list()] == sorted(ODD_KEYS, key=str.encode)

    def test_odd_keys_that_others_wrote_are_read(self, bench: Bench) -> None:
        bench.raw_set_many({key: key.encode() for key in ODD_KEYS})
        for info in bench.store.list():
            assert bench.store.get(info.key, if_match=info.etag) == info.key.encode()

    def test_a_prefix_is_a_prefix_of_characters(self, bench: Bench) -> None:
        keys = ["a.b", "a/b", "a/c/d", "a/ce", "a0", "b/a"]
        bench.raw_set_many(dict.fromkeys(keys, b""))
        for prefix in ("", "a", "a/", "a/c", "a/c/", "a/c/d", "a0/", "b/a/", "c", "/", "a//b"):
            listed = [info.key for info in bench.store.list(prefix)]
            assert listed == [key for key in keys if key.startswith(prefix)], prefix

    def test_a_folder_lists_what_is_directly_below_it(self, bench: Bench) -> None:
        bench.raw_set_many(
            dict.fromkeys(["a.b", "a/b", "a/c/d", "a/ce", "a0", "b/a/c", "é/x"], b"")
        )
        expected = {
            "": ["a.b", "a/", "a0", "b/", "é/"],
            "a/": ["a/b", "a/c/", "a/ce"],
            "b/": ["b/a/"],
            "a0/": [],
        }
        for folder, names in expected.items():
            entries = list(bench.store.list_folder(folder))
            assert [e if isinstance(e, str) else e.key for e in entries] == names
            objects = [entry for entry in entries if not isinstance(entry, str)]
            assert objects == [bench.store.head(info.key) for info in objects]

    def test_many_entries_of_a_folder_are_listed_once_each_and_in_byte_order(
        self, bench: Bench
    ) -> None:
        objects = {f"{i:04d}{tail}": b"" for i in range(600) for tail in ("/x", ".png")}
        bench.raw_set_many(objects)
        names = [e if isinstance(e, str) else e.key for e in bench.store.list_folder()]
        assert names == [f"{i:04d}{tail}" for i in range(600) for tail in (".png", "/")]

    def test_a_listing_in_parallel_is_the_listing(self, bench: Bench) -> None:
        keys = [f"{i % 3}/{j % 4}{end}" for i in range(3) for j in range(4) for end in (".a", "/b")]
        bench.raw_set_many(
            {key: key.encode() for key in [*keys, *ODD_KEYS, "0/0/c/d", "0.0", "00"]}
        )
        for threads, ahead in ((1, 1), (2, 1), (3, 2), (16, 5), (2, 4000)):
            found = list(list_in_parallel(bench.store, threads=threads, ahead=ahead))
            assert found == list(bench.store.list())

    def test_an_empty_root_lists_nothing(self, bench: Bench) -> None:
        assert list(bench.store.list()) == []
        assert list(bench.store.list_folder()) == []
        assert list(list_in_parallel(bench.store, threads=2)) == []
        assert list(bench.store.list("a/b")) == []

    def test_check_passes_where_there_are_objects(self, bench: Bench) -> None:
        bench.raw_set("a", b"")
        bench.store.check()

    def test_ranges_are_cut_at_the_end(self, bench: Bench) -> None:
        data = bytes(range(256)) * 4
        bench.raw_set("r", data)
        for start, stop in ((0, 1), (0, None), (100, 300), (1000, 5000), (1023, 1024), (17, None)):
            assert bench.store.get("r", start=start, stop=stop) == data[start:stop]
        for start, stop in ((0, 0), (5, 5), (9, 3), (1024, None), (1024, 1025), (5000, 6000)):
            assert bench.store.get("r", start=start, stop=stop) == b""

    def test_ranges_of_an_empty_object_are_empty(self, bench: Bench) -> None:
        bench.raw_set("e", b"")
        for start, stop in ((0, None), (0, 10), (5, None), (0, 0)):
            assert bench.store.get("e", start=start, stop=stop) == b""

    def test_ranges_do_not_count_from_the_end(self, bench: Bench) -> None:
        bench.raw_set("r", b"abc")
        with pytest.raises(ValueError, match="negative"):
            bench.store.get("r", start=-2)
        with pytest.raises(ValueError, match="negative"):
            bench.store.get("r", stop=-1)

    def test_an_etag_is_the_same_wherever_it_is_told(self, bench: Bench) -> None:
        etag = bench.store.put("a", b"abc")
        assert [(i.key, i.size_bytes, i.etag) for i in bench.store.list()] == [("a", 3, etag)]
        assert bench.store.head("a") == next(bench.store.list())

    def test_an_etag_changes_with_the_content(self, bench: Bench) -> None:
        etags = [bench.store.put("a", bytes([i])) for i in range(20)]
        assert len(set(etags)) == len(etags)

    def test_a_conditional_get_reads_that_version_alone(self, bench: Bench) -> None:
        old = bench.store.put("a", b"old")
        assert bench.store.get("a", if_match=old) == b"old"
        assert bench.store.get("a", start=1, stop=2, if_match=old) == b"l"
        new = bench.store.put("a", b"new")
        assert bench.store.get("a", if_match=new) == b"new"
        for start, stop in ((0, None), (1, 2), (1, 1), (50, None)):
            with pytest.raises(PreconditionError, match="has changed") as caught:
                bench.store.get("a", start=start, stop=stop, if_match=old)
            assert caught.value.item == "a"

    def test_what_is_absent_is_named(self, bench: Bench) -> None:
        bench.raw_set("folder/file", b"")
        for key in ("nothing", "folder", "folder/file/below"):
            for stop in (None, 0, 1):
                with pytest.raises(NotFoundError, match=key) as caught:
                    bench.store.get(key, stop=stop)
                assert caught.value.item == key
            with pytest.raises(NotFoundError, match=key):
                bench.store.head(key)

    def test_deleting_is_idempotent(self, bench: Bench) -> None:
        bench.raw_set("a/b", b"x")
        bench.store.delete("a/b")
        assert bench.raw_get("a/b") is None
        bench.store.delete("a/b")
        bench.store.delete("a/b/c")
        bench.store.delete("never/was")

    def test_many_are_deleted_and_the_others_stay(self, bench: Bench) -> None:
        keys = [f"{i % 3}/{i}" for i in range(1100)]
        bench.raw_set_many(dict.fromkeys([*keys, *ODD_KEYS], b""))
        kept = {"1/1", ODD_KEYS[0]}
        bench.store.delete_many(
            key for key in [*keys, *ODD_KEYS, "never", "0/0"] if key not in kept
        )
        assert {info.key for info in bench.store.list()} == kept
        bench.store.delete_many([])

    def test_conditional_puts_are_found_out_and_leave_nothing(self, bench: Bench) -> None:
        assert has_conditional_puts(bench.store, "folder/probe")
        assert bench.raw_get("folder/probe") is None

    def test_put_if_absent_leaves_what_is_there(self, bench: Bench) -> None:
        etag = bench.store.put_if_absent("claims/1", b"mine")
        assert bench.store.head("claims/1").etag == etag
        with pytest.raises(AlreadyExistsError, match="claims/1") as caught:
            bench.store.put_if_absent("claims/1", b"mine")
        assert caught.value.item == "claims/1"
        assert bench.raw_get("claims/1") == b"mine"

    def test_put_if_absent_has_one_winner(self, bench: Bench) -> None:
        start = Barrier(16)

        def claim(number: int) -> int | None:
            start.wait()
            try:
                bench.store.put_if_absent("race", b"%d" % number)
            except AlreadyExistsError:
                return None
            return number

        with ThreadPoolExecutor(16) as threads:
            winners = [number for number in threads.map(claim, range(16)) if number is not None]
        assert len(winners) == 1
        assert bench.raw_get("race") == b"%d" % winners[0]

    def test_readers_see_the_old_or_the_new_and_nothing_between(self, bench: Bench) -> None:
        versions = [letter * size for letter, size in ((b"a", 300_000), (b"b", 500_000))]
        bench.store.put("k", versions[0])
        written = Event()

        def read() -> bool:
            whole = True
            while not written.is_set():
                whole = whole and bench.store.get("k") in versions
            return whole

        with ThreadPoolExecutor(4) as threads:
            readers = [threads.submit(read) for _ in range(4)]
            try:
                for i in range(20):
                    bench.store.put("k", versions[i % 2])
            finally:
                written.set()
            assert all(reader.result() for reader in readers)

    def test_an_empty_key_is_refused(self, bench: Bench) -> None:
        for call in (bench.store.get, bench.store.head, bench.store.delete):
            with pytest.raises(InvalidKeyError):
                call("")
        with pytest.raises(InvalidKeyError):
            bench.store.delete_many(["a", ""])
        for write in (bench.store.put, bench.store.put_if_absent):
            with pytest.raises(InvalidKeyError):
                write("", b"")
        with pytest.raises(InvalidKeyError):
            bench.store.put_stream("", broken_stream(0))
