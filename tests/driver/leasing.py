"""Drivers that hold leases, in a time of their own; and real processes that can end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sdflow.driver.identity import DriverIdentity
from sdflow.driver.lease import JobLease
from sdflow.driver.observer import HEARTBEAT_S
from sdflow.storage import keys
from sdflow.storage.store import Store


class World:
    """A clock that runs while somebody sleeps, and drivers whose hearts beat meanwhile."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 0.0
        self.alive: list[JobLease] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        if self.now // HEARTBEAT_S > before // HEARTBEAT_S:
            for lease in self.alive:
                lease.beat()

    def acquire(self, name: str, process: str = "") -> JobLease:
        return JobLease.acquire(
            self.store, driver(name, process), clock=self.clock, sleep=self.sleep
        )

    def join(self, name: str, process: str = "") -> JobLease:
        return JobLease.join(self.store, driver(name, process), clock=self.clock)

    def lease_keys(self) -> list[str]:
        return [info.key for info in self.store.list(keys.LEASE_PREFIX)]


def driver(name: str, process: str = "") -> DriverIdentity:
    return DriverIdentity(name, f"host-{name}", 1, process, "2026-01-01T00:00:00.000Z")


@contextmanager
def child_process() -> Iterator[subprocess.Popen[str]]:
    """A process that says who it is and then waits."""
    code = (
        "from sdflow.driver.identity import DriverIdentity\n"
        "print(DriverIdentity.current().process, flush=True)\n"
        "input()"
    )
    with subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def process_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    process = child.stdout.readline().strip()
    if not process:
        pytest.skip("this system does not tell processes apart")
    return process
