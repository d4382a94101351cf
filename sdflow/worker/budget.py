"""A bound on the pixels that are in memory at one time."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class PixelBudget:
    """Admits pixels up to a limit; whoever would go over it waits.

    One holder is always admitted when nothing is held, however large, so that an image above the
    limit is done alone instead of never.

    Args:
        limit: Pixels held at one time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._changed = Condition()

    def acquire(self, pixels: int) -> None:
        """Wait until ``pixels`` fit, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + pixels <= self._limit)
            self._held += pixels

    def release(self, pixels: int) -> None:
        """Give pixels back."""
        with self._changed:
            self._held -= pixels
            self._changed.notify_all()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Hold pixels for the length of a block."""
        self.acquire(pixels)
        try:
            yield
        finally:
            self.release(pixels)
