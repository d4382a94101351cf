"""The scheduler's rules as event lists and exact command lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sdflow.driver.events import (
    Command,
    Event,
    ListingEnded,
    RecordDeadLetter,
    ShardFailed,
    ShardFinished,
    ShardPlanned,
    StartShard,
    StopRequested,
    WorkerJoined,
    WorkerLost,
)
from sdflow.driver.state import Scheduler
from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.report import Retry, ShardReport, Totals


def _shard(*names: str, attempt: int = 1, suspicion: int = 0) -> Shard:
    items = tuple(WorkItem(name, "v1", 1) for name in names)
    return Shard(items, attempt=attempt, suspicion=suspicion)


def _report(*retries: Retry) -> ShardReport:
    return ShardReport(Totals(), failed=(), retries=retries, peak_rss_bytes=0)


def _play(scheduler: Scheduler, events: Iterable[Event]) -> list[Command]:
    return [command for event in events for command in scheduler.handle(event)]


def test_shards_go_to_the_least_busy_worker_and_two_at_a_time() -> None:
    a, b, c, d, e = (_shard(name) for name in "abcde")
    scheduler = Scheduler()
    events: list[Event] = [
        WorkerJoined("w1"),
        WorkerJoined("w2"),
        *(ShardPlanned(shard) for shard in (a, b, c, d, e)),
        ShardFinished("w2", b, _report()),
    ]
    assert _play(scheduler, events) == [
        StartShard("w1", a),
        StartShard("w2", b),
        StartShard("w1", c),
        StartShard("w2", d),
        StartShard("w2", e),
    ]


def test_job_ends_when_the_listing_has_and_nothing_is_leased() -> None:
    scheduler, shard = Scheduler(), _shard("a")
    assert not scheduler.is_finished
    scheduler.handle(WorkerJoined("w"))
    scheduler.handle(ShardPlanned(shard))
    scheduler.handle(ListingEnded())
    assert not scheduler.is_finished
    scheduler.handle(ShardFinished("w", shard, _report()))
    assert scheduler.is_finished


def test_empty_listing_ends_without_a_worker() -> None:
    scheduler = Scheduler()
    scheduler.handle(ListingEnded())
    assert scheduler.is_finished


def test_listing_is_drawn_only_as_fast_as_workers_take() -> None:
    scheduler = Scheduler()
    planned = 0
    while scheduler.wants_shards:
        scheduler.handle(ShardPlanned(_shard(str(planned))))
        planned += 1
    assert planned == 2
    scheduler.handle(WorkerJoined("w"))
    assert scheduler.wants_shards


def test_shard_of_a_lost_worker_runs_again_alone() -> None:
    a, b, c = _shard("a", "x"), _shard("b"), _shard("c")
    scheduler = Scheduler()
    commands = _play(
        scheduler,
        [
            WorkerJoined("w1"),
            ShardPlanned(a),
            ShardPlanned(b),
            ShardPlanned(c),
            WorkerLost("w1"),
            WorkerJoined("w2"),
        ],
    )
    suspects = [replace(shard, attempt=2, suspicion=1) for shard in (b, a)]
    assert commands == [StartShard("w1", a), StartShard("w1", b), StartShard("w2", suspects[0])]
    assert _play(scheduler, [ShardFinished("w2", suspects[0], _report())]) == [
        StartShard("w2", suspects[1])
    ]
    assert _play(scheduler, [ShardFinished("w2", suspects[1], _report())]) == [StartShard("w2", c)]
    assert scheduler.retries == 3


def test_killer_is_found_and_its_neighbours_lose_nothing() -> None:
    scheduler = Scheduler()
    scheduler.handle(WorkerJoined("w0"))
    scheduler.handle(ShardPlanned(_shard("good", "killer", "fine")))
    scheduler.handle(ListingEnded())
    worker, given_up, done = 0, [], []
    leased = [_shard("good", "killer", "fine")]
    while not scheduler.is_finished:
        shard = leased.pop()
        name = f"w{worker}"
        if any(item.key == "killer" for item in shard.items):
            worker += 1
            commands = _play(scheduler, [WorkerLost(name), WorkerJoined(f"w{worker}")])
        else:
            done += [item.key for item in shard.items]
            commands = scheduler.handle(ShardFinished(name, shard, _report()))
        leased += [command.shard for command in commands if isinstance(command, StartShard)]
        given_up += [command for command in commands if isinstance(command, RecordDeadLetter)]
    assert done == ["good", "fine"]
    assert [(letter.item.key, letter.error) for letter in given_up] == [
        ("killer", "worker.crashed")
    ]
    assert worker == 4  # once among others, once in its shard alone, twice alone


def test_image_that_failed_in_passing_is_tried_three_times() -> None:
    first = _shard("a", "b")
    retry = Retry(first.items[1], "storage.transient", "slow down")
    second = replace(first, items=first.items[1:], attempt=2, failures=1)
    third = replace(second, attempt=3, failures=2)
    scheduler = Scheduler()
    commands = _play(
        scheduler,
        [
            WorkerJoined("w"),
            ShardPlanned(first),
            ShardFinished("w", first, _report(retry)),
            ShardFinished("w", second, _report(retry)),
            ShardFinished("w", third, _report(retry)),
        ],
    )
    assert commands == [
        *(StartShard("w", shard) for shard in (first, second, third)),
        RecordDeadLetter(retry.item, "storage.transient", "slow down", 3),
    ]


def test_shard_that_could_not_be_recorded_is_done_again_as_a_whole() -> None:
    first = _shard("a", "b")
    again = replace(first, attempt=2, failures=1)
    commands = _play(
        Scheduler(),
        [
            WorkerJoined("w"),
            ShardPlanned(first),
            ShardFailed("w", first, "storage.transient", "no ledger"),
        ],
    )
    assert commands == [StartShard("w", first), StartShard("w", again)]


def test_losses_use_up_nobodys_errors_and_errors_end_after_losses() -> None:
    scheduler, retry = Scheduler(), Retry(WorkItem("a", "v1", 1), "internal", "broken")
    shard = _shard("a")
    _play(scheduler, [WorkerJoined("w0"), ShardPlanned(shard), WorkerLost("w0")])
    commands = scheduler.handle(WorkerJoined("w1"))
    for failures in range(3):
        again = replace(shard, attempt=2 + failures, suspicion=1, failures=failures)
        assert commands == [StartShard("w1", again)]
        commands = scheduler.handle(ShardFinished("w1", again, _report(retry)))
    assert commands == [RecordDeadLetter(retry.item, "internal", "broken", 4)]


def test_request_to_stop_starts_nothing_more_and_waits_for_what_runs() -> None:
    a, b, c = _shard("a"), _shard("b"), _shard("c")
    scheduler = Scheduler()
    _play(scheduler, [WorkerJoined("w"), *(ShardPlanned(shard) for shard in (a, b, c))])
    assert scheduler.handle(StopRequested()) == []
    assert not scheduler.is_finished
    assert not scheduler.wants_shards
    assert _play(scheduler, [ShardFinished("w", s, _report()) for s in (a, b)]) == []
    assert scheduler.is_finished


class Machine(RuleBasedStateMachine):
    """Any order of losses and failures: nothing lost, nothing twice, suspects alone."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler()
        self.leases: dict[str, list[Shard]] = {}
        self.planned: set[str] = set()
        self.ended: list[str] = []
        self.workers = 0
        self.listing = True

    def _handle(self, event: Event) -> None:
        for command in self.scheduler.handle(event):
            match command:
                case StartShard(worker, shard):
                    self.leases[worker].append(shard)
                case RecordDeadLetter(item):
                    self.ended.append(item.key)

    @rule()
    def join(self) -> None:
        self.workers += 1
        self.leases[f"w{self.workers}"] = []
        self._handle(WorkerJoined(f"w{self.workers}"))

    @precondition(lambda self: self.listing)
    @rule(size=st.integers(1, 4))
    def plan(self, size: int) -> None:
        names = [f"i{len(self.planned) + index}" for index in range(size)]
        self.planned.update(names)
        self._handle(ShardPlanned(_shard(*names)))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(sorted(self.leases)))
        del self.leases[worker]
        self._handle(WorkerLost(worker))

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, *, fails: bool) -> None:
        worker = data.draw(st.sampled_from(sorted(w for w, held in self.leases.items() if held)))
        shard = self.leases[worker].pop(0)
        again = data.draw(st.sets(st.sampled_from(shard.items)))
        if fails:
            self._handle(ShardFailed(worker, shard, "internal", "broken"))
            return
        self.ended += [item.key for item in shard.items if item not in again]
        retries = [Retry(item, "internal", "broken") for item in shard.items if item in again]
        self._handle(ShardFinished(worker, shard, _report(*retries)))

    @invariant()
    def nothing_ends_twice_and_suspects_are_alone(self) -> None:
        leased = [item.key for held in self.leases.values() for s in held for item in s.items]
        assert len(self.ended + leased) == len(set(self.ended + leased))
        for held in self.leases.values():
            assert len(held) == 1 or not any(shard.suspicion for shard in held)

    def teardown(self) -> None:
        self.listing = False
        self._handle(ListingEnded())
        self.join()
        while not self.scheduler.is_finished:
            assert any(self.leases.values()), "work is waiting and nobody is given any"
            for worker, held in self.leases.items():
                for shard in list(held):
                    held.remove(shard)
                    self.ended += [item.key for item in shard.items]
                    self._handle(ShardFinished(worker, shard, _report()))
        assert sorted(self.ended) == sorted(self.planned)


TestMachine = Machine.TestCase
