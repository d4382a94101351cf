"""Waiting between attempts: exponential, with full jitter."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often, and after which pauses, something is tried again.

    The pause before attempt ``n + 1`` is drawn evenly from ``[0, base_s * 2**(n - 1)]``, at most
    ``cap_s``: many clients that failed together do not come back together.

    Attributes:
        attempts: Attempts in all, the first included.
        patience_s: So long attempts go on, even when there have been enough.
        base_s: Longest first pause.
        cap_s: Longest pause.
        sleep: Waits so many seconds.
        clock: Seconds that never go back.
        uniform: Draws a number from [0, 1).
    """

    attempts: int = 3
    patience_s: float = 0.0
    base_s: float = 0.5
    cap_s: float = 10.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    uniform: Callable[[], float] = random.random

    def pause_s(self, attempt: int) -> float:
        """Seconds to wait after ``attempt`` (1-based) failed."""
        return self.uniform() * min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30))

    def call(self, action: Callable[[], Result], *, retry_on: type[Exception]) -> Result:
        """Return what ``action`` returns; its last error once the attempts are used up.

        Args:
            action: Called with nothing, once per attempt.
            retry_on: The kind of error after which another attempt is made.
        """
        started = self.clock()
        for attempt in count(1):
            try:
                return action()
            except retry_on:
                if attempt >= self.attempts and self.clock() - started >= self.patience_s:
                    raise
            self.sleep(self.pause_s(attempt))
        raise AssertionError  # the loop has no other end
