"""Broken connections between a store and a real server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from sdflow.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    TransientStorageError,
    UnsupportedError,
)
from sdflow.storage.backoff import Backoff
from sdflow.storage.conditional import has_conditional_puts
from sdflow.storage.listing import list_in_parallel
from sdflow.storage.s3 import S3Store
from tests.servers.faultproxy import Fault

if TYPE_CHECKING:
    from tests.servers.faultproxy import FaultProxy
    from tests.servers.fixtures import Bucket

pytestmark = pytest.mark.s3

DATA = os.urandom(200_000)
BROKEN_BODIES = [
    Fault("truncate", method="GET", after_bytes=100_000),
    Fault("truncate", method="GET", after_bytes=len(DATA) - 1),
    Fault("reset_after", method="GET", after_bytes=100_000),
    Fault("stall", method="GET", after_bytes=100_000, delay_s=60.0),
    Fault("corrupt", method="GET", after_bytes=77),
]


@dataclass
class Line:
    """A store, the proxy before it, and the pauses that it made between its attempts."""

    store: S3Store
    proxy: FaultProxy
    bucket: Bucket
    pauses: list[float] = field(default_factory=list)

    def requests(self, method: str) -> int:
        return sum(request.method == method for request in self.proxy.requests)

    def raw_set(self, key: str, data: bytes) -> None:
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=key, Body=data)

    def raw_get(self, key: str) -> bytes:
        return self.bucket.client.get_object(Bucket=self.bucket.name, Key=key)["Body"].read()


@pytest.fixture
def line(s3_bucket: Bucket, fault_proxy: FaultProxy) -> Line:
    pauses: list[float] = []
    options = replace(s3_bucket.options, endpoint_url=fault_proxy.url, read_timeout_s=0.5)
    store = S3Store(s3_bucket.name, "", options, backoff=Backoff(sleep=pauses.append))
    return Line(store, fault_proxy, s3_bucket, pauses)


@pytest.mark.parametrize("fault", BROKEN_BODIES, ids=lambda fault: fault.kind)
def test_a_broken_body_is_read_again(line: Line, fault: Fault) -> None:
    line.raw_set("k", DATA)
    line.proxy.inject(fault)
    assert line.store.get("k") == DATA
    assert (line.requests("GET"), len(line.pauses)) == (2, 1)


@pytest.mark.parametrize("fault", BROKEN_BODIES, ids=lambda fault: fault.kind)
def test_a_body_that_is_always_broken_is_given_up(line: Line, fault: Fault) -> None:
    line.raw_set("k", DATA)
    line.proxy.inject(replace(fault, times=None))
    with pytest.raises(TransientStorageError, match=f"'s3://{line.bucket.name}/k' ") as caught:
        line.store.get("k")
    assert caught.value.item == "k"
    assert (line.requests("GET"), len(line.pauses)) == (3, 2)


def test_a_broken_range_is_read_again(line: Line) -> None:
    line.raw_set("k", DATA)
    line.proxy.inject(Fault("truncate", method="GET", after_bytes=10))
    assert line.store.get("k", start=50, stop=5000) == DATA[50:5000]
    assert len(line.pauses) == 1


@pytest.mark.parametrize("fault", [Fault("answer", status=503), Fault("reset")])
def test_a_request_without_an_answer_is_sent_again_by_the_sdk(line: Line, fault: Fault) -> None:
    line.raw_set("k", DATA)
    line.proxy.inject(fault)
    assert line.store.get("k") == DATA
    line.proxy.inject(fault)
    line.store.put("k", b"new")
    assert line.raw_get("k") == b"new"
    assert line.pauses == []


def test_throttling_that_does_not_end_is_transient(line: Line) -> None:
    options = replace(line.bucket.options, endpoint_url=line.proxy.url, max_attempts=1)
    store = S3Store(line.bucket.name, "", options)
    line.proxy.inject(Fault("answer", status=503, times=None))
    with pytest.raises(TransientStorageError, match="SlowDown") as caught:
        store.get("k")
    assert caught.value.transient


def test_a_page_of_a_listing_that_breaks_off_is_asked_for_again(line: Line) -> None:
    for key in "abc":
        line.raw_set(key, b"")
    line.proxy.inject(Fault("truncate", method="GET", after_bytes=200))
    assert [info.key for info in line.store.list()] == ["a", "b", "c"]


def test_a_put_that_is_damaged_on_its_way_is_refused_and_sent_again(line: Line) -> None:
    line.proxy.inject(Fault("corrupt_request", method="PUT", after_bytes=77))
    line.store.put("k", DATA)
    assert line.raw_get("k") == DATA
    assert (line.requests("PUT"), len(line.pauses)) == (2, 1)


def test_a_put_whose_answer_is_lost_is_done_again(line: Line) -> None:
    line.proxy.inject(Fault("drop_response", method="PUT"))
    etag = line.store.put("k", DATA)
    assert (line.raw_get("k"), line.store.head("k").etag) == (DATA, etag)


def test_a_put_if_absent_whose_answer_is_lost_knows_its_own_object(line: Line) -> None:
    line.proxy.inject(Fault("drop_response", method="PUT"))
    etag = line.store.put_if_absent("claim", b"mine")
    assert (line.raw_get("claim"), line.store.head("claim").etag) == (b"mine", etag)
    assert line.requests("PUT") == 2
    with pytest.raises(AlreadyExistsError):
        line.store.put_if_absent("claim", b"mine")


@pytest.mark.parametrize("fault", [Fault("drop_response"), Fault("reset")], ids=lambda f: f.kind)
def test_a_repeated_put_if_absent_does_not_take_an_equal_object_for_its_own(
    line: Line, fault: Fault
) -> None:
    line.store.put_if_absent("claim", b"equal")
    line.proxy.inject(fault)
    with pytest.raises(AlreadyExistsError, match="claim"):
        line.store.put_if_absent("claim", b"equal")


def test_a_put_if_absent_that_collides_is_tried_again(line: Line) -> None:
    line.proxy.inject(Fault("answer", method="PUT", status=409))
    line.store.put_if_absent("claim", b"mine")
    assert line.raw_get("claim") == b"mine"
    assert len(line.pauses) == 1


def test_a_service_without_conditional_put_is_told(line: Line) -> None:
    line.proxy.inject(Fault("answer", method="PUT", status=501, times=None))
    with pytest.raises(UnsupportedError, match="no conditional put") as caught:
        line.store.put_if_absent("claim", b"mine")
    assert not caught.value.transient
    assert not has_conditional_puts(line.store, "probe")


def test_a_put_if_absent_whose_answer_is_lost_does_not_pass_for_an_ignored_condition(
    line: Line,
) -> None:
    line.proxy.inject(Fault("drop_response", method="PUT", times=2))
    assert has_conditional_puts(line.store, "probe")


def test_a_thousand_keys_are_deleted_with_one_request(line: Line) -> None:
    line.store.delete_many(f"{number}" for number in range(2001))
    assert (line.requests("POST"), line.requests("DELETE")) == (3, 0)
    assert all("Content-MD5" in request.headers for request in line.proxy.requests)


@pytest.mark.parametrize("status", [400, 405, 501])
def test_a_service_without_batches_is_asked_for_each_key(line: Line, status: int) -> None:
    for key in "abc":
        line.raw_set(key, b"")
    line.proxy.inject(Fault("answer", method="POST", status=status))
    line.store.delete_many("ab")
    assert [info.key for info in line.store.list()] == ["c"]
    assert (line.requests("POST"), line.requests("DELETE")) == (1, 2)


@pytest.mark.parametrize("named", ["b", "mangled"])
def test_keys_that_a_batch_leaves_are_deleted_by_themselves(line: Line, named: str) -> None:
    body = (
        f"<DeleteResult><Error><Key>{named}</Key><Code>InternalError</Code></Error></DeleteResult>"
    )
    line.raw_set("b", b"")
    line.proxy.inject(Fault("answer", method="POST", status=200, body=body.encode()))
    line.store.delete_many("ab")
    assert list(line.store.list()) == []
    assert line.requests("DELETE") == (1 if named == "b" else 2)


def test_a_batch_whose_answer_is_lost_is_sent_again(line: Line) -> None:
    line.raw_set("a", b"")
    line.proxy.inject(Fault("drop_response", method="POST"))
    line.store.delete_many("a")
    assert (line.requests("POST"), line.requests("DELETE")) == (2, 0)


def test_an_error_of_a_listing_thread_reaches_the_reader(line: Line) -> None:
    for key in ("a/1", "a/2", "b/1", "b/2"):
        line.raw_set(key, b"")
    line.proxy.inject(Fault("answer", method="GET", path="prefix=b", status=403, times=None))
    listing = list_in_parallel(line.store, threads=3, ahead=1)
    assert [next(listing).key for _ in range(2)] == ["a/1", "a/2"]
    with pytest.raises(AccessDeniedError):
        next(listing)


def test_a_service_that_answers_a_range_with_everything_is_understood(line: Line) -> None:
    line.proxy.inject(Fault("answer", method="GET", status=200, body=DATA))
    assert line.store.get("k", start=10, stop=20) == DATA[10:20]


def test_a_put_carries_its_md5_and_no_checksum_that_services_refuse(line: Line) -> None:
    line.store.put("k", DATA)
    names = {name.lower() for name in line.proxy.requests[0].headers}
    assert "content-md5" in names
    assert [name for name in names if "checksum" in name or "trailer" in name] == []


def test_one_connection_serves_one_thread(line: Line) -> None:
    line.raw_set("k", DATA)
    for _ in range(5):
        line.store.get("k")
        line.store.get("k", start=3, stop=9)
        line.store.head("k")
    assert len({request.client_port for request in line.proxy.requests}) == 1
