"""The scheduler: events in, commands out. No clock, no Ray, no storage."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

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
from sdflow.worker.report import Retry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.work.shard import Shard

_LEASES_PER_WORKER = 2  # the second one's downloads overlap the first one's last uploads
_MAX_FAILURES = 3  # of an image, in a way that may pass
_MAX_KILLS = 2  # of workers that an image may have, alone with it, before it is given up


@dataclass(slots=True)
class Scheduler:
    """Who does what. Feed it events with :meth:`handle`, carry out the commands it returns.

    A shard whose worker was lost is under suspicion: from then on it runs alone on its worker, so
    that nothing else suffers. Lost a second time, it is cut into single images; an image that was
    alone on two lost workers is given up as ``worker.crashed``.

    Attributes:
        retries: Images that were, or are to be, tried again.
    """

    retries: int = 0
    _waiting: deque[Shard] = field(default_factory=deque)
    _leases: dict[str, list[Shard]] = field(default_factory=dict)
    _listing_ended: bool = False
    _stopping: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, or to wait for once a stop was requested."""
        if any(self._leases.values()):
            return False
        return self._stopping or (self._listing_ended and not self._waiting)

    @property
    def wants_shards(self) -> bool:
        """Whether the listing should go on: the queue is kept short, so memory stays flat."""
        if self._listing_ended or self._stopping:
            return False
        return len(self._waiting) < _LEASES_PER_WORKER * max(1, len(self._leases))

    def handle(self, event: Event) -> list[Command]:
        """Take one event in and say what is to be done now."""
        commands: list[Command] = []
        match event:
            case WorkerJoined(worker):
                self._leases[worker] = []
            case WorkerLost(worker):
                for shard in self._leases.pop(worker, []):
                    commands += self._after_loss(shard)
            case ShardPlanned(shard):
                self._waiting.append(shard)
            case ListingEnded():
                self._listing_ended = True
            case ShardFinished(worker, shard, report):
                self._leases[worker].remove(shard)
                commands += self._after_failure(shard, report.retries)
            case ShardFailed(worker, shard, error, message):
                self._leases[worker].remove(shard)
                failures = [Retry(item, error, message) for item in shard.items]
                commands += self._after_failure(shard, failures)
            case StopRequested():
                self._stopping = True
        return commands + self._assign()

    def _after_loss(self, shard: Shard) -> list[Command]:
        if len(shard.items) == 1 and shard.suspicion == _MAX_KILLS:
            message = f"a worker died {_MAX_KILLS} times while it had this image alone"
            return [RecordDeadLetter(shard.items[0], "worker.crashed", message, shard.attempt)]
        self.retries += len(shard.items)
        again = replace(shard, attempt=shard.attempt + 1)
        if shard.suspicion == 0 or len(shard.items) == 1:
            self._waiting.appendleft(replace(again, suspicion=shard.suspicion + 1))
        else:
            singles = [replace(again, items=(item,)) for item in shard.items]
            self._waiting.extendleft(reversed(singles))
        return []

    def _after_failure(self, shard: Shard, failures: Iterable[Retry]) -> list[Command]:
        if shard.failures + 1 >= _MAX_FAILURES:
            return [
                RecordDeadLetter(failure.item, failure.error, failure.message, shard.attempt)
                for failure in failures
            ]
        items = tuple(failure.item for failure in failures)
        if items:
            self.retries += len(items)
            again = replace(shard, items=items, attempt=shard.attempt + 1)
            self._waiting.appendleft(replace(again, failures=shard.failures + 1))
        return []

    def _assign(self) -> list[Command]:
        commands: list[Command] = []
        while self._waiting and not self._stopping:
            worker = self._worker_for(self._waiting[0])
            if worker is None:
                break
            shard = self._waiting.popleft()
            self._leases[worker].append(shard)
            commands.append(StartShard(worker, shard))
        return commands

    def _worker_for(self, shard: Shard) -> str | None:
        """The least busy worker that may take the shard now."""
        capacity = 1 if shard.suspicion else _LEASES_PER_WORKER
        free = {
            worker: len(leases)
            for worker, leases in self._leases.items()
            if len(leases) < capacity and not any(lease.suspicion for lease in leases)
        }
        return min(free, key=free.__getitem__, default=None)
