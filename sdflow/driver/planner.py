"""The listing, in a thread of its own: the driver hears signals and workers meanwhile."""

from __future__ import annotations

from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.work.shard import Shard

_AHEAD = 2  # shards; what is drawn here no other driver can do
_LOOK_S = 0.2
_LAST_WAIT_S = 10.0


class Planner:
    """Draws shards from a plan as fast as they are taken, a few ahead.

    Args:
        shards: The plan; it is drawn from in one other thread.

    Attributes:
        is_done: Whether everything has been taken.
    """

    def __init__(self, shards: Iterator[Shard]) -> None:
        self.is_done = False
        self._shards = shards
        self._queue: Queue[Shard | BaseException | None] = Queue(_AHEAD)
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="planner", daemon=True)

    def __enter__(self) -> Planner:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=_LAST_WAIT_S)  # it may be waiting for a store that is away

    def take(self) -> Shard | None:
        """The next shard if there is one already.

        Raises:
            SdflowError: What the listing raised.
        """
        if self.is_done:
            return None
        try:
            found = self._queue.get_nowait()
        except Empty:
            return None
        if isinstance(found, BaseException):
            self.is_done = True
            raise found
        self.is_done = found is None
        return found

    def _run(self) -> None:
        try:
            for shard in self._shards:
                if not self._put(shard):
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001  # it is raised where shards are taken
            self._put(error)

    def _put(self, found: Shard | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(found, timeout=_LOOK_S)
            except Full:
                continue
            return True
        return False
