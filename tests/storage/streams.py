"""What every store promises of content that comes as a stream; a part of the contract."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storage.contract import Bench

LARGE = 5 * 2**20  # the smallest part that S3 takes


class BrokenStreamError(Exception):
    """What a stream raises that breaks off."""


def content(size_bytes: int) -> bytes:
    """Bytes that tell where they are."""
    return random.Random(size_bytes).randbytes(size_bytes)  # noqa: S311 - no secret


def broken_stream(size_bytes: int) -> Iterator[bytes]:
    """Some content, and then an error."""
    for _ in range(0, size_bytes, 2**20):
        yield bytes(2**20)
    raise BrokenStreamError


class StreamContract:
    """Subclasses give a fixture ``bench``."""

    @pytest.mark.parametrize("size_bytes", [0, 1, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE + 77])
    def test_a_stream_is_put_whole(self, bench: Bench, size_bytes: int) -> None:
        data = content(size_bytes)
        etags = []
        for chunk_bytes in (1_000_003, LARGE, 3 * LARGE):
            chunks = (data[i : i + chunk_bytes] for i in range(0, size_bytes, chunk_bytes))
            etags.append(bench.store.put_stream("a/b", chunks))
            assert bench.raw_get("a/b") == data
        assert set(etags) == {bench.store.head("a/b").etag}
        assert [(info.key, info.size_bytes) for info in bench.store.list()] == [("a/b", size_bytes)]

    def test_a_stream_replaces_what_is_there(self, bench: Bench) -> None:
        old = bench.store.put("k", b"old")
        new = bench.store.put_stream("k", [b"", b"n", b"", b"ew"])
        assert (bench.raw_get("k"), bench.store.head("k").etag) == (b"new", new)
        assert new != old
        assert bench.store.put("k", b"newer") != new

    @pytest.mark.parametrize("size_bytes", [0, 100, LARGE + 5, 6 * LARGE])
    def test_a_stream_that_breaks_off_changes_nothing(self, bench: Bench, size_bytes: int) -> None:
        etag = bench.store.put("k", b"old")
        for key in ("k", "new"):
            with pytest.raises(BrokenStreamError):
                bench.store.put_stream(key, broken_stream(size_bytes))
        assert [(info.key, info.etag) for info in bench.store.list()] == [("k", etag)]
        assert bench.raw_get("k") == b"old"
        assert bench.store.discard_uploads(older_than_s=-60) == 0

    def test_a_stream_is_seen_only_when_it_is_whole(self, bench: Bench) -> None:
        seen = []

        def chunks() -> Iterator[bytes]:
            for _ in range(3):
                yield bytes(LARGE)
                seen.append(bench.raw_get("k"))

        bench.raw_set("k", b"old")
        bench.store.put_stream("k", chunks())
        assert seen == [b"old"] * 3
        assert bench.raw_get("k") == bytes(3 * LARGE)

    def test_streams_to_one_key_at_once_leave_one_of_them(self, bench: Bench) -> None:
        start = Barrier(4)

        def put(number: int) -> None:
            start.wait()
            bench.store.put_stream("k", [bytes([number]) * LARGE] * 2)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(put, range(4)))
        left = bench.raw_get("k") or b""
        assert left == left[:1] * (2 * LARGE)

    def test_nothing_is_to_be_discarded_of_what_is_whole(self, bench: Bench) -> None:
        bench.store.put_stream("a/b", [bytes(LARGE), b"end"])
        bench.raw_set("a/c", b"x")
        assert bench.store.discard_uploads(older_than_s=-60) == 0
        assert [info.key for info in bench.store.list()] == ["a/b", "a/c"]
