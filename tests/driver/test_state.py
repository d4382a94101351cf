"""The scheduler's rules of leasing, losing and ending, as event lists and exact command lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sdflow.driver.events import (
    ListingEnded,
    Progressed,
    RecordEndings,
    ShardPlanned,
    SplitShard,
    StartShard,
    StopRequested,
    StopWorker,
    TimePassed,
    WorkerDraining,
    WorkerJoined,
    WorkerLost,
)
from sdflow.driver.state import Scheduler
from tests.driver.script import back, done, failed, idle_time, item, play, shard, starts

if TYPE_CHECKING:
    from sdflow.driver.events import Event


def test_shards_go_to_the_least_busy_worker_and_two_at_a_time() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w1"), 0),
        (WorkerJoined("w2"), 0),
        *((ShardPlanned(shard(key)), 1.0) for key in "abcde"),
        (Progressed("w2", done(2, "b")), 2),
    ]
    assert play(Scheduler(), script) == [
        StartShard("w1", 1, shard("a")),
        StartShard("w2", 2, shard("b")),
        StartShard("w1", 3, shard("c")),
        StartShard("w2", 4, shard("d")),
        RecordEndings(done(2, "b")),
        StartShard("w2", 5, shard("e")),
    ]


def test_idle_worker_comes_before_one_that_got_room_earlier() -> None:
    scheduler = Scheduler(min_workers=2, max_workers=2)
    play(scheduler, [(WorkerJoined("w1"), 0), (ShardPlanned(shard("a")), 0)])
    script: list[tuple[Event, float]] = [(WorkerJoined("w2"), 1), (ShardPlanned(shard("b")), 1)]
    assert play(scheduler, script) == [StartShard("w2", 2, shard("b"))]


@pytest.mark.parametrize(("max_workers", "enough"), [(1, 2), (2, 2), (5, 5)])
def test_listing_is_drawn_only_as_fast_as_workers_take(max_workers: int, enough: int) -> None:
    scheduler, num_planned = Scheduler(max_workers=max_workers), 0
    while scheduler.wants_shards:
        scheduler.handle(ShardPlanned(shard("a")), 0)
        num_planned += 1
    assert num_planned == enough
    scheduler.handle(WorkerJoined("w"), 0)
    assert scheduler.wants_shards


def test_listing_waits_while_a_thousand_shards_wait_for_another_attempt() -> None:
    scheduler, num_planned = Scheduler(), 0
    scheduler.handle(WorkerJoined("w"), 0)
    while scheduler.wants_shards and num_planned < 2000:
        num_planned += 1
        scheduler.handle(ShardPlanned(shard("a")), 0)
        scheduler.handle(Progressed("w", failed(num_planned, "a", "storage.transient")), 0)
    assert num_planned == 1000


def test_nothing_is_listed_after_its_end_or_a_request_to_stop() -> None:
    ended, stopped = Scheduler(), Scheduler()
    ended.handle(ListingEnded(), 0)
    stopped.handle(StopRequested(), 0)
    assert not ended.wants_shards
    assert not stopped.wants_shards


def test_largest_goes_first_once_the_listing_has_ended_and_not_before() -> None:
    small, medium, large = shard("s", 1), shard("m", 10), shard("l", 100)
    planned: list[tuple[Event, float]] = [
        (ShardPlanned(small), 0),
        (ShardPlanned(large), 0),
        (ShardPlanned(medium), 0),
    ]
    before = play(Scheduler(), [*planned, (WorkerJoined("w"), 0)])
    after = play(Scheduler(), [*planned, (ListingEnded(), 0), (WorkerJoined("w"), 0)])
    assert before == [StartShard("w", 1, small), StartShard("w", 2, large)]
    assert after == [StartShard("w", 1, large), StartShard("w", 2, medium)]


def test_begun_shards_go_before_fresh_ones() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w1"), 0),
        (ShardPlanned(shard("abc")), 0),
        (ShardPlanned(shard("d")), 0),
        (ShardPlanned(shard("e")), 0),
        (Progressed("w1", back(1, "bc")), 1),
        (Progressed("w1", done(2, "d")), 2),
    ]
    assert starts(play(Scheduler(), script))[2:] == [StartShard("w1", 3, shard("bc"))]


def test_images_that_were_handed_back_become_a_shard_of_the_same_attempt() -> None:
    scheduler = Scheduler()
    begun = replace(shard("abc", attempt=4), failures=2, losses=1)
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(begun), 0),
        (Progressed("w", back(1, "cb")), 1),
    ]
    again = replace(begun, items=(item("c"), item("b")))
    assert play(scheduler, script) == [StartShard("w", 1, begun), StartShard("w", 2, again)]
    assert scheduler.retries == 0


def test_images_are_recorded_as_they_end_and_only_once() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("abc")), 0),
        (Progressed("w", done(1, "b")), 1),
        (Progressed("w", done(1, "b") + done(1, "a", "failed") + done(9, "c")), 2),
        (Progressed("w", ()), 3),
        (Progressed("nobody", done(1, "c")), 3),
    ]
    assert play(Scheduler(), script) == [
        StartShard("w", 1, shard("abc")),
        RecordEndings(done(1, "b")),
        RecordEndings(done(1, "a", "failed")),
    ]


def test_images_that_ended_before_the_loss_are_not_done_again() -> None:
    scheduler = Scheduler()
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w1"), 0),
        (ShardPlanned(shard("abcd")), 0),
        (Progressed("w1", done(1, "ac")), 1),
        (WorkerLost("w1", with_node=True), 2),
        (Progressed("w1", done(1, "bd")), 2),
        (WorkerJoined("w2"), 3),
    ]
    assert play(scheduler, script) == [
        StartShard("w1", 1, shard("abcd")),
        RecordEndings(done(1, "ac")),
        StartShard("w2", 2, replace(shard("bd", attempt=2), losses=1)),
    ]
    assert scheduler.retries == 2


def test_suspects_go_each_to_a_worker_that_holds_nothing_and_gets_nothing_more() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w1"), 0),
        (ShardPlanned(shard("a")), 0),
        (ShardPlanned(shard("b")), 0),
        (WorkerLost("w1"), 1),
        (ShardPlanned(shard("c")), 1),
        *((WorkerJoined(name), 2.0) for name in ("w2", "w3", "w4")),
    ]
    a, b = (shard(key, attempt=2, is_suspect=True) for key in "ab")
    assert starts(play(Scheduler(), script))[2:] == [
        StartShard("w2", 3, a),
        StartShard("w3", 4, b),
        StartShard("w4", 5, shard("c")),
    ]


def test_so_many_workers_are_not_refilled_as_suspects_need_an_idle_one() -> None:
    scheduler = Scheduler(max_workers=4)
    full: list[tuple[Event, float]] = [
        (WorkerJoined("w1"), 0),
        (WorkerJoined("w2"), 0),
        *((ShardPlanned(shard(key)), 0.0) for key in "abcd"),
        (WorkerJoined("w3"), 0),
        (ShardPlanned(shard("x")), 0),
        (WorkerLost("w3"), 1),
        *((ShardPlanned(shard(key)), 1.0) for key in "efg"),
    ]
    assert len(starts(play(scheduler, full))) == 5
    script: list[tuple[Event, float]] = [
        (Progressed("w1", done(1, "a")), 2),
        (Progressed("w2", done(2, "b")), 3),
        (Progressed("w1", done(3, "c")), 4),
        (Progressed("w2", done(4, "d")), 5),
    ]
    suspect = replace(shard("x", attempt=2, is_suspect=True), kills=1)
    assert starts(play(scheduler, script)) == [
        StartShard("w2", 6, shard("e")),
        StartShard("w1", 7, suspect),
        StartShard("w2", 8, shard("f")),
    ]


def test_draining_worker_hands_back_and_is_stopped_when_it_holds_nothing() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("abc")), 0),
        (ShardPlanned(shard("d")), 0),
        (WorkerDraining("w"), 1),
        (WorkerDraining("w"), 1),
        (Progressed("w", back(1, "cb") + back(2, "d")), 2),
        (Progressed("w", done(1, "a")), 3),
        (WorkerJoined("other"), 4),
    ]
    assert play(Scheduler(), script) == [
        StartShard("w", 1, shard("abc")),
        StartShard("w", 2, shard("d")),
        SplitShard("w", 1, 3),
        SplitShard("w", 2, 1),
        RecordEndings(done(1, "a")),
        StopWorker("w", "drained"),
        StartShard("other", 3, shard("cb")),
        StartShard("other", 4, shard("d")),
    ]


def test_draining_worker_that_holds_nothing_is_stopped_at_once() -> None:
    script: list[tuple[Event, float]] = [(WorkerJoined("w"), 0), (WorkerDraining("w"), 1)]
    assert play(Scheduler(), script) == [StopWorker("w", "drained")]


def test_draining_worker_that_dies_first_loses_nothing() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("ab")), 0),
        (WorkerDraining("w"), 1),
        (WorkerLost("w", with_node=True), 2),
        (WorkerJoined("other"), 3),
    ]
    again = replace(shard("ab", attempt=2), losses=1)
    assert play(Scheduler(), script)[-1] == StartShard("other", 2, again)


def test_request_to_stop_takes_everything_back_and_starts_nothing_more() -> None:
    scheduler = Scheduler(drain_s=25)
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        *((ShardPlanned(shard(keys)), 0.0) for keys in ("abc", "de", "f")),
        (StopRequested(), 1),
        (Progressed("w", back(1, "cb") + back(2, "ed")), 2),
        (WorkerJoined("late"), 2),
        *idle_time(2, 12, "w", "late"),
        (Progressed("w", done(1, "a")), 12),
    ]
    assert play(scheduler, script) == [
        StartShard("w", 1, shard("abc")),
        StartShard("w", 2, shard("de")),
        SplitShard("w", 1, 3),
        SplitShard("w", 2, 2),
        RecordEndings(done(1, "a")),
    ]
    assert scheduler.is_finished


def test_workers_that_still_compute_when_the_time_to_stop_is_over_are_ended() -> None:
    scheduler = Scheduler(drain_s=25)
    play(scheduler, [(WorkerJoined("w"), 0), (WorkerJoined("idle"), 0)])
    play(scheduler, [(ShardPlanned(shard("a")), 0), (StopRequested(), 0)])
    assert play(scheduler, idle_time(0, 25, "w", "idle")) == []
    assert not scheduler.is_finished
    assert play(scheduler, idle_time(25, 30, "w", "idle")) == [StopWorker("w", "out of time")]
    assert scheduler.is_finished


def test_job_ends_when_the_listing_has_and_every_image_too() -> None:
    scheduler = Scheduler()
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("ab")), 0),
        (ListingEnded(), 0),
        (Progressed("w", done(1, "a")), 1),
        (Progressed("w", failed(1, "b")), 1),  # waits for its next attempt
        (WorkerLost("w"), 2),
        (TimePassed(), 3),
        (WorkerJoined("w2"), 4),
    ]
    for event, now in script:
        assert not scheduler.is_finished
        scheduler.handle(event, now)
    assert not scheduler.is_finished
    scheduler.handle(Progressed("w2", done(2, "b")), 5)
    assert scheduler.is_finished


def test_empty_listing_ends_without_a_worker() -> None:
    scheduler = Scheduler()
    assert not scheduler.is_finished
    scheduler.handle(ListingEnded(), 0)
    assert scheduler.is_finished


def test_stop_before_anything_was_leased_ends_at_once() -> None:
    scheduler = Scheduler()
    play(scheduler, [(ShardPlanned(shard("a")), 0), (StopRequested(), 0)])
    assert scheduler.is_finished
