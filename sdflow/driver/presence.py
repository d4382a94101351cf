"""Whether somebody works on a job, as whoever does not take part can see it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from sdflow.driver.observer import Observer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.driver.observer import Sighting
    from sdflow.storage.store import Store

_LOOK_S = 1.0
_log = structlog.get_logger()


def living_owner(
    store: Store,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Sighting | None:
    """The lease of a job's owner, if the owner lives; nothing is written.

    A lease that may be a dead one's is watched: until the next heartbeat where its holder lives,
    half a minute at most.

    Args:
        store: The job's destination.
        clock: Seconds that never go back.
        sleep: Waits so many seconds.

    Raises:
        StorageError: If the leases cannot be read.
    """
    observer = Observer(store)
    is_watching = False
    while True:
        owner = observer.look(clock()).owner
        if owner is None or owner.is_over:
            return None
        if owner.is_proven:
            return owner
        if not is_watching:
            _log.info("looking whether the owner of the job is alive", owner=str(owner.driver))
        is_watching = True
        sleep(_LOOK_S)
