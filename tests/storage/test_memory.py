from __future__ import annotations

import hashlib

import pytest

from sdflow.errors import InvalidKeyError
from sdflow.storage.memory import MemoryStore
from tests.storage.contract import Bench, StoreContract


class MemoryBench(Bench):
    def __init__(self) -> None:
        self._memory = MemoryStore()
        self.store = self._memory

    def raw_get(self, key: str) -> bytes | None:
        return self._memory._objects.get(key)  # noqa: SLF001 - the way around it

    def raw_set(self, key: str, data: bytes) -> None:
        self._memory._objects[key] = data  # noqa: SLF001 - the way around it


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def bench(self) -> MemoryBench:
        return MemoryBench()

    def test_the_etag_is_the_md5(self, bench: MemoryBench) -> None:
        expected = hashlib.md5(b"abc", usedforsecurity=False).hexdigest()
        assert bench.store.put("a", b"abc") == expected

    @pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/", "a/./b", "a\0b"])
    def test_keys_that_no_folder_could_hold_are_refused(self, bench: MemoryBench, key: str) -> None:
        with pytest.raises(InvalidKeyError):
            bench.store.put(key, b"")

    def test_a_listing_goes_on_while_objects_vanish(self, bench: MemoryBench) -> None:
        for key in "abc":
            bench.store.put(key, b"")
        listing = bench.store.list()
        assert next(listing).key == "a"
        bench.store.delete("b")
        assert [info.key for info in listing] == ["c"]
