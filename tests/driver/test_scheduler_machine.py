"""The scheduler against any order of events: nothing lost, nothing twice, and an end.

Workers end images in any order or never, say so late, twice or not at all, die, come and go; some
images kill whoever computes them, or fail every time; the driver is stopped and started again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from sdflow.driver.attempts import MAX_FAILURES, MAX_KILLS, MAX_LOSSES
from sdflow.driver.events import (
    ListingEnded,
    ShardPlanned,
    StopRequested,
    TimePassed,
    WorkerDraining,
    WorkerJoined,
    WorkerLost,
)
from sdflow.driver.leases import LEASES_PER_WORKER
from sdflow.work.shard import Shard, WorkItem
from tests.driver.script import STEP_S
from tests.driver.world import DRAIN_S, MOST_WORKERS, Fate, Nature, World

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEPTH = 2  # of the search for a killer among up to 64 images, before it stands alone
_PICK = st.integers(0, 2**16)
_PIXELS = st.sampled_from([1, 100, 10_000])
_FATES = st.one_of(st.just("done"), st.sampled_from(get_args(Fate)))
_NATURES = st.lists(
    st.one_of(st.just("good"), st.sampled_from(get_args(Nature))), min_size=1, max_size=20
)


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.num_joined = 0
        self.are_all_good = False

    @initialize(
        shards=st.lists(st.tuples(_NATURES, _PIXELS), min_size=1, max_size=6),
        num_workers=st.integers(0, MOST_WORKERS),
        min_workers=st.sampled_from([1, MOST_WORKERS]),
        is_listed=st.booleans(),
        are_all_good=st.booleans(),
    )
    def begin(
        self,
        shards: list[tuple[list[Nature], int]],
        num_workers: int,
        min_workers: int,
        is_listed: bool,
        are_all_good: bool,
    ) -> None:
        self.are_all_good = are_all_good
        self.world = World(min_workers=min_workers)
        for natures, pixels in shards:
            self.plan(natures, pixels)
        if is_listed:
            self.end_listing(0)
        for _ in range(num_workers):
            self.join()

    @precondition(lambda self: self.world.scheduler.wants_shards)
    @rule(natures=_NATURES, pixels=_PIXELS)
    def plan(self, natures: list[Nature], pixels: int) -> None:
        world = self.world
        if not world.backlog:
            for nature in natures:
                key = str(len(world.planned))
                world.planned[key] = WorkItem(key, "v1", 1, pixels=pixels)
                world.natures[key] = "good" if self.are_all_good else nature
                world.backlog.append(world.planned[key])
        shard = Shard(tuple(world.backlog[: len(natures)]))
        del world.backlog[: len(natures)]
        world.feed(ShardPlanned(shard))

    @precondition(lambda self: self.world.scheduler.wants_shards and not self.world.backlog)
    @rule(seldom=st.integers(0, 3))
    def end_listing(self, seldom: int) -> None:
        if not seldom:
            self.world.is_listed = True
            self.world.feed(ListingEnded())

    @precondition(lambda self: len(self.world.workers) < MOST_WORKERS)
    @rule()
    def join(self) -> None:
        self.num_joined += 1
        name = f"w{self.num_joined}"
        self.world.add_worker(name)
        self.world.feed(WorkerJoined(name))

    @rule(
        worker=_PICK,
        picks=st.lists(st.tuples(_PICK, _PICK, _FATES), min_size=1, max_size=20),
        is_said=st.booleans(),
    )
    def work(self, worker: int, picks: list[tuple[int, int, Fate]], is_said: bool) -> None:
        name = _pick(worker, self.world.living())
        if name is None:
            return
        state = self.world.workers[name]
        for lease_index, index, fate in picks:
            if state.pending and not state.is_dead:
                lease = list(state.pending)[lease_index % len(state.pending)]
                self.world.compute(name, lease, index % len(state.pending[lease]), fate)
        if is_said and not state.is_dead:
            self.world.report(name, len(state.unsaid))

    @rule(worker=_PICK, most=st.integers(0, 40), is_said_twice=st.booleans())
    def report(self, worker: int, most: int, is_said_twice: bool) -> None:
        name = _pick(worker, self.world.living())
        if name is not None:
            event = self.world.report(name, most)
            if is_said_twice:
                self.world.feed(event)

    @precondition(lambda self: self.world.ghosts)
    @rule(index=_PICK)
    def report_of_one_that_has_gone(self, index: int) -> None:
        self.world.feed(self.world.ghosts[index % len(self.world.ghosts)])

    @rule(worker=_PICK, seldom=st.integers(0, 2), with_node=st.booleans())
    def lose(self, worker: int, seldom: int, with_node: bool) -> None:
        dead = self.world.workers.keys() - self.world.living()
        name = _pick(worker, sorted(dead) or (() if seldom else self.world.workers))
        if name is not None:
            self.world.feed(WorkerLost(name, with_node=with_node and name not in dead))

    @rule(worker=_PICK, seldom=st.integers(0, 4))
    def drain(self, worker: int, seldom: int) -> None:
        name = _pick(worker, () if seldom else self.world.workers)
        if name is not None:
            self.world.feed(WorkerDraining(name))

    @precondition(lambda self: self.world.splits)
    @rule(index=_PICK)
    def hand_back(self, index: int) -> None:
        self.world.hand_back(self.world.splits.pop(index % len(self.world.splits)))

    @rule(seconds=st.integers(0, 120))
    def wait(self, seconds: int) -> None:
        for _ in range(1 + int(seconds / STEP_S)):
            self.world.now += STEP_S
            for name in self.world.living():
                self.world.report(name, 0)
            self.world.feed(TimePassed())

    @rule(worker=_PICK, num_rounds=st.integers(1, 3))
    def one_straggles(self, worker: int, num_rounds: int) -> None:
        slow = _pick(worker, self.world.living())
        for _ in range(num_rounds):
            self.wait(0)
            for name in self.world.living():
                if name != slow:
                    self.work_well(name)
        self.wait(120)

    @rule(seconds=st.integers(0, 120), is_suspended=st.booleans())
    def wait_in_silence(self, seconds: int, is_suspended: bool) -> None:
        for _ in range(1 if is_suspended else 1 + int(seconds / STEP_S)):
            self.world.now += seconds if is_suspended else STEP_S
            self.world.feed(TimePassed())

    @rule(seldom=st.integers(0, 7))
    def stop(self, seldom: int) -> None:
        if not seldom:
            self.world.is_stopping = True
            self.world.feed(StopRequested())

    @rule(seldom=st.integers(0, 7))
    def restart(self, seldom: int) -> None:
        if not seldom:
            self.world.restart()

    @invariant()
    def suspects_are_alone_and_nobody_holds_too_much(self) -> None:
        for state in self.world.workers.values():
            assert len(state.told) <= LEASES_PER_WORKER
            if any(shard.is_suspect for shard, _ in state.told.values()):
                assert len(state.told) == 1

    @invariant()
    def no_image_is_tried_for_ever(self) -> None:
        most = MAX_FAILURES + MAX_LOSSES + _DEPTH + MAX_KILLS
        for key, num_starts in self.world.starts.items():
            assert num_starts <= 2 * (most + self.world.excuses[key])  # 2: all may have a twin

    @invariant()
    def the_end_is_honest(self) -> None:
        world = self.world
        if world.scheduler.is_finished and not world.is_stopping:
            assert world.is_listed
            assert world.ended.keys() == world.planned.keys()

    def teardown(self) -> None:
        """From now on nothing goes wrong, but for what the images themselves do."""
        world = self.world
        if world.is_stopping:
            for _ in range(int(DRAIN_S / STEP_S) + 2):
                world.now += STEP_S
                world.feed(TimePassed())
            assert world.scheduler.is_finished
        if world.is_stopping or world.has_given_up:
            world.restart()
        for _ in range(len(world.planned) * 20 + 100):
            if world.scheduler.is_finished:
                break
            self.go_well()
        assert world.scheduler.is_finished
        self.the_end_is_honest()
        for key, nature in world.natures.items():
            if nature in ("fails", "kills"):
                assert world.ended[key] in ("worker.crashed", "internal")
            elif nature == "giant that kills":
                assert world.ended[key] != "done"

    def go_well(self) -> None:
        world = self.world
        while world.scheduler.wants_shards:
            if world.backlog:
                world.feed(ShardPlanned(Shard((world.backlog.pop(),))))
            else:
                world.is_listed = True
                world.feed(ListingEnded())
        if len(world.workers) < 2:
            self.join()
        for name in list(world.workers):
            self.work_well(name)
        world.now += STEP_S
        world.feed(TimePassed())

    def work_well(self, worker: str) -> None:
        state = self.world.workers[worker]
        while state.pending and not state.is_dead:
            self.world.compute(worker, next(iter(state.pending)), 0, "done")
        if state.is_dead:
            self.world.feed(WorkerLost(worker))
        else:
            self.world.report(worker, len(state.unsaid))


def _pick(index: int, names: Iterable[str]) -> str | None:
    choice = list(names)
    return choice[index % len(choice)] if choice else None


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=250, stateful_step_count=60)
