"""A clock that jumps from one thing that happens to the next."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Agenda:
    """What is going to happen, in order of time, then of entry.

    Attributes:
        now: Simulated seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = count()

    def add(self, when: float, happen: Callable[[], None]) -> None:
        """Let something happen then, or now if that is past."""
        heappush(self._entries, (max(when, self.now), next(self._sequence), happen))

    def step(self) -> None:
        """Go on to the next entry, and let it happen."""
        self.now, _, happen = heappop(self._entries)
        happen()
