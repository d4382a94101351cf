"""The images of one lease that a worker holds, until it takes them for computation."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.work.shard import Shard, WorkItem

Fetched = TypeVar("Fetched")


class HeldShard(Generic[Fetched]):
    """Images on their way in. They are taken from the front, and may be handed back from the end.

    Args:
        lease: Number of the lease.
        shard: The images.
        fetch: Begins to fetch one.
        discard: Told about what was fetched of an image that has been handed back meanwhile.
    """

    def __init__(
        self,
        lease: int,
        shard: Shard,
        fetch: Callable[[WorkItem], Future[Fetched]],
        discard: Callable[[Fetched], None],
    ) -> None:
        self.lease = lease
        self.attempt = shard.attempt
        self._discard = discard
        self._lock = Lock()
        self._fetches = {fetch(item): item for item in shard.items}

    def take(self, is_enough: Callable[[Fetched], bool]) -> list[tuple[WorkItem, Fetched]]:
        """Wait for images, and take those that are there; none are left if there are none.

        Args:
            is_enough: Told about every image taken; True ends the taking.
        """
        while True:
            with self._lock:
                fetches = list(self._fetches)
            ready = wait(fetches, return_when=FIRST_COMPLETED).done if fetches else set()
            taken: list[tuple[WorkItem, Fetched]] = []
            with self._lock:
                for fetch in fetches:
                    if fetch in ready and (item := self._fetches.pop(fetch, None)):
                        taken.append((item, fetch.result()))
                        if is_enough(taken[-1][1]):
                            break
            if taken or not fetches:
                return taken

    def give_back(self, count: int) -> list[WorkItem]:
        """Part with up to so many images whose computation has not begun."""
        with self._lock:
            victims = list(reversed(self._fetches))[:count]
            items = [self._fetches.pop(fetch) for fetch in victims]
        for fetch in victims:
            fetch.cancel()
            fetch.add_done_callback(self._drop)
        return items

    def _drop(self, fetch: Future[Fetched]) -> None:
        if not fetch.cancelled():
            self._discard(fetch.result())
