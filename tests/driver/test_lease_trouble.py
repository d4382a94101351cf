from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.driver.lease import Heartbeat, JobLease, JobTakenError, LeaseLostError
from sdflow.driver.observer import EXPIRES_S, HEARTBEAT_S
from sdflow.errors import TransientStorageError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo
from tests.driver.leasing import World


def test_joined_drivers_that_die_are_missed_and_tidied_away() -> None:
    world = World(MemoryStore())
    owner = world.acquire("a")
    world.join("b")
    world.alive = [owner, world.join("c")]
    while "b" in owner.living_joiners():
        world.sleep(HEARTBEAT_S)
    assert owner.living_joiners() == ["c"]
    owner.release()
    assert world.lease_keys() == [keys.join_key("c"), keys.lease_key(1)]


def test_who_joins_a_job_without_an_owner_owns_it() -> None:
    world = World(MemoryStore())
    lease = world.join("a")
    assert lease.is_owner
    assert world.lease_keys() == [keys.lease_key(1)]


def test_old_epochs_do_not_pile_up() -> None:
    world = World(MemoryStore())
    for number in range(9):
        world.acquire(str(number)).release()
    assert world.lease_keys() == [keys.lease_key(8), keys.lease_key(9)]


class Slow(MemoryStore):
    """Lets others do something before it creates the next object."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], None] | None = None

    def put_if_absent(self, key: str, data: bytes) -> str:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().put_if_absent(key, data)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
def test_an_epoch_of_the_past_is_not_begun_again(epochs: int) -> None:
    store = Slow()
    world = World(store)

    def pass_history() -> None:
        for number in range(epochs - 1):
            world.acquire(f"past{number}").release()
        world.alive = [world.acquire("present")]

    store.meanwhile = pass_history
    with pytest.raises(JobTakenError, match="host-present"):
        world.acquire("late")
    world.alive[0].beat()
    assert world.lease_keys()[-1] == keys.lease_key(epochs)


class Moody(MemoryStore):
    """Can be out of reach."""

    is_down = False

    def put(self, key: str, data: bytes) -> str:
        self._complain()
        return super().put(key, data)

    def get(
        self, key: str, *, start: int = 0, stop: int | None = None, if_match: str | None = None
    ) -> bytes:
        self._complain()
        return super().get(key, start=start, stop=stop, if_match=if_match)

    def _complain(self) -> None:
        if self.is_down:
            raise TransientStorageError("try again later")


def test_a_beat_survives_a_store_that_is_out_of_reach() -> None:
    store = Moody()
    world = World(store)
    lease = world.acquire("a")
    store.is_down = True
    lease.beat()
    store.is_down = False
    world.alive = [lease]
    with pytest.raises(JobTakenError):
        world.acquire("b")


def test_a_release_that_fails_is_no_error() -> None:
    store = Moody()
    world = World(store)
    lease = world.acquire("a")
    store.is_down = True
    lease.release()
    store.is_down = False
    assert world.acquire("b").is_owner
    assert world.now >= EXPIRES_S


def test_time_in_which_nobody_could_look_kills_nobody() -> None:
    world = World(MemoryStore())
    owner, joined = world.acquire("a"), world.join("b")
    joined.beat()
    world.now += 100 * EXPIRES_S
    joined.beat()
    assert joined.take_over() is not None
    owner.beat()


def test_a_damaged_lease_expires_like_any_other() -> None:
    world = World(MemoryStore())
    for epoch, damage in enumerate((b"", b"\xff{", b"[]", b'{"id": "a", "pid": []}'), start=1):
        world.store.put(keys.lease_key(2 * epoch), damage)
        before = world.now
        assert world.acquire("b").is_owner
        assert world.now - before >= EXPIRES_S


_ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "beat", "beat", "release", "wait", "stall"]), st.integers(0, 2)
    ),
    max_size=60,
)


@given(_ACTIONS)
def test_two_drivers_never_both_own_a_job_they_keep_alive(actions: list[tuple[str, int]]) -> None:
    world = World(MemoryStore())
    leases: dict[int, JobLease] = {}
    beaten: dict[int, float] = {}
    for count, (action, number) in enumerate(actions):
        lease = leases.get(number)
        if action == "wait":
            world.now += HEARTBEAT_S
        elif action == "stall":
            world.now += EXPIRES_S
        elif action == "enter":
            if lease is None:
                leases[number] = world.join(f"{number}-{count}")
            else:
                lease.take_over()
            beaten.setdefault(number, world.now)
        elif lease is not None and action == "beat":
            beaten[number] = world.now
            try:
                lease.beat()
            except LeaseLostError:
                del leases[number], beaten[number]
        elif lease is not None:
            lease.release()
            del leases[number], beaten[number]
        owners = [
            number
            for number, lease in leases.items()
            if lease.is_owner and world.now - beaten[number] < EXPIRES_S
        ]
        assert len(owners) <= 1


class Watched(MemoryStore):
    """Tells when it has been listed so many times."""

    def __init__(self) -> None:
        super().__init__()
        self._remaining, self._listed = 0, Event()

    def expect(self, count: int) -> Event:
        self._remaining, self._listed = count, Event()
        return self._listed

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._remaining -= 1
        if self._remaining == 0:
            self._listed.set()
        return super().list(prefix)


def test_a_heart_beats_until_it_is_stopped() -> None:
    store = Watched()
    lease = World(store).acquire("a")
    content = store.get(keys.lease_key(1))
    with Heartbeat(lease, every_s=0.001) as heartbeat:
        assert store.expect(3).wait(60)
    assert store.get(keys.lease_key(1)) != content
    assert heartbeat.lost is None


def test_a_heart_that_learns_of_an_heir_stops_and_says_so() -> None:
    store = Watched()
    world = World(store)
    silent = world.acquire("a")
    world.acquire("b")
    content = store.get(keys.lease_key(1))
    looked = store.expect(1)
    with Heartbeat(silent, every_s=0.001) as heartbeat:
        assert looked.wait(60)
    assert isinstance(heartbeat.lost, LeaseLostError)
    assert store.get(keys.lease_key(1)) == content
