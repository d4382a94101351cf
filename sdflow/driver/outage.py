"""How long nothing has succeeded while things fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.driver.events import GiveUp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.driver.leases import Lease
    from sdflow.worker.report import Retry

OUTAGE_S = 3600.0  # without any success, while things fail, before the job is given up


class Outage:
    """Tells a failure of an image from one of everything around it."""

    def __init__(self) -> None:
        self._succeeded_at = -1.0
        self._failing_since = 0.0
        self._failing: Retry | None = None  # the latest, while nothing succeeds

    def succeed(self, clock: float) -> None:
        """Something has ended for good."""
        self._succeeded_at, self._failing = clock, None

    def fail(self, lease: Lease, clock: float) -> bool:
        """Items of a lease have failed in ways that may pass; whether that is held against them."""
        if self._failing is None:
            self._failing_since = clock
        self._failing = lease.retries[-1]
        return self._succeeded_at >= lease.started or any(
            retry.error != "storage.transient" for retry in lease.retries
        )

    def plan_end(self, leases: Iterable[Lease], clock: float) -> list[GiveUp]:
        """The order to give up, if it has lasted for too long and nobody is left who might."""
        failing = self._failing
        if failing is None or clock - self._failing_since <= OUTAGE_S:
            return []
        if any(lease.started < self._failing_since for lease in leases):
            return []
        return [GiveUp(failing.error, failing.message)]
