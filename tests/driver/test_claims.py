from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from sdflow.driver.claims import Claims
from sdflow.driver.identity import DriverIdentity
from sdflow.driver.lease import JobLease
from sdflow.driver.observer import EXPIRES_S, HEARTBEAT_S
from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from sdflow.storage.memory import MemoryStore
from sdflow.storage.s3 import S3Store
from sdflow.storage.store import Store


@pytest.fixture(params=["memory", "local", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        bucket = request.getfixturevalue("s3_bucket")
        return S3Store(bucket.name, "out/", bucket.options)
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path)


def at_once(claims: Sequence[Claims], block: str) -> list[bool]:
    """Who gets a block that all claim at the same time."""
    gate = Barrier(len(claims))

    def run(claims: Claims) -> bool:
        gate.wait()
        return claims.claim(block)

    with ThreadPoolExecutor(len(claims)) as pool:
        return list(pool.map(run, claims))


def test_a_block_belongs_to_who_claims_it_first(store: Store) -> None:
    a, b = (Claims(store, name, {"a", "b"}.__contains__) for name in "ab")
    assert (a.claim("x"), b.claim("y")) == (True, True)
    assert (b.claim("x"), a.claim("y")) == (False, False)
    assert (a.claim("x"), b.claim("y")) == (True, True)
    assert json.loads(store.get(keys.claim_key("x", 1))) == {"driver": "a"}


def test_of_many_claimants_at_once_one_has_the_block(store: Store) -> None:
    claims = [Claims(store, str(number), bool) for number in range(8)]
    for block in ("x", "y", "z"):
        answers = at_once(claims, block)
        assert sum(answers) == 1
        assert [claim.claim(block) for claim in claims] == answers


def test_of_many_heirs_at_once_one_has_the_block(store: Store) -> None:
    for dead in ("dead", "dead too"):
        assert Claims(store, dead, lambda _: False).claim("x")
    claims = [Claims(store, str(number), str.isdecimal) for number in range(8)]
    answers = at_once(claims, "x")
    assert sum(answers) == 1
    assert [claim.claim("x") for claim in claims] == answers


def test_the_blocks_of_a_driver_that_died_pass_on_for_good(store: Store) -> None:
    living = {"a", "b", "c"}
    a, b, c = (Claims(store, name, living.__contains__) for name in "abc")
    assert a.claim("x")
    living.remove("a")
    assert b.claim("x")
    living.add("a")  # it only seemed to be dead
    assert (a.claim("x"), b.claim("x"), c.claim("x")) == (False, True, False)
    living.remove("b")
    assert a.claim("x")
    assert [info.key for info in store.list(keys.CLAIMS_PREFIX)] == [
        keys.claim_key("x", number) for number in (1, 2, 3)
    ]


def test_cleared_claims_are_void(store: Store) -> None:
    a, b = (Claims(store, name, {"a", "b"}.__contains__) for name in "ab")
    for number in range(30):
        assert a.claim(f"block{number}")
    store.put(keys.JOB_KEY, b"kept")
    a.clear()
    assert b.claim("block7")
    assert [info.key for info in store.list(keys.JOB_PREFIX)] == [
        keys.claim_key("block7", 1),
        keys.JOB_KEY,
    ]


@pytest.mark.parametrize("damage", [b"", b"\xff", b"[]", b"{}"])
def test_a_damaged_claim_is_nobodys(damage: bytes) -> None:
    store = MemoryStore()
    store.put(keys.claim_key("x", 1), damage)
    a, b = (Claims(store, name, bool) for name in "ab")
    assert (a.claim("x"), b.claim("x")) == (True, False)


def test_claims_follow_the_leases() -> None:
    store, now = MemoryStore(), 0.0
    identities = [DriverIdentity(name, "host", 1, "", "now") for name in "ab"]
    a, b = (JobLease.join(store, identity, clock=lambda: now) for identity in identities)
    a_claims = Claims(store, "a", a.is_living)
    b_claims = Claims(store, "b", b.is_living)
    assert a_claims.claim("x")
    assert b_claims.claim("y")
    assert (a_claims.claim("y"), b_claims.claim("x")) == (False, False)
    while not b_claims.claim("x"):
        now += HEARTBEAT_S
        b.beat()
    assert EXPIRES_S <= now <= EXPIRES_S + HEARTBEAT_S
    assert not a_claims.claim("x")
    b.release()
    a.beat()
    assert a_claims.claim("y")
