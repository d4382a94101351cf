from __future__ import annotations

from sdflow.driver.identity import DriverIdentity
from sdflow.driver.observer import encode_lease
from sdflow.driver.presence import living_owner
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore

_ELSEWHERE = DriverIdentity("d", "node-7", 42, "", "2026-01-01T00:00:00Z")


class _Job:
    """A job whose owner's heart beats at certain seconds, seen with a clock of its own."""

    def __init__(self, *beats_at: int, released: bool = False) -> None:
        self.store = MemoryStore()
        self.now = 0
        self._beats_at = beats_at
        self._put(released=released)

    def _put(self, *, released: bool = False) -> None:
        lease = encode_lease(_ELSEWHERE, beat=self.now, released=released)
        self.store.put(keys.lease_key(1), lease)

    def clock(self) -> float:
        return float(self.now)

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds)
        if self.now in self._beats_at:
            self._put()


def test_owner_lives_as_soon_as_its_heart_beats() -> None:
    job = _Job(4, 9)
    owner = living_owner(job.store, clock=job.clock, sleep=job.sleep)
    assert owner is not None
    assert (owner.driver.host, owner.driver.pid, job.now) == ("node-7", 42, 4)


def test_owner_that_stays_silent_is_dead_after_half_a_minute() -> None:
    job = _Job()
    assert living_owner(job.store, clock=job.clock, sleep=job.sleep) is None
    assert job.now == 30


def test_job_that_was_given_back_or_never_held_has_no_owner() -> None:
    job = _Job(released=True)
    assert living_owner(job.store, clock=job.clock, sleep=job.sleep) is None
    assert living_owner(MemoryStore(), clock=job.clock, sleep=job.sleep) is None
    assert job.now == 0
