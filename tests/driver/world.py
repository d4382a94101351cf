"""A simulated world around the scheduler: workers, what they hold, and what has become of images.

It asserts what must hold whatever happens: no image is leased to two workers but for one pair of
twins, none is recorded twice, none that is recorded is done again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sdflow.driver.events import (
    Command,
    Event,
    GiveUp,
    Progressed,
    RecordDeadLetter,
    RecordEndings,
    RemoveParts,
    ScaleTo,
    SplitShard,
    StartShard,
    StopWorker,
    TimePassed,
    WorkerLost,
)
from sdflow.driver.state import Scheduler
from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import ASSEMBLY, Shard, WorkItem
from sdflow.worker.report import Ending, PartDone, Parted, Retry

if TYPE_CHECKING:
    from typing import TypeAlias

MOST_WORKERS = 4
DRAIN_S = 25.0
NUM_PARTS = 3  # of a giant image

Nature: TypeAlias = Literal["good", "fails", "kills", "giant", "giant that kills"]
Fate: TypeAlias = Literal["done", "failed", "internal", "storage.transient", "oom"]


@dataclass
class Worker:
    """A worker as it is: what it has yet to end, by lease, and what it has yet to say.

    ``told`` is what it holds as far as the scheduler has been told.
    """

    pending: dict[int, list[WorkItem]] = field(default_factory=dict)
    unsaid: list[Ending] = field(default_factory=list)
    told: dict[int, tuple[Shard, set[str]]] = field(default_factory=dict)
    is_dead: bool = False


class World:
    """Everything outside of the scheduler; outlives it, as the ledger does.

    Args:
        min_workers: Fewest workers.
    """

    def __init__(self, *, min_workers: int = 1) -> None:
        self.min_workers = min_workers
        self.now = 0.0
        self.natures: dict[str, Nature] = {}
        self.planned: dict[str, WorkItem] = {}
        self.ended: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.parts: dict[str, set[int]] = {}  # that are durable
        self.restart()

    def restart(self) -> None:
        """The driver and all workers go; what has no line is listed again."""
        self.scheduler = Scheduler(
            min_workers=self.min_workers, max_workers=MOST_WORKERS, drain_s=DRAIN_S
        )
        self.workers: dict[str, Worker] = {}
        self.ghosts: list[Progressed] = []
        self.splits: list[SplitShard] = []
        self.backlog = [item for key, item in self.planned.items() if key not in self.ended]
        self.starts: Counter[str] = Counter()
        self.excuses: Counter[str] = Counter()  # for starting once more
        self.is_listed = self.is_stopping = self.has_given_up = False

    def living(self) -> list[str]:
        """Workers that can do and say something."""
        return [name for name, state in self.workers.items() if not state.is_dead]

    def add_worker(self, name: str) -> None:
        """A worker starts."""
        self.workers[name] = Worker()

    def feed(self, event: Event) -> None:
        """Let something happen, and carry out what the scheduler orders."""
        if isinstance(event, WorkerLost):
            self._bury(event.worker)
        for command in self.scheduler.handle(event, self.now):
            self._obey(command, event)

    def _obey(self, command: Command, event: Event) -> None:
        match command:
            case StartShard(worker, lease, shard):
                self._lease(worker, lease, shard, may_be_twin=isinstance(event, TimePassed))
            case SplitShard(worker, _, count):
                assert worker in self.workers
                assert count > 0
                self.splits.append(command)
            case StopWorker(worker):
                self._bury(worker)
            case RecordEndings(endings):
                self._record_endings(endings)
            case RecordDeadLetter(item, error):
                self._record(item.key, error)
            case RemoveParts(item):
                assert item.key in self.ended
                self.parts[item.key] = set()
            case GiveUp():
                self.has_given_up = True
            case ScaleTo(workers):
                assert 1 <= workers <= MOST_WORKERS + len(self.workers)  # some are replaced early

    def _lease(self, worker: str, lease: int, shard: Shard, *, may_be_twin: bool) -> None:
        assert shard.items
        assert not self.is_stopping
        holder, names = self.workers[worker], {item.name for item in shard.items}
        twins = [
            number
            for state in self.workers.values()
            for number, (_, others) in state.told.items()
            if not names.isdisjoint(others)
        ]
        for item in shard.items:
            assert item.key not in self.ended, "done again"
            assert item.part != ASSEMBLY or len(self.parts[item.key]) == NUM_PARTS, "too early"
        assert len(twins) <= may_be_twin, "leased twice"
        assert not (twins and holder.told), "a twin on a busy worker"
        self.starts.update(names)
        self.seen["twins"] += len(twins)
        holder.told[lease] = shard, names
        holder.pending[lease] = list(shard.items)

    def _record_endings(self, endings: tuple[Ending, ...]) -> None:
        for ending in endings:
            assert not isinstance(ending.outcome, Retry)
            if isinstance(ending.outcome, LedgerLine):
                self._record(ending.outcome.key, ending.outcome.status)

    def _record(self, key: str, how: str) -> None:
        assert key not in self.ended, "recorded twice"
        self.ended[key] = how
        self.seen[how] += 1

    def _bury(self, worker: str) -> None:
        ghost = self.workers.pop(worker)
        self.ghosts.append(Progressed(worker, tuple(ghost.unsaid)))

    def compute(self, worker: str, lease: int, index: int, fate: Fate) -> None:
        """A worker ends an image, as far as the image lets it."""
        state = self.workers[worker]
        item = self._drop(state, lease, index)
        nature = self.natures[item.key]
        if nature == "kills" or (nature == "giant that kills" and item.part == 1):
            state.is_dead = True
            return
        outcome: LedgerLine | Parted | PartDone | Retry
        outcome = Retry(item, "internal" if nature == "fails" else fate, "why")
        if nature != "fails" and fate == "failed":
            outcome = LedgerLine(item.key, item.etag, "p", fate, "now")
        elif nature != "fails" and fate == "done":
            outcome = self._succeed(item)
        elif nature != "fails":
            self.excuses[item.name] += fate == "storage.transient"
        state.unsaid.append(Ending(lease, item.name, outcome))

    def _succeed(self, item: WorkItem) -> LedgerLine | Parted | PartDone:
        if item.part in (None, ASSEMBLY) and "giant" not in self.natures[item.key]:
            return LedgerLine(item.key, item.etag, "p", "done", "now")
        durable = self.parts.setdefault(item.key, set())
        if item.part is None:
            left = [number for number in (*range(NUM_PARTS), ASSEMBLY) if number not in durable]
            return Parted(item, tuple((number, 10) for number in left))
        if item.part == ASSEMBLY:
            return LedgerLine(item.key, item.etag, "p", "done", "now")
        durable.add(item.part)
        return PartDone()

    def hand_back(self, asked: SplitShard) -> None:
        """A worker does what it was asked for, with the images that it still has."""
        state = self.workers.get(asked.worker)
        if state is None or state.is_dead:
            return
        for _ in range(min(asked.count, len(state.pending.get(asked.lease, ())))):
            item = self._drop(state, asked.lease, -1)
            self.excuses[item.name] += 1
            state.unsaid.append(Ending(asked.lease, item.name, None))

    def _drop(self, state: Worker, lease: int, index: int) -> WorkItem:
        item = state.pending[lease].pop(index)
        if not state.pending[lease]:
            del state.pending[lease]
        return item

    def report(self, worker: str, most: int) -> Progressed:
        """A worker says what it has not yet said."""
        state = self.workers[worker]
        event = Progressed(worker, tuple(state.unsaid[:most]))
        del state.unsaid[:most]
        for ending in event.endings:
            _, names = state.told[ending.lease]
            names.remove(ending.name)
            if not names:
                del state.told[ending.lease]
        self.feed(event)
        return event
