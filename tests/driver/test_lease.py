from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest

from sdflow.driver.lease import JobLease, JobTakenError, LeaseLostError
from sdflow.driver.observer import EXPIRES_S, HEARTBEAT_S
from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from sdflow.storage.memory import MemoryStore
from sdflow.storage.s3 import S3Store
from tests.driver.leasing import World, child_process, driver, process_of

_LOOK_S = 1.0


@pytest.fixture(params=["memory", "local", pytest.param("s3", marks=pytest.mark.s3)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "s3":
        bucket = request.getfixturevalue("s3_bucket")
        return World(S3Store(bucket.name, "out/", bucket.options))
    return World(MemoryStore() if request.param == "memory" else LocalStore(tmp_path))


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    with child_process() as process:
        yield process


def test_a_second_driver_is_refused_within_a_heartbeat(world: World) -> None:
    world.alive = [world.acquire("a")]
    with pytest.raises(JobTakenError, match=r"host-a \(pid 1, since .*--join") as caught:
        world.acquire("b")
    assert world.now <= HEARTBEAT_S + _LOOK_S
    assert caught.value.code == "job.taken"


def test_the_job_of_a_silent_driver_is_taken_over(world: World) -> None:
    silent = world.acquire("a")
    heir = world.acquire("b")
    assert EXPIRES_S <= world.now <= EXPIRES_S + _LOOK_S
    with pytest.raises(LeaseLostError, match="host-b"):
        silent.beat()
    silent.beat()  # has nothing more to say
    silent.release()
    heir.beat()
    world.alive = [heir]
    with pytest.raises(JobTakenError, match="host-b"):
        world.acquire("c")


def test_a_released_job_is_free_at_once(world: World) -> None:
    world.acquire("a").release()
    assert world.acquire("b").is_owner
    assert world.now == 0


def test_the_job_of_a_process_that_ended_here_is_free_at_once(
    world: World, child: subprocess.Popen[str]
) -> None:
    process = process_of(child)
    lease = world.acquire("a", process)
    world.alive = [lease]
    with pytest.raises(JobTakenError):
        world.acquire("b")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # its parent has yet to take note
    before = world.now
    assert world.acquire("b").is_owner
    assert world.now == before


def at_once(count: int, start: Callable[[int], JobLease]) -> list[JobLease]:
    """What those threads get that are not refused."""
    gate = Barrier(count)

    def run(number: int) -> JobLease | None:
        gate.wait()
        try:
            return start(number)
        except JobTakenError:
            return None

    with ThreadPoolExecutor(count) as pool:
        return [lease for lease in pool.map(run, range(count)) if lease is not None]


@pytest.mark.parametrize("had_owner", [False, True])
def test_of_many_drivers_at_once_one_owns_the_job(world: World, had_owner: bool) -> None:
    if had_owner:
        world.acquire("z").release()
    won = Event()
    winners: list[JobLease] = []

    def wait_for_a_beat(seconds: float) -> None:
        assert won.wait(60)
        winners[0].beat()

    def start(number: int) -> JobLease:
        identity = driver(str(number))
        lease = JobLease.acquire(world.store, identity, clock=world.clock, sleep=wait_for_a_beat)
        winners.append(lease)
        won.set()
        return lease

    owners = at_once(8, start)
    assert len(owners) == 1
    owners[0].beat()


def test_of_many_joining_at_once_one_owns_the_job(world: World) -> None:
    leases = at_once(8, lambda number: world.join(str(number)))
    owners = [lease for lease in leases if lease.is_owner]
    assert (len(leases), len(owners)) == (8, 1)
    assert len(owners[0].living_joiners()) == 7
    assert all(lease.take_over() is not None for lease in leases if lease is not owners[0])


def test_a_joined_driver_outlives_the_owner_and_takes_over(world: World) -> None:
    owner, joined = world.acquire("a"), world.join("b")
    world.alive = [owner, joined]
    world.sleep(HEARTBEAT_S)
    assert (owner.is_owner, joined.is_owner) == (True, False)
    assert owner.living_joiners() == ["b"]
    assert (joined.is_living("a"), owner.is_living("b")) == (True, True)
    world.alive = [joined]
    while joined.take_over() is not None:
        world.sleep(HEARTBEAT_S)
    assert world.now <= 2 * HEARTBEAT_S + EXPIRES_S
    assert joined.is_owner
    assert not joined.is_living("a")
    assert world.lease_keys() == [keys.lease_key(1), keys.lease_key(2)]
    with pytest.raises(LeaseLostError):
        owner.beat()


def test_a_joined_driver_takes_over_at_once_what_was_released(world: World) -> None:
    owner, joined = world.acquire("a"), world.join("b")
    owner.release()
    assert joined.take_over() is None
    assert world.now == 0


def test_a_joined_driver_that_steps_aside_is_not_waited_for_and_may_still_follow(
    world: World,
) -> None:
    owner, joined = world.acquire("a"), world.join("b")
    joined.step_aside()
    joined.beat()  # has nothing more to say
    assert owner.living_joiners() == []
    assert joined.take_over() is not None
    owner.release()
    assert joined.take_over() is None
    joined.beat()
    assert joined.is_owner
    world.alive = [joined]
    with pytest.raises(JobTakenError):
        world.acquire("c")


def test_a_joined_driver_that_ends_is_gone_at_once(world: World) -> None:
    owner, joined = world.acquire("a"), world.join("b")
    assert owner.is_living("b")  # who came after the last beat is looked up
    joined.release()
    joined.beat()  # has nothing more to say
    assert owner.living_joiners() == []
    assert not owner.is_living("b")
    assert world.lease_keys() == [keys.lease_key(1)]
