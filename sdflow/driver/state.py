"""The scheduler: events in, commands out. No clock, no Ray, no storage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.driver import tail
from sdflow.driver.attempts import after_failures, after_loss, in_parts, pause_s
from sdflow.driver.events import (
    Command,
    Event,
    ListingEnded,
    Progressed,
    ScaleTo,
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
from sdflow.driver.giants import Giants
from sdflow.driver.leases import LEASES_PER_WORKER, Lease, Pace, Roster, WorkerState
from sdflow.driver.outage import Outage
from sdflow.driver.waiting import WaitingRoom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.driver.attempts import Sequel
    from sdflow.work.shard import Shard
    from sdflow.worker.report import Ending

_LONGEST_STEP_S = 5.0  # a driver that was suspended must not think that its workers were
_IDLE_S = 60.0  # before a worker that is not needed is ended; stragglers show up earlier
_PART_SHARDS = 8  # of parts in the time of one of images: several workers share one image
_MOST_WAITING = 1000  # shards, however many wait for their next attempt


class Scheduler:
    """Who does what. Feed it events with :meth:`handle`, carry out the commands it returns.

    A shard goes to the worker that holds least, at most two at a time. Images of a worker that died
    are searched for the one that killed it, apart from all others. Failures that may pass are tried
    again after a pause, and are not held against images while nothing succeeds at all. When work
    runs out, the largest shards go first, idle workers get a part of what busy ones hold, and what
    takes far too long gets a second worker.

    Args:
        min_workers: Fewest workers.
        max_workers: Most workers.
        drain_s: Seconds that running images get after a request to stop.

    Attributes:
        retries: Images that were, or are to be, tried again.
        pace: What is known of a worker's speed.
    """

    def __init__(
        self, *, min_workers: int = 1, max_workers: int = 1, drain_s: float = 25.0
    ) -> None:
        self.retries = 0
        self.pace = Pace()
        self._min_workers = min_workers
        self._max_workers = max_workers
        self._drain_s = drain_s
        self._scale = min_workers
        self._clock = 0.0
        self._last_now: float | None = None
        self._roster = Roster()
        self._waiting = WaitingRoom()
        self._giants = Giants()
        self._outage = Outage()
        self._listing_ended = False
        self._stop_at: float | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, or to wait for once a stop was requested."""
        if any(lease.is_open or lease.retries for lease in self._roster.leases.values()):
            return False
        return self._stop_at is not None or (self._listing_ended and not self._waiting)

    @property
    def wants_shards(self) -> bool:
        """Whether the listing should go on: the queue is kept short, so memory stays flat."""
        if self._listing_ended or self._stop_at is not None:
            return False
        enough = max(LEASES_PER_WORKER, self._max_workers)
        return self._waiting.num_ready < enough and len(self._waiting) < _MOST_WAITING

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event in and say what is to be done now.

        Args:
            event: What happened.
            now: Seconds on some clock that does not run backwards.
        """
        step = 0.0 if self._last_now is None else max(0.0, now - self._last_now)
        self._clock, self._last_now = self._clock + min(step, _LONGEST_STEP_S), now
        commands: list[Command] = []
        match event:
            case Progressed(worker, endings):
                self._progress(worker, endings, commands)
            case TimePassed():
                self._tick(commands)
            case ShardPlanned(shard):
                self._waiting.add(shard, fresh=True)
            case ListingEnded():
                self._listing_ended = True
                self._waiting.order_by_size()
            case StopRequested():
                self._stop_at = self._clock
                commands += tail.plan_return(self._roster.leases.values())
            case WorkerJoined(worker):
                self._roster.join(worker, self._clock)
            case WorkerLost(worker, with_node):
                self._lose(worker, commands, with_node=with_node)
            case WorkerDraining(worker):
                self._drain(worker, commands)
        if self._stop_at is None:
            self._assign(commands)
        return commands

    def _progress(self, worker: str, endings: Sequence[Ending], commands: list[Command]) -> None:
        state = self._roster.workers.get(worker)
        if state is None:
            return
        state.seen = self._clock
        if not endings:
            return
        settled, touched = state.end(endings)
        if settled:
            self._outage.succeed(self._clock)
            target_px = self.pace.shard_px // _PART_SHARDS
            for shard in self._giants.settle(settled, commands, target_px=target_px):
                self._waiting.add(shard)
        if any(ending.outcome is not None for ending in endings):
            state.progressed = self._clock
        for lease in touched:
            for part in in_parts(lease.returned, lease.helpers):
                self._waiting.add(replace(lease.shard, items=part))
            lease.returned.clear()
            if not lease.remaining:
                self._end(state, lease, commands)

    def _end(self, state: WorkerState, lease: Lease, commands: list[Command]) -> None:
        """All images of a lease have ended, in one way or another."""
        twin = lease.twin
        self._roster.forget(lease)
        self._roster.place(state)
        if twin is not None and not twin.is_open:  # it has lost the race
            commands.append(SplitShard(twin.worker, twin.number, len(twin.remaining)))
        if lease.retries:
            self._retry(lease, commands)
        elif lease.done_px:
            self.pace.add(lease.done_px, self._clock - max(lease.started, state.free_since))
        state.free_since = self._clock
        if any(retry.error == "oom" for retry in lease.retries):
            self._drain(state.name, commands)  # its next process starts with its memory in order
        self._stop_if_drained(state, commands)

    def _retry(self, lease: Lease, commands: list[Command]) -> None:
        counts = self._outage.fail(lease, self._clock)
        sequel = after_failures(lease.shard, lease.retries, counts=counts)
        self._follow(sequel, commands, pause=True)
        commands += self._outage.plan_end(self._roster.leases.values(), self._clock)

    def _follow(self, sequel: Sequel, commands: list[Command], *, pause: bool) -> None:
        shards, dead_letters = sequel
        self._giants.bury(dead_letters, commands)
        for shard in shards:
            self.retries += len(shard.items)
            if pause:
                self._waiting.add_later(shard, self._clock + pause_s(shard))
            else:
                self._waiting.add(shard)

    def _lose(self, worker: str, commands: list[Command], *, with_node: bool) -> None:
        state = self._roster.workers.get(worker)
        if state is None:
            return
        was_alone = len(state.leases) == 1
        for lease in state.leases.values():
            if items := lease.orphans():
                sequel = after_loss(lease.shard, items, with_node=with_node, was_alone=was_alone)
                self._follow(sequel, commands, pause=False)
            if lease.retries:
                self._retry(lease, commands)
        self._roster.remove(state)

    def _drain(self, worker: str, commands: list[Command]) -> None:
        state = self._roster.workers.get(worker)
        if state is not None and not state.is_draining:
            state.is_draining = True
            commands += tail.plan_return(state.leases.values())
            self._roster.place(state)
            self._stop_if_drained(state, commands)

    def _stop_if_drained(self, state: WorkerState, commands: list[Command]) -> None:
        if state.is_draining and not state.leases and state.name in self._roster.workers:
            self._roster.remove(state)
            commands.append(StopWorker(state.name, "drained"))

    def _assign(self, commands: list[Command]) -> None:
        idle, busy, suspects = self._roster.idle, self._roster.busy, self._waiting.suspects
        while suspects and idle:
            self._offer(next(iter(idle)), suspects.popleft(), commands)
        while self._waiting.num_ready:
            if not idle and len(busy) <= len(suspects):
                break  # nobody, or only those that shall become idle for a suspect
            # The last one that got room: those before it soon have nothing left, for a suspect.
            worker = next(iter(idle)) if idle else next(reversed(busy) if suspects else iter(busy))
            self._offer(worker, self._waiting.take(), commands)

    def _offer(self, worker: str, shard: Shard, commands: list[Command]) -> None:
        if not self._giants.is_over(shard.items[0]):
            self._start(worker, shard, commands)

    def _start(self, worker: str, shard: Shard, commands: list[Command]) -> Lease:
        lease = self._roster.lease(worker, shard, self._clock)
        commands.append(StartShard(worker, lease.number, shard))
        return lease

    def _tick(self, commands: list[Command]) -> None:
        workers = self._roster.workers
        self._waiting.wake(self._clock)
        for state in tail.find_silent(workers.values(), self._clock):
            self._lose(state.name, commands, with_node=True)
            commands.append(StopWorker(state.name, "no sign of life"))
        for state in tail.find_stalled(workers.values(), self.pace, self._clock):
            self._lose(state.name, commands, with_node=False)
            commands.append(StopWorker(state.name, "no image ended for far too long"))
        if self._stop_at is None:
            self._assign(commands)
            self._share(commands)
            self._rescale(commands)
        elif self._clock - self._stop_at > self._drain_s:
            for state in [state for state in workers.values() if state.leases]:
                self._roster.remove(state)
                commands.append(StopWorker(state.name, "out of time"))

    def _share(self, commands: list[Command]) -> None:
        """Give idle workers a part of what others hold."""
        idle, leases = self._roster.idle, self._roster.leases.values()
        if not idle or self._waiting.num_ready or self._waiting.suspects:
            return
        splits = tail.plan_splits(leases, self.pace, self._clock, num_idle=len(idle))
        for lease, helpers in splits:
            lease.split_at, lease.helpers = self._clock, helpers
            count = len(lease.remaining) * helpers // (helpers + 1)
            commands.append(SplitShard(lease.worker, lease.number, count))
        workers = self._roster.workers
        for lease in tail.find_stragglers(leases, workers, self.pace, self._clock, len(idle)):
            items = tuple(lease.orphans())
            self.retries += len(items)
            shard = replace(lease.shard, items=items, attempt=lease.shard.attempt + 1)
            lease.pair(self._start(next(iter(idle)), shard, commands))

    def _rescale(self, commands: list[Command]) -> None:
        workers = self._roster.workers
        needed = self._worth_having()
        idle = [n for n in self._roster.idle if self._clock - workers[n].free_since > _IDLE_S]
        num_draining = sum(state.is_draining for state in workers.values())
        for name in idle[: max(0, len(workers) - num_draining - needed)]:
            self._roster.remove(workers[name])
            commands.append(StopWorker(name, "not needed any more"))
        scale = max(needed + num_draining, len(workers))  # who will go is replaced already
        if scale != self._scale:
            commands.append(ScaleTo(scale))
        self._scale = scale

    def _worth_having(self) -> int:
        """Workers that the backlog is worth; while the listing goes on, it is only begun."""
        is_full = not self._listing_ended and not self.wants_shards
        if is_full or self._min_workers == self._max_workers:
            return self._max_workers
        images, pixels = self._roster.remaining()
        return tail.plan_scale(
            pixels=self._waiting.pixels + pixels,
            images=len(self._waiting) + images,
            pace=self.pace,
            between=(self._min_workers, self._max_workers),
        )
