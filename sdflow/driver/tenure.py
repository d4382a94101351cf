"""This driver's right to a job: as its owner, as one that has joined, or unprotected."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import structlog

from sdflow.driver.claims import Claims
from sdflow.driver.identity import DriverIdentity
from sdflow.driver.lease import Heartbeat, JobLease
from sdflow.driver.observer import HEARTBEAT_S
from sdflow.errors import UsageError
from sdflow.storage import keys
from sdflow.storage.conditional import has_conditional_puts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event as Flag

    from sdflow.storage.store import Store

_log = structlog.get_logger()


class Tenure(Protocol):
    """What a run may do to a job."""

    @property
    def is_owner(self) -> bool:
        """Whether the job's record, manifest and summary are this driver's to write."""

    @property
    def is_alone(self) -> bool:
        """Whether no other driver works on the job now."""

    def claim(self, block: str) -> bool:
        """Whether a block of the listing is this driver's to do."""

    def check(self) -> None:
        """Raise LeaseLostError if another driver has taken the job over."""

    def outlasts_others(self, stop: Flag) -> bool:
        """Wait for the others to end; whether what they left is this driver's to finish.

        The owner waits for those that have joined, and they for the end of the owner.
        """


class _Unprotected:
    """In a store that cannot tell two drivers apart."""

    is_owner = True
    is_alone = True

    def claim(self, block: str) -> bool:
        return bool(block)

    def check(self) -> None:
        return

    def outlasts_others(self, stop: Flag) -> bool:
        return stop.is_set()


class _Leased:
    """With a lease that is kept alive."""

    def __init__(self, target: Store, lease: JobLease, heartbeat: Heartbeat, driver: str) -> None:
        self._lease = lease
        self._heartbeat = heartbeat
        self.claims = Claims(target, driver, lease.is_living)

    @property
    def is_owner(self) -> bool:
        return self._lease.is_owner

    @property
    def is_alone(self) -> bool:
        return self.is_owner and not self._lease.living_joiners()

    def claim(self, block: str) -> bool:
        return self.claims.claim(block)

    def check(self) -> None:
        if self._heartbeat.lost is not None:
            raise self._heartbeat.lost

    def outlasts_others(self, stop: Flag) -> bool:
        if not self.is_owner:
            _log.info("nothing is left to share: waiting for the job's owner to end")
            self._lease.step_aside()  # the owner waits for those that have joined
        while not stop.is_set():
            self.check()
            if not self.is_owner:
                if self._lease.take_over() is None:
                    return True
            elif others := self._lease.living_joiners():
                _log.info("waiting for drivers that have joined", drivers=len(others))
            else:
                return True
            stop.wait(HEARTBEAT_S)
        return False


@contextmanager
def hold_job(target: Store, *, join: bool) -> Iterator[Tenure]:
    """Hold a job for the length of a block, as its only driver or, with ``join``, as one of many.

    Raises:
        JobTakenError: If another driver has the job, and ``join`` was not given.
        UsageError: If ``join`` was given and the store has no conditional puts.
        StorageError: If the store refuses.
    """
    if not has_conditional_puts(target, keys.probe_key(secrets.token_hex(8))):
        if join:
            raise UsageError(
                f"--join: {target.url} has no conditional puts (If-None-Match), so two drivers "
                "cannot share a job there: run one",
                item="--join",
            )
        _log.warning(
            "the store has no conditional puts (If-None-Match): two drivers on one DST would not "
            "notice each other, see to it that there is one",
            store=target.url,
        )
        yield _Unprotected()
        return
    identity = DriverIdentity.current()
    lease = (JobLease.join if join else JobLease.acquire)(target, identity)
    try:
        with Heartbeat(lease) as heartbeat:
            tenure = _Leased(target, lease, heartbeat, identity.id)
            if not lease.is_owner:
                _log.info("sharing the job of another driver")
            elif tenure.is_alone:
                tenure.claims.clear()
            yield tenure
            if tenure.is_alone:
                tenure.claims.clear()
    finally:
        lease.release()
