"""Who works on a job: leases in the job's own folder, which their holders keep rewriting.

A job is owned in epochs. Each epoch is an object that its owner alone created; the next may begin
only when the last was released or its owner is dead. Others may join the owner, with leases of
their own.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Self

import structlog

from sdflow.driver.observer import EXPIRES_S, HEARTBEAT_S, Leases, Observer, encode_lease
from sdflow.errors import AlreadyExistsError, SdflowError, StorageError
from sdflow.storage import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.driver.identity import DriverIdentity
    from sdflow.driver.observer import Sighting
    from sdflow.storage.store import Store

_LOOK_S = 1.0
_log = structlog.get_logger()


class JobTakenError(SdflowError):
    """Another driver has the job, and is alive."""

    code = "job.taken"


class LeaseLostError(SdflowError):
    """Another driver has taken the job over, because this one seemed dead."""

    code = "job.lost"


class JobLease:
    """One driver's lease on a job: of its owner, or of a driver that has joined.

    It must be kept alive, which a :class:`Heartbeat` does, and released at the end. All methods
    may be called from several threads.

    Args:
        store: The job's destination.
        identity: Who the driver is.
        clock: Seconds that never go back.
    """

    def __init__(
        self, store: Store, identity: DriverIdentity, *, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock
        self._observer = Observer(store)
        self._leases = Leases({})
        self._epoch: int | None = None
        self._beats = 0
        self._has_ended = self._is_aside = False
        self._gone: set[str] = set()
        self._lock = RLock()

    @classmethod
    def acquire(
        cls,
        store: Store,
        identity: DriverIdentity,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Self:
        """Own the job.

        An owner that may be dead is watched for ``EXPIRES_S`` at most.

        Raises:
            JobTakenError: As soon as the present owner gives a sign of life.
            UnsupportedError: If the store cannot tell the first writer from the second.
            StorageError: If it cannot be read or written.
        """
        lease = cls(store, identity, clock=clock)
        is_watching = False
        while (owner := lease.take_over()) is not None:
            if owner.is_proven:
                raise JobTakenError(
                    f"the job in {store.url} belongs to {owner.driver}, which is alive: wait for "
                    "its end, stop it, or share its work with --join",
                    item="--join",
                )
            if not is_watching:
                _log.info("looking whether the owner of the job is alive", owner=str(owner.driver))
            is_watching = True
            sleep(_LOOK_S)
        return lease

    @classmethod
    def join(
        cls,
        store: Store,
        identity: DriverIdentity,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Join the owner of the job; where it has none, or a dead one, own it.

        Raises:
            UnsupportedError: If the store cannot tell the first writer from the second.
            StorageError: If it cannot be read or written.
        """
        lease = cls(store, identity, clock=clock)
        if lease.take_over() is not None:
            lease._write()
        return lease

    @property
    def is_owner(self) -> bool:
        """Whether this driver owns the job, or did until somebody took it over."""
        return self._epoch is not None

    def take_over(self) -> Sighting | None:
        """Begin the next epoch as the job's owner, if the last owner is dead or has released it.

        Returns:
            The lease that is in the way; None if this driver is the owner now.

        Raises:
            UnsupportedError: If the store cannot tell the first writer from the second.
            StorageError: If it cannot be read or written.
        """
        with self._lock:
            while self._epoch is None:
                leases = self._look()
                if leases.owner is not None and not leases.owner.is_over:
                    return leases.owner
                self._try_epoch(leases.epoch + 1)
            with self._forgiving():
                self._tidy()
        return None

    def beat(self) -> None:
        """Give a sign of life, and look who else does.

        What the store refuses is logged, and tried again with the next beat.

        Raises:
            LeaseLostError: If another driver has taken the job over from this one.
        """
        with self._lock, self._forgiving():
            if self._has_ended or self._is_aside:
                return
            owner = self._look().owner
            if self.is_owner and owner is not None and owner.driver.id != self._identity.id:
                self._has_ended = True
                raise LeaseLostError(
                    f"{owner.driver} has taken over the job in {self._store.url}, because this "
                    f"one gave no sign of life for {EXPIRES_S:.0f} s",
                    item=self._store.url,
                )
            self._write()

    def step_aside(self) -> None:
        """Let the owner end without this driver, which has joined it and may still follow it.

        Raises:
            StorageError: If the store refuses.
        """
        with self._lock:
            self._is_aside = True
            self._store.delete(self._key)

    def release(self) -> None:
        """Let others have the job at once; where the store refuses, the lease will expire."""
        with self._lock, self._forgiving():
            if self._has_ended:
                return
            self._has_ended = True
            if self.is_owner:
                self._write(released=True)
                self._tidy()
            else:
                self._store.delete(self._key)

    def is_living(self, driver_id: str) -> bool:
        """Whether a driver works on the job, as of the last beat.

        Raises:
            StorageError: If the driver is unknown yet and the leases cannot be read.
        """
        known = self._leases.of(driver_id)
        if not known and driver_id not in self._gone:
            known = self._look().of(driver_id)
            if not known:
                self._gone.add(driver_id)
        return any(not lease.is_over for lease in known)

    def living_joiners(self) -> list[str]:
        """Ids of the other drivers that have joined the job and are not known to be dead.

        Raises:
            StorageError: If the leases cannot be read.
        """
        others = (lease for lease in self._look().joined if lease.driver.id != self._identity.id)
        return [lease.driver.id for lease in others if not lease.is_over]

    @property
    def _key(self) -> str:
        if self._epoch is None:
            return keys.join_key(self._identity.id)
        return keys.lease_key(self._epoch)

    def _look(self) -> Leases:
        self._leases = leases = self._observer.look(self._clock())
        return leases

    def _write(self, *, released: bool = False) -> None:
        self._store.put(self._key, self._content(released=released))

    def _content(self, *, released: bool = False) -> bytes:
        self._beats += 1
        return encode_lease(self._identity, beat=self._beats, released=released)

    def _try_epoch(self, epoch: int) -> None:
        with suppress(AlreadyExistsError):
            self._store.put_if_absent(keys.lease_key(epoch), self._content())
            self._epoch, self._is_aside = epoch, False
            if self._look().epoch > epoch:  # it had been over, and deleted, before this look began
                self._store.delete(keys.lease_key(epoch))
                self._epoch = None

    def _tidy(self) -> None:
        """Delete leases that are over.

        The last epoch stays beside the present one: who read the leases before both began cannot
        begin either of them again.
        """
        if self._epoch is None:
            return
        for key, lease in self._leases.by_key.items():
            epoch = keys.lease_epoch(key)
            is_own = lease.driver.id == self._identity.id
            if (is_own or lease.is_over) if epoch is None else (epoch < self._epoch - 1):
                self._store.delete(key)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            _log.warning("the lease on the job could not be looked after", error=str(error))


class Heartbeat:
    """Keeps a lease alive in the background, as a context manager.

    Args:
        lease: The lease.
        every_s: Seconds between two beats.

    Attributes:
        lost: Set, for good, when another driver has taken the job over.
    """

    def __init__(self, lease: JobLease, *, every_s: float = HEARTBEAT_S) -> None:
        self.lost: LeaseLostError | None = None
        self._lease = lease
        self._every_s = every_s
        self._closing = Event()
        self._thread = Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(timeout=HEARTBEAT_S)  # it may be waiting for a store that is away

    def _run(self) -> None:
        while self.lost is None and not self._closing.wait(self._every_s):
            try:
                self._lease.beat()
            except LeaseLostError as error:
                self.lost = error
            except Exception:  # noqa: BLE001  # a heart that stops would give the job away
                _log.exception("the lease on the job could not be looked after")
