"""Which leases on a job are alive, as far as one that looks at them can tell.

No clocks are compared: a holder counts its heartbeats, and whoever looks measures with a clock of
its own for how long a lease stays as it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

from sdflow.driver.identity import DriverIdentity, has_ended
from sdflow.errors import NotFoundError
from sdflow.storage import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdflow.storage.store import Store

HEARTBEAT_S = 5.0
EXPIRES_S = 30.0
# While nobody looked, nothing can be said: the store may have been out of everybody's reach.
_LONGEST_GAP_S = 2 * HEARTBEAT_S


@dataclass(frozen=True, slots=True)
class Sighting:
    """What an observer knows of a lease.

    Attributes:
        driver: Who holds it.
        released: Its holder has given it back.
        etag: Version of its content.
        silent_s: For how long it has not changed, by the observer's clock.
        is_proven: It has changed, or appeared, since the observer began.
    """

    driver: DriverIdentity
    released: bool
    etag: str
    silent_s: float = 0.0
    is_proven: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the lease was released or its holder is dead."""
        return self.released or self.silent_s >= EXPIRES_S or has_ended(self.driver.process)


@dataclass(frozen=True, slots=True)
class Leases:
    """All leases of a job, as they were at one look.

    Attributes:
        by_key: Those that are over as well, and those of earlier epochs.
    """

    by_key: Mapping[str, Sighting]

    @property
    def epoch(self) -> int:
        """The newest epoch; 0 if the job never had an owner."""
        return max((keys.lease_epoch(key) or 0 for key in self.by_key), default=0)

    @property
    def owner(self) -> Sighting | None:
        """The lease of the newest epoch, over or not."""
        return self.by_key[keys.lease_key(self.epoch)] if self.epoch else None

    @property
    def joined(self) -> list[Sighting]:
        """The leases of drivers that have joined, over or not."""
        return [lease for key, lease in self.by_key.items() if keys.lease_epoch(key) is None]

    def of(self, driver_id: str) -> list[Sighting]:
        """The leases of one driver, over or not, without those of earlier epochs."""
        current = [*self.joined, *([self.owner] if self.owner else [])]
        return [lease for lease in current if lease.driver.id == driver_id]


class Observer:
    """Remembers for how long the leases of a job have not changed.

    Args:
        store: The job's destination.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, Sighting] = {}
        self._looked: float | None = None
        self._lock = Lock()

    def look(self, now: float) -> Leases:
        """Look at all leases, once more.

        Args:
            now: Seconds of a clock that never goes back.

        Raises:
            StorageError: If they cannot be read; this look then does not count.
        """
        with self._lock:
            begun = self._looked is not None
            gap = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_GAP_S)
            seen = {}
            for info in self._store.list(keys.LEASE_PREFIX):
                known = self._seen.get(info.key)
                if known is not None and known.etag == info.etag:
                    seen[info.key] = replace(known, silent_s=known.silent_s + max(0.0, gap))
                elif (data := self._read(info.key)) is not None:
                    seen[info.key] = Sighting(*decode_lease(data), info.etag, is_proven=begun)
            self._seen, self._looked = seen, now
            return Leases(seen)

    def _read(self, key: str) -> bytes | None:
        try:
            return self._store.get(key)
        except NotFoundError:
            return None


def encode_lease(driver: DriverIdentity, *, beat: int, released: bool) -> bytes:
    """The content of a lease; no two beats of a driver look alike."""
    return json.dumps({**asdict(driver), "beat": beat, "released": released}).encode() + b"\n"


def decode_lease(data: bytes) -> tuple[DriverIdentity, bool]:
    """Who holds a lease, and whether it was released; a damaged one is nobody's."""
    try:
        record = json.loads(data)
        names = (str(record[name]) for name in ("id", "host", "process", "started"))
        identity, host, process, started = names
        driver = DriverIdentity(identity, host, int(record["pid"]), process, started)
        return driver, bool(record["released"])
    except (ValueError, KeyError, TypeError):
        return DriverIdentity("", "an unknown host", 0, "", "an unknown time"), False
