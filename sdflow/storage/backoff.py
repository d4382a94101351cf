"""Waiting between attempts: exponential, with full jitter."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
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
        base_s: Longest first pause.
        cap_s: Longest pause.
        sleep: Waits so many seconds.
        uniform: Draws a number from [0, 1).
    """

    attempts: int = 3
    base_s: float = 0.5
    cap_s: float = 10.0
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[], float] = random.random

    def pause_s(self, attempt: int) -> float:
        """Seconds to wait after ``attempt`` (1-based) failed."""
        return self.uniform() * min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))

    def call(self, action: Callable[[], Result], *, retry_on: type[Exception]) -> Result:
        """Return what ``action`` returns; its last error once the attempts are used up.

        Args:
            action: Called with nothing, once per attempt.
            retry_on: The kind of error after which another attempt is made.
        """
        for attempt in range(1, self.attempts):
            try:
                return action()
            except retry_on:
                self.sleep(self.pause_s(attempt))
        return action()
