"""A bound on the pixels that are in memory at one time."""

from __future__ import annotations

from collections import deque
from threading import Condition


class PixelBudget:
    """Admits pixels up to a limit, first come, first served; whoever would go over it waits.

    One holder is always admitted when nothing is held, however large, so that an image above the
    limit is done alone instead of never.

    Args:
        limit: Pixels held at one time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._queue: deque[object] = deque()
        self._changed = Condition()

    @property
    def num_waiting(self) -> int:
        """Requests that have not been admitted yet."""
        return len(self._queue)

    def acquire(self, pixels: int) -> None:
        """Wait until ``pixels`` fit and all who came before have been admitted; hold them."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(
                lambda: (
                    self._queue[0] is ticket
                    and (self._held == 0 or self._held + pixels <= self._limit)
                )
            )
            self._queue.popleft()
            self._held += pixels
            self._changed.notify_all()

    def release(self, pixels: int) -> None:
        """Give pixels back."""
        with self._changed:
            self._held -= pixels
            self._changed.notify_all()
