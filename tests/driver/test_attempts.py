"""What follows an attempt that failed or a worker that died, and who is found to have killed it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from os import fsdecode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.driver.attempts import (
    MAX_FAILURES,
    MAX_KILLS,
    MAX_LOSSES,
    after_failures,
    after_loss,
    pause_s,
)
from sdflow.driver.events import (
    GiveUp,
    ListingEnded,
    Progressed,
    RecordDeadLetter,
    RecordEndings,
    ShardPlanned,
    SplitShard,
    StartShard,
    StopWorker,
    WorkerJoined,
    WorkerLost,
)
from sdflow.driver.outage import OUTAGE_S
from sdflow.driver.state import Scheduler
from tests.driver.script import (
    back,
    but_scale,
    done,
    failed,
    failure,
    idle_time,
    item,
    play,
    shard,
    starts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.driver.events import Event

_MANY = "".join(map(chr, range(0x4E00, 0x4E00 + 64)))
_CRASHED = "a worker died or hung 2 times while it had this image alone"


@given(size=st.integers(2, 64))
def test_suspects_are_parted_into_up_to_sixteen_of_about_the_same_size(size: int) -> None:
    whole = shard(_MANY[:size])
    parts, dead = after_loss(whole, whole.items, with_node=False, was_alone=True)
    sizes = [len(part.items) for part in parts]
    assert dead == []
    assert 2 <= len(parts) <= 16
    assert max(sizes) == -(-size // 16)
    assert sum((part.items for part in parts), ()) == whole.items
    assert all(
        part == replace(whole, items=part.items, attempt=2, is_suspect=True) for part in parts
    )


@pytest.mark.parametrize("was_alone", [True, False])
def test_kill_counts_only_for_an_image_that_was_alone(was_alone: bool) -> None:
    one = shard("a")
    (again,), dead = after_loss(one, one.items, with_node=False, was_alone=was_alone)
    assert again == replace(one, attempt=2, is_suspect=True, kills=int(was_alone))
    assert dead == []


def test_image_that_was_alone_on_two_workers_that_died_is_given_up() -> None:
    one = replace(shard("a", attempt=5, is_suspect=True), kills=MAX_KILLS - 1)
    assert after_loss(one, one.items, with_node=False, was_alone=True) == (
        [],
        [RecordDeadLetter(item("a"), "worker.crashed", _CRASHED, 5)],
    )


def test_images_lost_with_their_node_are_suspected_the_third_time() -> None:
    whole = shard("ab")
    for losses in range(1, MAX_LOSSES):
        (whole,), dead = after_loss(whole, whole.items, with_node=True, was_alone=True)
        assert whole == replace(shard("ab"), attempt=1 + losses, losses=losses)
        assert dead == []
    parts, _ = after_loss(whole, whole.items, with_node=True, was_alone=True)
    assert [part.is_suspect for part in parts] == [True, True]


def test_failures_are_tried_again_with_their_history_until_they_are_too_many() -> None:
    attempt, failures = shard("abc"), (failure("a"), failure("c", "oom"))
    for count in range(1, MAX_FAILURES):
        (attempt,), dead = after_failures(attempt, failures, counts=True)
        assert attempt == replace(shard("ac"), attempt=1 + count, failures=count)
        assert dead == []
    assert after_failures(attempt, failures, counts=True) == (
        [],
        [
            RecordDeadLetter(item("a"), "internal", "why", MAX_FAILURES),
            RecordDeadLetter(item("c"), "oom", "why", MAX_FAILURES),
        ],
    )


def test_failures_in_an_outage_are_held_against_nobody() -> None:
    attempt = shard("a")
    for _ in range(10 * MAX_FAILURES):
        (attempt,), _ = after_failures(attempt, (failure("a"),), counts=False)
    assert (attempt.failures, attempt.attempt) == (0, 1 + 10 * MAX_FAILURES)


@given(key=st.binary(min_size=1).map(fsdecode), attempt=st.integers(2, 10_000))
def test_pause_grows_exponentially_to_a_minute_and_is_the_same_every_time(
    key: str, attempt: int
) -> None:
    longest = min(60.0, 2.0 ** min(attempt - 2, 10))
    waiting = replace(shard("a", attempt=attempt), items=(item(key),))
    assert longest / 2 <= pause_s(waiting) < longest
    assert pause_s(waiting) == pause_s(replace(waiting, failures=3))


def test_pauses_of_shards_that_failed_together_differ() -> None:
    assert len({pause_s(shard(key, attempt=6)) for key in _MANY}) == len(_MANY)


def _play_with_killers(images: str, killers: str) -> tuple[int, list[str], dict[str, str]]:
    """Every worker dies of a killer as soon as it comes to one: kills, what was done, the dead."""
    scheduler = Scheduler()
    commands = play(scheduler, [(ShardPlanned(shard(images)), 0), (ListingEnded(), 0)])
    num_kills, ended, dead = 0, [], {}
    commands += play(scheduler, [(WorkerJoined("w0"), 0)])
    while commands:
        command = commands.pop(0)
        if isinstance(command, RecordDeadLetter):
            dead[command.item.key] = command.error
        if not isinstance(command, StartShard):
            continue
        keys = "".join(image.key for image in command.shard.items)
        fatal = [keys.index(killer) for killer in killers if killer in keys]
        good = keys[: min(fatal, default=len(keys))]
        ended += list(good)
        if good:
            commands += play(
                scheduler, [(Progressed(command.worker, done(command.lease, good)), 0)]
            )
        if fatal:
            num_kills += 1
            lost = WorkerLost(command.worker)
            commands += play(scheduler, [(lost, 0), (WorkerJoined(f"w{num_kills}"), 0)])
    assert scheduler.is_finished
    return num_kills, ended, dead


@pytest.mark.parametrize(
    ("num_images", "killer", "num_kills"), [(1, 0, 2), (2, 0, 3), (8, 7, 2), (8, 5, 3), (64, 9, 4)]
)
def test_killer_is_found_in_few_kills_and_its_neighbours_are_done_once(
    num_images: int, killer: int, num_kills: int
) -> None:
    images = _MANY[:num_images]
    kills, ended, dead = _play_with_killers(images, images[killer])
    assert kills == num_kills
    assert dead == {images[killer]: "worker.crashed"}
    assert sorted(ended) == sorted(images.replace(images[killer], ""))


@given(killers=st.sets(st.sampled_from(_MANY), max_size=8), size=st.integers(1, 64))
def test_all_killers_are_found_and_nobody_else(killers: set[str], size: int) -> None:
    images = _MANY[:size]
    present = sorted(killers.intersection(images))
    num_kills, ended, dead = _play_with_killers(images, "".join(present))
    assert sorted(dead) == present
    assert sorted([*ended, *dead]) == sorted(images)
    assert num_kills <= 1 + len(present) * (1 + MAX_KILLS)


def _play_failing(
    scheduler: Scheduler, error: str, until: float, others: Iterable[Event] = ()
) -> tuple[list[StartShard], list[RecordDeadLetter | GiveUp]]:
    """Let a worker fail at everything, while others do something now and then."""
    waiting = iter(others)
    leased = starts(play(scheduler, [(WorkerJoined("w"), 0), (ShardPlanned(shard("a")), 0)]))
    num_failed, ends = 0, list[RecordDeadLetter | GiveUp]()
    for event, now in idle_time(0, until, "w"):
        script = [event, *islice(waiting, 1)]
        if num_failed < len(leased):
            script.append(Progressed("w", failed(leased[-1].lease, "a", error)))
            num_failed += 1
        news = play(scheduler, [(event, now) for event in script])
        leased += starts(news)
        ends += [news for news in news if isinstance(news, RecordDeadLetter | GiveUp)]
    return leased, ends


def test_failure_leads_to_a_pause_then_to_another_attempt_at_last_to_a_dead_letter() -> None:
    scheduler = Scheduler()
    leased, ends = _play_failing(scheduler, "internal", 200)
    assert [start.shard for start in leased] == [
        replace(shard("a"), attempt=1 + count, failures=count) for count in range(MAX_FAILURES)
    ]
    assert ends == [RecordDeadLetter(item("a"), "internal", "why", MAX_FAILURES)]
    assert scheduler.retries == MAX_FAILURES - 1


def test_attempt_after_a_failure_comes_when_its_pause_is_over() -> None:
    scheduler = Scheduler()
    pause = pause_s(shard("a", attempt=2))
    play(scheduler, [(WorkerJoined("w"), 0), (ShardPlanned(shard("a")), 0)])
    play(scheduler, [(Progressed("w", failed(1, "a")), 0)])
    assert starts(play(scheduler, idle_time(0, pause - 0.001, "w"))) == []
    assert starts(play(scheduler, idle_time(pause - 0.001, pause, "w"))) == [
        StartShard("w", 2, replace(shard("a", attempt=2), failures=1))
    ]


def test_while_nothing_succeeds_storage_failures_do_not_count_but_the_job_is_given_up() -> None:
    leased, ends = _play_failing(Scheduler(), "storage.transient", OUTAGE_S + 60)
    assert len(leased) > 10 * MAX_FAILURES
    assert {start.shard.failures for start in leased} == {0}
    assert ends[0] == GiveUp("storage.transient", "why")
    assert _play_failing(Scheduler(), "storage.transient", OUTAGE_S)[1] == []


def test_while_others_succeed_storage_failures_count() -> None:
    scheduler = Scheduler(min_workers=2, max_workers=2)
    play(scheduler, [(WorkerJoined("other"), 0), (ShardPlanned(shard(_MANY)), 0)])
    others = [Progressed("other", done(1, key)) for key in _MANY]
    leased, ends = _play_failing(scheduler, "storage.transient", 150, others)
    assert len(leased) == MAX_FAILURES
    assert ends == [RecordDeadLetter(item("a"), "storage.transient", "why", MAX_FAILURES)]


def test_failures_of_a_worker_that_is_lost_in_an_outage_do_not_count_either() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("ab")), 0),
        (Progressed("w", failed(1, "a", "storage.transient")), 1),
        (WorkerLost("w", with_node=True), 2),
        (WorkerJoined("w2"), 2),
        *idle_time(2, 7, "w2"),
    ]
    assert starts(play(Scheduler(), script))[1:] == [
        StartShard("w2", 2, replace(shard("b", attempt=2), losses=1)),
        StartShard("w2", 3, shard("a", attempt=2)),
    ]


def test_hour_without_success_is_none_of_failure() -> None:
    """A failure that was made good, a first one after a long wait: neither ends the job."""
    scheduler = Scheduler()
    script: list[tuple[Event, float]] = [
        *idle_time(0, 2 * OUTAGE_S),
        (WorkerJoined("w"), 2 * OUTAGE_S),
        (ShardPlanned(shard("a", 10**7)), 2 * OUTAGE_S),
        (ShardPlanned(shard("b")), 2 * OUTAGE_S),
        (Progressed("w", failed(2, "b")), 2 * OUTAGE_S + 1),
        *idle_time(2 * OUTAGE_S, 2 * OUTAGE_S + 5, "w"),
        (Progressed("w", done(3, "b")), 2 * OUTAGE_S + 6),
        *idle_time(2 * OUTAGE_S + 6, 4 * OUTAGE_S, "w"),
    ]
    a, b = shard("a", 10**7), shard("b")
    assert but_scale(play(scheduler, script)) == [
        StartShard("w", 1, a),
        StartShard("w", 2, b),
        StartShard("w", 3, replace(b, attempt=2, failures=1)),
        RecordEndings(done(3, "b")),
    ]


def test_worker_whose_memory_ran_out_is_replaced_when_it_holds_nothing() -> None:
    script: list[tuple[Event, float]] = [
        (WorkerJoined("w"), 0),
        (ShardPlanned(shard("ab")), 0),
        (ShardPlanned(shard("cd")), 0),
        (Progressed("w", failed(1, "a", "oom")), 1),
        (Progressed("w", done(1, "b")), 2),
        (Progressed("w", back(2, "d")), 3),
        (Progressed("w", done(2, "c")), 4),
        (WorkerJoined("w2"), 5),
        *idle_time(5, 10, "w2"),
    ]
    assert play(Scheduler(), script) == [
        StartShard("w", 1, shard("ab")),
        StartShard("w", 2, shard("cd")),
        RecordEndings(done(1, "b")),
        SplitShard("w", 2, 2),
        RecordEndings(done(2, "c")),
        StopWorker("w", "drained"),
        StartShard("w2", 3, shard("d")),
        StartShard("w2", 4, replace(shard("a", attempt=2), failures=1)),
    ]
