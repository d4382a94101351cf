"""Endings on their way to the driver: numbered, and kept until it has said that it got them."""

from __future__ import annotations

from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdflow.worker.report import Ending


class Outbox:
    """Holds endings so that an answer that got lost loses none of them."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._endings: list[Ending] = []
        self._sequence = 0  # of the last ending
        self._is_urgent = False
        self._asked_at = monotonic()

    @property
    def silence_s(self) -> float:
        """Seconds since somebody last asked."""
        return monotonic() - self._asked_at

    def put(self, ending: Ending) -> None:
        """Add an ending."""
        with self._changed:
            self._endings.append(ending)
            self._sequence += 1

    def hurry(self) -> None:
        """Let whoever waits have what there is."""
        with self._changed:
            self._is_urgent = True
            self._changed.notify_all()

    def read(self, acknowledged: int, wait_s: float) -> tuple[int, tuple[Ending, ...]]:
        """All endings after the acknowledged one, with the number of the last.

        Args:
            acknowledged: Number of the last ending that has arrived; those up to it are forgotten.
            wait_s: Seconds to wait for something urgent.
        """
        with self._changed:
            self._asked_at = monotonic()
            first = self._sequence - len(self._endings)
            del self._endings[: max(0, acknowledged - first)]
            self._changed.wait_for(lambda: self._is_urgent, timeout=wait_s)
            self._is_urgent = False
            self._asked_at = monotonic()
            return self._sequence, tuple(self._endings)
