"""Words in which the scheduler's tests speak: shards, endings, and events with their times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.driver.events import Command, Event, Progressed, ScaleTo, StartShard, TimePassed
from sdflow.work.ledger import LedgerLine
from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.report import Ending, Retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from sdflow.driver.state import Scheduler

STEP_S = 5.0  # the longest that the scheduler takes for time and not for a suspended driver


def item(key: str, pixels: int = 100) -> WorkItem:
    """An image."""
    return WorkItem(key, "v1", 1, pixels=pixels)


def shard(keys: str, pixels: int = 100, *, attempt: int = 1, is_suspect: bool = False) -> Shard:
    """Images with names of one letter, of so many pixels each."""
    items = tuple(item(key, pixels) for key in keys)
    return Shard(items, attempt=attempt, is_suspect=is_suspect)


def done(lease: int, keys: str, status: Literal["done", "failed"] = "done") -> tuple[Ending, ...]:
    """Images of which the worker has written the results, or has given up."""
    return tuple(Ending(lease, key, LedgerLine(key, "v1", "p", status, "now")) for key in keys)


def back(lease: int, keys: str) -> tuple[Ending, ...]:
    """Images that were handed back."""
    return tuple(Ending(lease, key, None) for key in keys)


def failure(key: str, error: str = "internal", pixels: int = 100) -> Retry:
    """What is said of an image that failed in a way that may pass."""
    return Retry(item(key, pixels), error, "why")


def failed(lease: int, keys: str, error: str = "internal") -> tuple[Ending, ...]:
    """Images that failed in a way that may pass."""
    return tuple(Ending(lease, key, failure(key, error)) for key in keys)


def play(scheduler: Scheduler, script: Iterable[tuple[Event, float]]) -> list[Command]:
    """All that the scheduler orders meanwhile."""
    return [command for event, now in script for command in scheduler.handle(event, now)]


def idle_time(start: float, end: float, *alive: str) -> Iterator[tuple[Event, float]]:
    """Seconds in which nothing happens but that these workers say that they live."""
    now = start
    while now < end:
        now = min(end, now + STEP_S)
        for worker in alive:
            yield Progressed(worker), now
        yield TimePassed(), now


def starts(commands: Iterable[Command]) -> list[StartShard]:
    """What is leased."""
    return [command for command in commands if isinstance(command, StartShard)]


def but_scale(commands: Iterable[Command]) -> list[Command]:
    """All but how many workers there shall be."""
    return [command for command in commands if not isinstance(command, ScaleTo)]
