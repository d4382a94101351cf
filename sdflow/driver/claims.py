"""Which of several drivers does which block of the listing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sdflow.errors import AlreadyExistsError, NotFoundError
from sdflow.storage import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.storage.store import Store


class Claims:
    """Claims to blocks, each an object that its claimant alone created.

    The last claim to a block is the one that counts, and a driver that no longer lives is followed
    by whoever comes first. Nothing is kept in memory.

    Args:
        store: The job's destination.
        driver_id: Who claims.
        living: Whether the driver of an id still works on the job.
    """

    def __init__(self, store: Store, driver_id: str, living: Callable[[str], bool]) -> None:
        self._store = store
        self._driver_id = driver_id
        self._living = living

    def claim(self, block: str) -> bool:
        """Claim a block; True if it is this driver's, now or since earlier.

        Args:
            block: Its name.

        Raises:
            UnsupportedError: If the store cannot tell the first claimant from the second.
            StorageError: If it cannot be read or written.
        """
        number = 1
        while not self._create(keys.claim_key(block, number)):
            last = max(
                (info.key for info in self._store.list(keys.claims_prefix(block))), default=""
            )
            holder = self._holder(last)
            if holder == self._driver_id:
                return True
            if holder is not None and self._living(holder):
                return False
            number = 1 + int(last.rpartition("/")[2] or 0)
        return True

    def clear(self) -> None:
        """Void all claims: for an owner without other living drivers.

        Claims of drivers that are gone do no harm, but cost requests. Other drivers' claims must
        not be voided: they would do what they have while somebody else does it too.

        Raises:
            StorageError: If claims cannot be listed or deleted.
        """
        self._store.delete_many(info.key for info in self._store.list(keys.CLAIMS_PREFIX))

    def _create(self, key: str) -> bool:
        body = json.dumps({"driver": self._driver_id}).encode() + b"\n"
        try:
            self._store.put_if_absent(key, body)
        except AlreadyExistsError:
            return False
        return True

    def _holder(self, key: str) -> str | None:
        """Who made a claim; None where it is gone or says nothing."""
        if not key:
            return None
        try:
            return str(json.loads(self._store.get(key))["driver"])
        except (NotFoundError, ValueError, KeyError, TypeError):
            return None
