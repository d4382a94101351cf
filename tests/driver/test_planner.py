"""The listing runs beside the loop, a little ahead, and its errors arrive."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from sdflow.driver.planner import Planner
from sdflow.errors import StorageError
from sdflow.work.shard import Shard
from tests.driver.script import shard


def _all(planner: Planner) -> list[Shard]:
    found = []
    while not planner.is_done:
        if taken := planner.take():
            found.append(taken)
    return found


def test_shards_arrive_in_order_and_then_the_end() -> None:
    shards = [shard(key) for key in "abcdefgh"]
    with Planner(iter(shards)) as planner:
        assert _all(planner) == shards
        assert planner.take() is None


def test_listing_is_only_a_little_ahead() -> None:
    drawn: list[str] = []

    def plan() -> Iterator[Shard]:
        for key in "abcdefghij":
            drawn.append(key)
            yield shard(key)

    with Planner(plan()) as planner:
        while planner.take() is None:
            continue
    assert len(drawn) <= 5


def test_error_of_the_listing_is_raised_where_shards_are_taken() -> None:
    def plan() -> Iterator[Shard]:
        yield shard("a")
        raise StorageError("no more", item="b")

    with Planner(plan()) as planner, pytest.raises(StorageError, match="no more"):
        _all(planner)


def test_slow_listing_holds_nobody_up() -> None:
    listed = Event()

    def plan() -> Iterator[Shard]:
        listed.wait()
        yield shard("a")

    with Planner(plan()) as planner:
        assert planner.take() is None
        assert not planner.is_done
        listed.set()
        assert _all(planner) == [shard("a")]
