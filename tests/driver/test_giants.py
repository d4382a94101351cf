"""Images that are done in parts, as events and the exact commands that follow."""

from __future__ import annotations

from dataclasses import replace

from sdflow.driver.attempts import MAX_FAILURES
from sdflow.driver.events import (
    Event,
    ListingEnded,
    Progressed,
    RecordDeadLetter,
    RecordEndings,
    RemoveParts,
    ShardPlanned,
    StartShard,
    WorkerJoined,
    WorkerLost,
)
from sdflow.driver.state import Scheduler
from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import ASSEMBLY, Shard, WorkItem
from sdflow.worker.report import Ending, PartDone, Parted, Retry
from tests.driver.script import but_scale, done, idle_time, item, play, shard, starts

_IMAGE = item("g", 1000)
_LISTED: list[tuple[Event, float]] = [(ShardPlanned(Shard((_IMAGE,))), 0.0), (ListingEnded(), 0.0)]


_PX = 10**7  # of a part: a shard of its own while no pace is known


def _part(number: int, pixels: int = _PX) -> WorkItem:
    return replace(_IMAGE, part=number, pixels=pixels)


def _parted(lease: int, *numbers: int) -> tuple[Ending, ...]:
    parts = tuple((number, 1000 if number == ASSEMBLY else _PX) for number in numbers)
    return (Ending(lease, "g", Parted(_IMAGE, parts)),)


def _part_done(lease: int, number: int) -> tuple[Ending, ...]:
    return (Ending(lease, _part(number).name, PartDone()),)


def _line(lease: int, number: int, status: str) -> tuple[Ending, ...]:
    (ending,) = done(lease, "g", status)  # type: ignore[arg-type]  # one of two words
    return (replace(ending, name=_part(number).name),)


def _begun(*workers: str) -> Scheduler:
    """An image that has been divided into two parts, which are leased."""
    scheduler = Scheduler()
    play(scheduler, [(WorkerJoined("a"), 0.0), *_LISTED])
    play(scheduler, [(Progressed("a", _parted(1, 0, 1, ASSEMBLY)), 1.0)])
    play(scheduler, [(WorkerJoined(worker), 1.0) for worker in workers])
    return scheduler


def test_parts_are_shards_and_the_assembly_follows_the_last_of_them() -> None:
    scheduler = Scheduler()
    play(scheduler, [(WorkerJoined("a"), 0.0), *_LISTED])
    begun = _parted(1, 0, 1, ASSEMBLY)
    assert but_scale(play(scheduler, [(Progressed("a", begun), 1.0)])) == [
        RecordEndings(begun),
        StartShard("a", 2, Shard((_part(0),))),
        StartShard("a", 3, Shard((_part(1),))),
    ]
    second = _part_done(3, 1)
    assert but_scale(play(scheduler, [(Progressed("a", second), 2.0)])) == [RecordEndings(second)]
    first = _part_done(2, 0)
    assert but_scale(play(scheduler, [(Progressed("a", first), 3.0)])) == [
        RecordEndings(first),
        StartShard("a", 4, Shard((_part(ASSEMBLY, 1000),))),
    ]
    assert not scheduler.is_finished
    end = _line(4, ASSEMBLY, "done")
    assert but_scale(play(scheduler, [(Progressed("a", end), 4.0)])) == [
        RecordEndings(end),
        RemoveParts(_part(ASSEMBLY, 1000)),
    ]
    assert scheduler.is_finished


def test_small_parts_share_shards() -> None:
    scheduler = Scheduler()
    play(scheduler, [(WorkerJoined("a"), 0.0), *_LISTED])
    parts = (*((number, _PX // 5) for number in range(9)), (ASSEMBLY, 1000))
    begun = (Ending(1, "g", Parted(_IMAGE, parts)),)
    found = starts(play(scheduler, [(Progressed("a", begun), 1.0)]))
    assert [[item.part for item in start.shard.items] for start in found] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]


def test_parts_go_before_images_that_have_not_been_begun_whatever_their_size() -> None:
    scheduler = Scheduler()
    large = Shard((item("h", 10**9),))
    script = [(WorkerJoined("a"), 0.0), *_LISTED[:1], (ShardPlanned(shard("x")), 0.0)]
    play(scheduler, [*script, (ShardPlanned(large), 0.0), (ListingEnded(), 0.0)])
    (start,) = starts(play(scheduler, [(Progressed("a", _parted(1, 0, ASSEMBLY)), 1.0)]))
    assert start.shard == Shard((_part(0),))


def test_parts_of_an_image_that_a_later_run_tries_again_are_kept() -> None:
    scheduler = _begun()
    line = LedgerLine("g", "v1", "p", "failed", "now", error="storage.denied")
    commands = play(scheduler, [(Progressed("a", (Ending(3, _part(1).name, line),)), 2.0)])
    assert not any(isinstance(command, RemoveParts) for command in commands)
    play(scheduler, [(Progressed("a", _part_done(2, 0)), 3.0)])
    assert scheduler.is_finished


def test_assembly_gets_no_second_worker_and_says_nothing_of_the_pace() -> None:
    scheduler = Scheduler(max_workers=2)
    play(scheduler, [(WorkerJoined("a"), 0.0), (WorkerJoined("b"), 0.0), *_LISTED])
    play(scheduler, [(Progressed("a", _parted(1, 0, ASSEMBLY)), 1.0)])
    play(scheduler, [(Progressed("a", _part_done(2, 0)), 2.0)])
    pace = scheduler.pace.px_per_s
    commands = play(scheduler, idle_time(2.0, 500.0, "a", "b"))
    assert starts(commands) == []
    play(scheduler, [(Progressed("a", _line(3, ASSEMBLY, "done")), 501.0)])
    assert scheduler.pace.px_per_s == pace


def test_image_whose_parts_are_all_durable_is_put_together_at_once() -> None:
    scheduler = Scheduler()
    play(scheduler, [(WorkerJoined("a"), 0.0), *_LISTED])
    commands = play(scheduler, [(Progressed("a", _parted(1, ASSEMBLY)), 1.0)])
    assert starts(commands) == [StartShard("a", 2, Shard((_part(ASSEMBLY, 1000),)))]


def test_first_part_that_is_given_up_ends_the_image_and_the_others_are_forgotten() -> None:
    scheduler = _begun()
    failed = _line(3, 1, "failed")
    assert but_scale(play(scheduler, [(Progressed("a", failed), 2.0)])) == [
        RecordEndings(failed),
        RemoveParts(_part(1)),
    ]
    assert not scheduler.is_finished  # the other part is still computed
    assert but_scale(play(scheduler, [(Progressed("a", _part_done(2, 0)), 3.0)])) == []
    assert scheduler.is_finished


def test_parts_that_wait_are_dropped_with_their_image() -> None:
    scheduler = Scheduler()
    play(scheduler, [(WorkerJoined("a"), 0.0), *_LISTED])
    play(scheduler, [(Progressed("a", _parted(1, 0, 1, 2, 3, ASSEMBLY)), 1.0)])
    commands = play(
        scheduler,
        [(Progressed("a", _line(2, 0, "failed")), 2.0), (Progressed("a", _part_done(3, 1)), 3.0)],
    )
    assert starts(commands) == []
    assert scheduler.is_finished


def test_part_that_kills_its_workers_is_one_dead_letter_for_the_image() -> None:
    scheduler = _begun("b")
    play(scheduler, [(Progressed("a", _part_done(2, 0)), 2.0), (WorkerLost("a"), 3.0)])
    commands = play(scheduler, [(WorkerLost("b"), 4.0)])
    (letter,) = (command for command in commands if isinstance(command, RecordDeadLetter))
    assert (letter.item.key, letter.error) == ("g", "worker.crashed")
    assert RemoveParts(letter.item) in commands
    assert scheduler.is_finished


def test_part_that_fails_in_passing_is_tried_again_alone() -> None:
    scheduler = _begun()
    retry = Ending(3, _part(1).name, Retry(_part(1), "internal", "why"))
    play(scheduler, [(Progressed("a", _part_done(2, 0)), 2.0), (Progressed("a", (retry,)), 2.0)])
    (again,) = starts(play(scheduler, idle_time(2.0, 20.0, "a")))
    assert again.shard.items == (_part(1),)
    assert again.shard.attempt == 2


def test_two_parts_that_fail_too_often_are_one_dead_letter() -> None:
    scheduler = _begun()
    found: list[RecordDeadLetter] = []
    leases = {2: 0, 3: 1}
    now = 2.0
    for _ in range(MAX_FAILURES):
        endings = tuple(
            Ending(lease, _part(number).name, Retry(_part(number), "internal", "why"))
            for lease, number in leases.items()
        )
        commands = play(scheduler, [(Progressed("a", endings), now)])
        commands += play(scheduler, idle_time(now, now + 100, "a"))
        now += 100
        found += [command for command in commands if isinstance(command, RecordDeadLetter)]
        leases = {start.lease: start.shard.items[0].part or 0 for start in starts(commands)}
    assert [letter.item.key for letter in found] == ["g"]
    assert scheduler.is_finished


def test_whole_images_go_on_beside_parts() -> None:
    scheduler = Scheduler()
    play(scheduler, [(WorkerJoined("a"), 0.0), (ShardPlanned(Shard((_IMAGE,))), 0.0)])
    play(scheduler, [(ShardPlanned(shard("xy")), 0.0)])
    commands = play(scheduler, [(Progressed("a", _parted(1, 0, ASSEMBLY)), 1.0)])
    assert starts(commands) == [StartShard("a", 3, Shard((_part(0),)))]  # begun images go first
    line = done(2, "xy")
    assert RecordEndings(line) in play(scheduler, [(Progressed("a", line), 2.0)])
    assert isinstance(line[0].outcome, LedgerLine)
