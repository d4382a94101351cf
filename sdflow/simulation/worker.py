"""A worker that only keeps time: it does its leases one after the other, at a constant speed."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

from sdflow.simulation.archive import POISON
from sdflow.work.ledger import LedgerLine
from sdflow.worker.report import Ending

if TYPE_CHECKING:
    from sdflow.work.shard import Shard, WorkItem

_REPORTS_EVERY_S = 10.0
_FIRST_FETCH_S = 0.2  # before a worker that held nothing can compute
_DONE = LedgerLine("", "", "", "done", "")  # one for all: the simulation is not to measure lines


class SimulatedWorker:
    """Holds leases, knows when their images end, and reports what has ended.

    Args:
        name: Its name.
        px_per_s: True pixels a second.
        now: When it was ready.

    Attributes:
        version: Goes up when what it is going to do changes.
        is_dead: Whether it computes no more, though nobody may have noticed yet.
    """

    def __init__(self, name: str, px_per_s: float, now: float) -> None:
        self.name = name
        self.px_per_s = px_per_s
        self.version = 0
        self.is_dead = False
        self._reported_at = now
        self._leases: deque[_Held] = deque()
        self._returned: list[Ending] = []

    @property
    def due(self) -> float:
        """When it next reports or dies; in the past if it should report at once."""
        if self._returned:
            return 0.0
        heartbeat = self._reported_at + _REPORTS_EVERY_S
        if not self._leases:
            return heartbeat
        return min(heartbeat, self._leases[0].death, self._leases[0].ends[-1])

    def is_killed(self, now: float) -> bool:
        """Whether the computation of a deadly image has begun."""
        return bool(self._leases) and self._leases[0].death <= now

    def take(self, lease: int, shard: Shard, now: float) -> bool:
        """Accept a lease; True where the worker held nothing."""
        held = _Held(lease, list(shard.items))
        was_idle = not self._leases
        self._leases.append(held)
        if was_idle:
            held.begin(now + _FIRST_FETCH_S, self.px_per_s)
        return was_idle

    def give_back(self, lease: int, count: int, now: float) -> None:
        """Part with up to so many images of a lease whose computation has not begun, from the end.

        The next report, which is due at once, says which.
        """
        for held in self._leases:
            if held.number == lease:
                self._returned += [
                    Ending(lease, item.key, None) for item in held.give_back(count, now)
                ]

    def report(self, now: float) -> tuple[list[Ending], int, float]:
        """What has ended since the last report; the next lease begins where one is over.

        Returns:
            The endings, how many of them are of computed images, and the seconds those took.
        """
        self._reported_at = now
        endings: list[Ending] = []
        busy_s = 0.0
        if self._leases:
            held = self._leases[0]
            first, end = held.reported, held.num_done(now)
            if end > first:
                number = held.number
                endings = [Ending(number, item.key, _DONE) for item in held.items[first:end]]
                busy_s = held.ends[end] - held.ends[first]
                held.reported = end
        num_done = len(endings)
        if self._returned:
            endings += self._returned
            self._returned = []
        while self._leases and self._leases[0].reported == len(self._leases[0].items):
            self._leases.popleft()
        if self._leases and not self._leases[0].ends:
            self._leases[0].begin(now, self.px_per_s)
        return endings, num_done, busy_s

    def unreported_s(self, now: float) -> float:
        """Seconds of computation that no report has spoken of."""
        if not self._leases:
            return 0.0
        held = self._leases[0]
        return max(0.0, min(now, held.ends[-1]) - held.ends[held.reported])


class _Held:
    """The images of one lease.

    Attributes:
        ends: When the computation of the first image begins, then when each one ends; empty
            before the lease's turn.
        death: When the computation of a deadly image begins.
        reported: How many images have been reported.
    """

    def __init__(self, number: int, items: list[WorkItem]) -> None:
        self.number = number
        self.items = items
        self.ends: list[float] = []
        self.death = inf
        self.reported = 0

    def begin(self, start: float, px_per_s: float) -> None:
        """It is this lease's turn."""
        self.ends = list(
            accumulate([item.size_bytes / px_per_s for item in self.items], initial=start)
        )
        for item, begins in zip(self.items, self.ends, strict=False):
            if item.etag == POISON:
                self.death = begins
                break

    def num_done(self, now: float) -> int:
        """How many images have ended."""
        return max(0, bisect_right(self.ends, now) - 1)

    def give_back(self, count: int, now: float) -> list[WorkItem]:
        """Part with images from the end."""
        num_begun = bisect_right(self.ends, now)
        cut = max(num_begun, len(self.items) - count)
        returned = self.items[cut:]
        del self.items[cut:]
        del self.ends[cut + 1 :]
        if self.ends and self.death >= self.ends[-1]:
            self.death = inf
        return returned
