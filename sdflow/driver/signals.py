"""SIGTERM and SIGINT as a flag, and a way out for whoever is impatient."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from threading import Event as Flag
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


@contextmanager
def signals_set(flag: Flag) -> Iterator[None]:
    """Signals set a flag for the length of a block."""
    before = take_signals(flag)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def take_signals(flag: Flag) -> dict[signal.Signals, Any]:
    """The first SIGTERM or SIGINT sets the flag, the second one interrupts; returns what was."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    return {name: signal.signal(name, handle) for name in (signal.SIGINT, signal.SIGTERM)}
