from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from sdflow.driver.identity import DriverIdentity, has_ended
from tests.driver.leasing import child_process, process_of


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    with child_process() as process:
        yield process


def test_processes_are_told_apart(child: subprocess.Popen[str]) -> None:
    process, own = process_of(child), DriverIdentity.current()
    place, pid, start = process.rsplit(":", 2)
    assert (own.pid, int(pid)) == (os.getpid(), child.pid)
    assert own.id != DriverIdentity.current().id
    assert not has_ended(own.process)
    assert not has_ended(process)
    assert has_ended(f"{place}:{pid}:{int(start) + 1}")  # the number was given to another process
    child.kill()
    child.wait()
    assert has_ended(process)


def test_nothing_is_said_about_processes_elsewhere() -> None:
    own = DriverIdentity.current().process
    for process in (f"other-{own}", "", "x", "::", "a:b:c", "a:1:2", "host:boot:ns:1:-1"):
        assert not has_ended(process)
