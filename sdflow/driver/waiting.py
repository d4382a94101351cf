"""Shards that wait for a worker."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdflow.work.shard import Shard

_FIRST = -(1 << 62)  # before the largest


class WaitingRoom:
    """Shards in the order in which they shall go: begun ones first, at the end the largest.

    Parts of an image go before all others, or every image's parts would lie there at once.

    Suspects wait apart, because they need a worker that holds nothing; so do shards that are not
    due yet.

    Attributes:
        suspects: First in, first out.
    """

    def __init__(self) -> None:
        self.suspects: deque[Shard] = deque()
        self._ready_px = 0
        self._ready: list[tuple[int, int, Shard]] = []
        self._delayed: list[tuple[float, int, Shard]] = []
        self._sequence = count()
        self._largest_first = False

    def __len__(self) -> int:
        return len(self._ready) + len(self.suspects) + len(self._delayed)

    @property
    def num_ready(self) -> int:
        """Shards that may go to any worker now."""
        return len(self._ready)

    @property
    def pixels(self) -> int:
        """Estimated pixels of all that wait."""
        delayed = sum(shard.pixels for _, _, shard in self._delayed)
        return self._ready_px + sum(shard.pixels for shard in self.suspects) + delayed

    def add(self, shard: Shard, *, fresh: bool = False) -> None:
        """Let a shard wait for a worker.

        Args:
            shard: What waits.
            fresh: Nobody has begun it yet.
        """
        if shard.is_suspect:
            self.suspects.append(shard)
            return
        pixels = shard.pixels
        self._ready_px += pixels
        heappush(self._ready, (self._rank(shard, fresh=fresh), next(self._sequence), shard))

    def add_later(self, shard: Shard, due: float) -> None:
        """Let a shard wait for its time first."""
        heappush(self._delayed, (due, next(self._sequence), shard))

    def wake(self, clock: float) -> None:
        """Move what is due to those that are ready."""
        while self._delayed and self._delayed[0][0] <= clock:
            self.add(heappop(self._delayed)[2])

    def order_by_size(self) -> None:
        """From now on the largest goes first."""
        self._largest_first = True
        self._ready = [(self._rank(shard), number, shard) for _, number, shard in self._ready]
        heapify(self._ready)

    def _rank(self, shard: Shard, *, fresh: bool = False) -> int:
        if shard.items[0].part is not None:
            return _FIRST
        return -shard.pixels if self._largest_first else int(fresh)

    def take(self) -> Shard:
        """The next shard for any worker."""
        shard = heappop(self._ready)[2]
        self._ready_px -= shard.pixels
        return shard
