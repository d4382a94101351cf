"""Idle workers at the end: parts of what others hold, and second attempts at what is late."""

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
    TimePassed,
    WorkerJoined,
    WorkerLost,
)
from sdflow.driver.state import Scheduler
from tests.driver.script import back, done, failed, idle_time, play, shard

if TYPE_CHECKING:
    from sdflow.driver.events import Command, Event


def _tail(keys: str = "abcdef", pixels: int = 100) -> tuple[Scheduler, list[Command]]:
    """Two workers, listing ended, ten pixels a second; at 10 s one of them is idle."""
    scheduler = Scheduler(min_workers=2, max_workers=2)
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard(keys, pixels)), 0),
        (WorkerJoined("v"), 0),
        (ShardPlanned(shard("z")), 0),
        (ListingEnded(), 0),
        *idle_time(0, 10, "w", "v"),
        (Progressed("v", done(2, "z")), 10),
    ]
    play(scheduler, script)
    return scheduler, scheduler.handle(TimePassed(), 10)


def test_largest_running_shard_is_split_for_an_idle_worker_and_not_asked_again_at_once() -> None:
    scheduler, commands = _tail("abcde")
    assert commands == [SplitShard("w", 1, 2)]
    assert play(scheduler, [(TimePassed(), 12)]) == []
    assert play(scheduler, [(TimePassed(), 13)]) == [SplitShard("w", 1, 2)]
    assert play(scheduler, [(Progressed("w", back(1, "ed")), 14)]) == [
        StartShard("v", 3, shard("ed"))
    ]


def test_one_shard_is_shared_with_all_that_are_idle() -> None:
    scheduler = Scheduler(min_workers=4, max_workers=4)
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("abcdefgh")), 0),
        (ListingEnded(), 0),
        *((WorkerJoined(worker), 1.0) for worker in ("x", "y", "z")),
        (TimePassed(), 1),
        (Progressed("w", back(1, "hgfedc")), 2),
    ]
    assert play(scheduler, script)[1:] == [
        SplitShard("w", 1, 6),
        StartShard("x", 2, shard("hg")),
        StartShard("y", 3, shard("fe")),
        StartShard("z", 4, shard("dc")),
    ]


@pytest.mark.parametrize(("keys", "pixels"), [("a", 1000), ("ab", 9)])
def test_shard_of_one_image_or_of_a_second_is_not_split(keys: str, pixels: int) -> None:
    assert _tail(keys, pixels)[1] == []


def test_suspects_are_not_split() -> None:
    scheduler = Scheduler(min_workers=2, max_workers=2)
    script: list[tuple[Event, float]] = [
        (ShardPlanned(shard("ab" * 8, 1000, is_suspect=True)), 0),
        (ListingEnded(), 0),
        (WorkerJoined("w"), 0),
        (WorkerJoined("v"), 0),
        *idle_time(0, 100, "w", "v"),
    ]
    assert len(play(scheduler, script)) == 1


def _twins(keys: str = "a") -> Scheduler:
    """``w`` straggles with lease 1, ``v`` has got a twin, lease 3, of all that w still has."""
    scheduler, commands = _tail(keys)
    num_split = len(commands)
    late = idle_time(10, 10 + 60 * len(keys), "w", "v")
    commands += [command for command in play(scheduler, late) if isinstance(command, StartShard)]
    assert commands[num_split:] == [StartShard("v", 3, shard(keys, attempt=2))]
    return scheduler


def test_straggler_gets_a_twin_when_it_takes_three_times_as_long_as_it_should() -> None:
    scheduler, _ = _tail("a", 200)  # should take 20 s
    assert play(scheduler, idle_time(10, 60, "w", "v")) == []
    twin = StartShard("v", 3, shard("a", 200, attempt=2))
    assert play(scheduler, idle_time(60, 65, "w", "v")) == [twin]
    assert scheduler.retries == 1


@pytest.mark.parametrize(
    ("winner", "lease", "loser", "asked"), [("v", 3, "w", 1), ("w", 1, "v", 3)]
)
def test_first_of_twins_counts_and_the_other_is_asked_to_hand_back(
    winner: str, lease: int, loser: str, asked: int
) -> None:
    scheduler = _twins()
    assert play(scheduler, [(Progressed(winner, done(lease, "a")), 100)]) == [
        RecordEndings(done(lease, "a")),
        SplitShard(loser, asked, 1),
    ]
    assert scheduler.is_finished  # whatever the loser still does
    assert play(scheduler, [(Progressed(loser, done(asked, "a")), 101)]) == []


def test_twins_that_each_did_a_part_are_done_together() -> None:
    scheduler = _twins("ab")
    assert play(scheduler, [(Progressed("w", done(1, "a")), 200)]) == [RecordEndings(done(1, "a"))]
    assert play(scheduler, [(Progressed("v", done(3, "b")), 201)]) == [RecordEndings(done(3, "b"))]
    assert scheduler.is_finished
    assert play(scheduler, [(Progressed("v", back(3, "a")), 202)]) == [SplitShard("w", 1, 1)]
    assert play(scheduler, [(Progressed("w", back(1, "b")), 203)]) == []


@pytest.mark.parametrize(("lost", "left", "lease"), [("v", "w", 1), ("w", "v", 3)])
def test_loss_of_one_twin_loses_nothing_and_repeats_nothing(
    lost: str, left: str, lease: int
) -> None:
    scheduler = _twins()
    assert play(scheduler, [(WorkerLost(lost), 100), (WorkerJoined("x"), 100)]) == []
    assert play(scheduler, [(Progressed(left, done(lease, "a")), 101)]) == [
        RecordEndings(done(lease, "a"))
    ]
    assert scheduler.is_finished


def test_loss_of_the_one_that_has_lost_the_race_brings_nothing_back() -> None:
    scheduler = _twins()
    play(scheduler, [(Progressed("v", done(3, "a")), 100)])
    assert play(scheduler, [(WorkerLost("w"), 101), *idle_time(101, 120, "v")]) == []


def test_loss_of_both_twins_brings_the_image_back_once() -> None:
    scheduler = _twins()
    script: list[tuple[Event, float]] = [
        (WorkerLost("w", with_node=True), 100),
        (WorkerLost("v", with_node=True), 100),
        (WorkerJoined("x"), 100),
    ]
    again = replace(shard("a", attempt=3), losses=1)
    assert play(scheduler, script) == [StartShard("x", 4, again)]


def test_failure_of_one_twin_is_nothing_while_the_other_runs() -> None:
    scheduler = _twins()
    script: list[tuple[Event, float]] = [
        (Progressed("w", failed(1, "a")), 100),
        *idle_time(100, 110, "w", "v"),
        (Progressed("v", failed(3, "a")), 110),
    ]
    assert play(scheduler, script) == []  # w has failed already: it is not asked once more
    assert not scheduler.is_finished
    again = replace(shard("a", attempt=3), failures=1)
    assert play(scheduler, idle_time(110, 115, "w", "v")) == [StartShard("w", 4, again)]


def test_twin_that_has_lost_does_not_get_a_twin_of_nothing() -> None:
    scheduler = _twins()
    play(scheduler, [(Progressed("v", done(3, "a")), 100)])
    assert play(scheduler, idle_time(100, 500, "w", "v")) == []


def test_image_that_failed_with_both_twins_is_waited_for() -> None:
    scheduler = _twins("ab")
    script: list[tuple[Event, float]] = [
        (Progressed("v", failed(3, "a")), 200),  # w still has it
        (Progressed("w", failed(1, "a")), 201),
        (Progressed("v", done(3, "b")), 202),  # w has it too, and is asked to hand it back
    ]
    assert SplitShard("w", 1, 1) in play(scheduler, script)
    assert not scheduler.is_finished
    again = play(scheduler, [(Progressed("w", back(1, "b")), 203), *idle_time(203, 210, "w", "v")])
    assert [command.shard.items for command in again if isinstance(command, StartShard)] == [
        shard("a").items
    ]
