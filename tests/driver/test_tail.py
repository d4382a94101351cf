"""Who is stuck, whose work is shared, who gets a second worker, and how many workers there are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.driver.events import (
    ListingEnded,
    Progressed,
    RecordEndings,
    ScaleTo,
    ShardPlanned,
    SplitShard,
    StartShard,
    StopWorker,
    TimePassed,
    WorkerDraining,
    WorkerJoined,
)
from sdflow.driver.leases import Pace
from sdflow.driver.state import Scheduler
from sdflow.driver.tail import plan_scale
from tests.driver.script import back, done, idle_time, play, shard, starts

if TYPE_CHECKING:
    from sdflow.driver.events import Event

_SILENT = StopWorker("w", "no sign of life")
_STALLED = StopWorker("w", "no image ended for far too long")


@given(
    pixels=st.integers(0, 10**12),
    images=st.integers(0, 10**6),
    fewest=st.integers(0, 50),
    more=st.integers(0, 50),
    seconds=st.integers(0, 1000),
)
def test_scale_is_what_the_backlog_is_worth_within_its_limits(
    pixels: int, images: int, fewest: int, more: int, seconds: int
) -> None:
    pace = Pace()
    pace.add(1_000_000, seconds)
    between = (fewest, fewest + more)
    scale = plan_scale(pixels=pixels, images=images, pace=pace, between=between)
    assert fewest <= scale <= fewest + more
    assert scale <= max(fewest, images)
    if seconds:
        idle_pixels = (scale - 1) * 60 * 1_000_000 / seconds
        assert scale == fewest or idle_pixels < pixels


def test_pace_is_learnt_from_what_was_done_and_nothing_else() -> None:
    scheduler = Scheduler()
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("abcd", 50)), 0),
        (Progressed("w", done(1, "a") + done(1, "b", "failed") + back(1, "dc")), 5),
        (Progressed("w", back(2, "dc")), 6),
    ]
    assert scheduler.pace.px_per_s is None
    play(scheduler, script)
    assert scheduler.pace.px_per_s == 10


def _holding(pixels: int) -> Scheduler:
    scheduler = Scheduler()
    play(scheduler, [(WorkerJoined("w"), 0), (ShardPlanned(shard("ab", pixels)), 0)])
    return scheduler


def _then(scheduler: Scheduler, now: float) -> list[StartShard]:
    """What the next worker gets."""
    return starts(play(scheduler, [(WorkerJoined("next"), now)]))


def test_worker_without_a_sign_of_life_is_stopped_and_its_images_are_not_suspected() -> None:
    scheduler = _holding(100)
    assert play(scheduler, idle_time(0, 60)) == []
    assert play(scheduler, idle_time(60, 65)) == [_SILENT]
    again = replace(shard("ab", attempt=2), losses=1)
    assert _then(scheduler, 65) == [StartShard("next", 2, again)]


def test_driver_that_was_suspended_loses_nobody() -> None:
    scheduler = _holding(100)
    script: list[tuple[Event, float]] = [
        *idle_time(0, 50, "w"),
        (TimePassed(), 3650),
        *idle_time(3650, 3660),
        (Progressed("w", done(1, "ab")), 3661),
    ]
    assert play(scheduler, script) == [RecordEndings(done(1, "ab"))]


@pytest.mark.parametrize(("pixels", "longest"), [(100, 600 + 2), (100_000, 600 + 2_000)])
def test_worker_that_ends_nothing_for_far_longer_than_its_pixels_take_is_stopped(
    pixels: int, longest: float
) -> None:
    scheduler = _holding(pixels)
    assert play(scheduler, idle_time(0, longest - 5, "w")) == []
    assert play(scheduler, idle_time(longest - 5, longest + 5, "w")) == [_STALLED]
    a, b = (shard(key, pixels, attempt=2, is_suspect=True) for key in "ab")
    assert _then(scheduler, longest) == [StartShard("next", 2, a)]
    assert starts(play(scheduler, [(Progressed("next", done(2, "a")), longest)])) == [
        StartShard("next", 3, b)
    ]


def test_stalled_worker_is_known_by_the_pace_of_all_once_there_is_one() -> None:
    scheduler = Scheduler(min_workers=2, max_workers=2)
    script: list[tuple[Event, float]] = [
        (WorkerJoined("quick"), 0),
        (ShardPlanned(shard("q", 100_000)), 0),
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("ab", 100_000)), 0),
        (WorkerDraining("quick"), 0),
        *idle_time(0, 10, "quick", "w"),
        (Progressed("quick", done(1, "q")), 10),  # 10 000 a second: 20 s for w
        *idle_time(10, 800, "w"),
    ]
    assert StopWorker("w", "no image ended for far too long") not in play(scheduler, script)
    assert _STALLED in play(scheduler, idle_time(800, 805, "w"))


def test_worker_that_ends_an_image_now_and_then_is_not_stalled() -> None:
    scheduler = _holding(100)
    play(scheduler, [*idle_time(0, 590, "w"), (Progressed("w", done(1, "a")), 590)])
    assert play(scheduler, idle_time(590, 1190, "w")) == []


def test_scale_follows_the_backlog_and_goes_back_to_the_fewest() -> None:
    scheduler = Scheduler(min_workers=1, max_workers=3)
    begin: list[tuple[Event, float]] = [
        (WorkerJoined("w1"), 0),
        (ShardPlanned(shard("a")), 0),
        (TimePassed(), 1),
        *((ShardPlanned(shard(key)), 1.0) for key in "bcd"),
        (ShardPlanned(shard("e", 100_000)), 1.0),
        (TimePassed(), 2),
        (WorkerJoined("w2"), 3),
        (WorkerJoined("w3"), 3),
        (ListingEnded(), 3),
        *((Progressed("w1", done(lease, key)), 8.0) for lease, key in ((1, "a"), (2, "b"))),
    ]
    leases = [(1, "a", "w1"), (2, "b", "w1"), (3, "c", "w2"), (4, "d", "w2"), (5, "e", "w3")]
    sizes = {"e": 100_000}
    assert play(scheduler, begin) == [
        *(StartShard(worker, lease, shard(key)) for lease, key, worker in leases[:2]),
        ScaleTo(3),
        *(
            StartShard(worker, lease, shard(key, sizes.get(key, 100)))
            for lease, key, worker in leases[2:]
        ),
        RecordEndings(done(1, "a")),
        RecordEndings(done(2, "b")),
    ]
    unneeded = "not needed any more"
    assert play(scheduler, idle_time(8, 30, "w1", "w2", "w3")) == []
    play(scheduler, [(Progressed("w2", done(3, "c") + done(4, "d")), 30)])
    rest = play(scheduler, idle_time(30, 130, "w1", "w2", "w3"))
    assert rest == [StopWorker("w1", unneeded), ScaleTo(2), StopWorker("w2", unneeded), ScaleTo(1)]


def test_worker_whose_node_will_go_is_replaced_before_it_has_gone() -> None:
    scheduler = Scheduler(min_workers=2, max_workers=2)
    script: list[tuple[Event, float]] = [
        *((WorkerJoined(worker), 0.0) for worker in ("w1", "w2")),
        *((ShardPlanned(shard(key)), 0.0) for key in "ab"),
        (WorkerDraining("w1"), 1),
        (TimePassed(), 2),
        (Progressed("w1", done(1, "a")), 3),
        (TimePassed(), 4),
    ]
    assert play(scheduler, script)[2:] == [
        SplitShard("w1", 1, 1),
        ScaleTo(3),
        RecordEndings(done(1, "a")),
        StopWorker("w1", "drained"),
        ScaleTo(2),
    ]


def test_all_workers_are_wanted_while_the_listing_brings_more_than_they_take() -> None:
    scheduler = Scheduler(min_workers=1, max_workers=4)
    play(scheduler, [(WorkerJoined("w"), 0), (ShardPlanned(shard("a")), 0)])
    play(scheduler, [(Progressed("w", done(1, "a")), 1)])  # so fast that one could do it all
    names = iter("bcdefghij")
    while scheduler.wants_shards:
        play(scheduler, [(ShardPlanned(shard(next(names))), 1)])
    assert play(scheduler, [(TimePassed(), 2)]) == [ScaleTo(4)]
