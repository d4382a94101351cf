"""Leases, the workers that hold them, and how fast they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import ASSEMBLY
from sdflow.worker.report import PartDone, Retry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.work.shard import Shard, WorkItem
    from sdflow.worker.report import Ending

LEASES_PER_WORKER = 2  # the second one's downloads overlap the first one's last uploads
MAX_SHARD_IMAGES = 256
_SHARD_S = 40.0  # of one worker, once its pace is known
_FIRST_SHARD_PX = 64_000_000
_DECAY = 0.9995  # of what is known of the pace, with every shard; slow workers come last


@dataclass(slots=True, eq=False)
class Lease:
    """One attempt at a shard.

    Attributes:
        number: Unique in the run.
        worker: Who holds it.
        shard: What was leased.
        started: Scheduler's clock at the start.
        remaining: Items whose ending the worker has yet to report, by name.
        remaining_px: Estimated pixels of those.
        done_px: Estimated pixels of those that are done.
        settled: Of the remaining, those that the twin has done already.
        retries: Images that failed in a way that may pass.
        returned: Images that were handed back just now.
        twin: A second attempt at the same images, or the first one, while that runs.
        had_twin: There is or was one: no lease gets a second, or failures could follow each other
            for as long as the other one takes.
        split_at: When the worker was last asked to hand something back.
        helpers: Idle workers that what is handed back is for.
    """

    number: int
    worker: str
    shard: Shard
    started: float
    remaining: dict[str, WorkItem]
    remaining_px: int
    done_px: int = 0
    settled: set[str] = field(default_factory=set)
    retries: list[Retry] = field(default_factory=list)
    returned: list[WorkItem] = field(default_factory=list)
    twin: Lease | None = None
    had_twin: bool = False
    split_at: float | None = None
    helpers: int = 1

    def pair(self, twin: Lease) -> None:
        """Let two leases race."""
        self.twin, twin.twin = twin, self
        self.had_twin = twin.had_twin = True

    def end(self, ending: Ending) -> WorkItem | None:
        """Take an item's ending in; returns the item where that settles it.

        It changes nothing when the item has ended already, here or with the twin, nor when it
        did not succeed here and the twin still has it.
        """
        item = self.remaining.pop(ending.name, None)
        if item is None:
            return None
        self.remaining_px -= item.pixels
        outcome, twin = ending.outcome, self.twin
        is_done = isinstance(outcome, LedgerLine) and outcome.status == "done"
        if (is_done and item.part != ASSEMBLY) or isinstance(outcome, PartDone):
            self.done_px += item.pixels
        if ending.name in self.settled:
            self.settled.remove(ending.name)
            return None
        if outcome is not None and not isinstance(outcome, Retry):
            if twin is not None:
                twin.settle(ending.name)
            return item
        if twin is None or ending.name not in twin.remaining:
            if outcome is None:
                self.returned.append(item)
            else:
                self.retries.append(outcome)
        return None

    def settle(self, name: str) -> None:
        """Learn that the twin has done an item."""
        if name in self.remaining:
            self.settled.add(name)

    @property
    def is_assembly(self) -> bool:
        """Whether its time says nothing of how fast pixels are drawn, nor the other way round."""
        return self.shard.items[0].part == ASSEMBLY

    @property
    def is_open(self) -> bool:
        """Whether something is left that the twin has not done."""
        return len(self.settled) < len(self.remaining)

    def orphans(self) -> list[WorkItem]:
        """Images that nobody has done and nobody else is at."""
        elsewhere = self.twin.remaining if self.twin is not None else {}
        return [
            item
            for name, item in self.remaining.items()
            if name not in self.settled and name not in elsewhere
        ]


@dataclass(slots=True, eq=False)
class WorkerState:
    """What the scheduler knows of a worker.

    Attributes:
        name: Its name.
        seen: When it last gave a sign of life.
        progressed: When it last ended an image, or began after holding nothing.
        free_since: When it last ended a lease, or began after holding nothing.
        leases: What it holds, by number.
        is_draining: It gets nothing more, and is stopped when it holds nothing.
    """

    name: str
    seen: float
    progressed: float
    free_since: float
    leases: dict[int, Lease] = field(default_factory=dict)
    is_draining: bool = False

    def end(
        self, endings: Sequence[Ending]
    ) -> tuple[list[tuple[WorkItem, Ending]], dict[Lease, None]]:
        """Take endings in; returns the items that are settled by them, and the leases touched."""
        settled: list[tuple[WorkItem, Ending]] = []
        touched: dict[Lease, None] = {}
        for ending in endings:
            if lease := self.leases.get(ending.lease):
                touched[lease] = None
                if item := lease.end(ending):
                    settled.append((item, ending))
        return settled, touched

    @property
    def remaining_px(self) -> int:
        """Estimated pixels it has yet to report."""
        return sum(lease.remaining_px for lease in self.leases.values())


class Roster:
    """All workers and all leases.

    Attributes:
        workers: By name.
        leases: By number.
        idle: Workers that hold nothing and may take anything.
        busy: Workers that may take one more.
    """

    def __init__(self) -> None:
        self.workers: dict[str, WorkerState] = {}
        self.leases: dict[int, Lease] = {}
        self.idle: dict[str, None] = {}
        self.busy: dict[str, None] = {}
        self._numbers = count(1)

    def join(self, worker: str, clock: float) -> None:
        """Take a worker in."""
        self.workers[worker] = WorkerState(worker, clock, clock, clock)
        self.place(self.workers[worker])

    def remove(self, state: WorkerState) -> None:
        """Forget a worker with all that it holds."""
        for lease in list(state.leases.values()):
            self.forget(lease)
        del self.workers[state.name]
        self.idle.pop(state.name, None)
        self.busy.pop(state.name, None)

    def lease(self, worker: str, shard: Shard, clock: float) -> Lease:
        """Give a shard to a worker."""
        state, number = self.workers[worker], next(self._numbers)
        remaining = {item.key if item.part is None else item.name: item for item in shard.items}
        lease = Lease(number, worker, shard, clock, remaining, shard.pixels)
        if not state.leases:
            state.free_since = state.progressed = clock
        self.leases[number] = state.leases[number] = lease
        self.place(state)
        return lease

    def forget(self, lease: Lease) -> None:
        """End a lease."""
        del self.leases[lease.number]
        del self.workers[lease.worker].leases[lease.number]
        if lease.twin is not None:
            lease.twin.twin = None

    def remaining(self) -> tuple[int, int]:
        """Images that are leased and yet to be reported, and their estimated pixels."""
        images = pixels = 0
        for lease in self.leases.values():
            images += len(lease.remaining)
            pixels += lease.remaining_px
        return images, pixels

    def place(self, state: WorkerState) -> None:
        """Note how much room a worker has."""
        self.idle.pop(state.name, None)
        self.busy.pop(state.name, None)
        if state.is_draining:
            return
        if not state.leases:
            self.idle[state.name] = None
        elif len(state.leases) < LEASES_PER_WORKER and not any(
            lease.shard.is_suspect for lease in state.leases.values()
        ):
            self.busy[state.name] = None


@dataclass(slots=True)
class Pace:
    """Pixels a second of one worker, averaged over the shards done lately."""

    _pixels: float = 0.0
    _seconds: float = 0.0

    @property
    def px_per_s(self) -> float | None:
        """Estimated source pixels a second of one worker; None before anything is known."""
        return self._pixels / self._seconds if self._seconds > 0 else None

    @property
    def shard_px(self) -> int:
        """Estimated pixels that a shard should have, so that all take about equally long."""
        pace = self.px_per_s
        return _FIRST_SHARD_PX if pace is None else max(1, round(pace * _SHARD_S))

    def add(self, pixels: int, seconds: float) -> None:
        """Learn from a shard."""
        self._pixels = self._pixels * _DECAY + pixels
        self._seconds = self._seconds * _DECAY + seconds

    def expected_s(self, pixels: int, *, otherwise: float) -> float:
        """How long so many pixels take one worker.

        Args:
            pixels: How many.
            otherwise: Seconds a pixel while nothing is known.
        """
        pace = self.px_per_s
        return pixels * otherwise if pace is None else pixels / pace
