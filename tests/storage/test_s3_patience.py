"""A driver's store sits out an outage; a worker's store leaves that to the driver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from sdflow.errors import TransientStorageError
from sdflow.storage.backoff import Backoff
from sdflow.storage.s3 import S3Store
from sdflow.storage.store import Store
from tests.servers.faultproxy import Fault, FaultProxy
from tests.servers.fixtures import Bucket
from tests.storage.streams import LARGE

pytestmark = pytest.mark.s3

_OPERATIONS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: list(store.list()),
    "list_folder": lambda store: list(store.list_folder()),
    "head": lambda store: store.head("a"),
    "get": lambda store: store.get("a"),
    "put": lambda store: store.put("b", b"new"),
    "put_stream": lambda store: store.put_stream("b", [bytes(LARGE)] * 2),
    "put_if_absent": lambda store: store.put_if_absent("c", b"new"),
    "delete": lambda store: store.delete("a"),
    "delete_many": lambda store: store.delete_many(["a", "x"]),
    "discard_uploads": lambda store: store.discard_uploads(older_than_s=0),
}


@dataclass
class _Time:
    """Passes only where somebody sleeps."""

    now: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _store(bucket: Bucket, proxy: FaultProxy, *, patience_s: float) -> S3Store:
    options = replace(bucket.options, endpoint_url=proxy.url, max_attempts=1, patience_s=patience_s)
    time = _Time()
    backoff = Backoff(cap_s=10.0, sleep=time.sleep, clock=lambda: time.now, uniform=lambda: 0.5)
    return S3Store(bucket.name, "", options, backoff=backoff, part_bytes=LARGE)


@pytest.mark.parametrize("operation", _OPERATIONS)
@pytest.mark.parametrize("fault", ["answer", "reset", "drop_response"])
def test_outage_of_a_minute_is_sat_out(
    operation: str, fault: str, s3_bucket: Bucket, fault_proxy: FaultProxy
) -> None:
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="a", Body=b"there")
    call = _OPERATIONS[operation]
    fault_proxy.inject(Fault(fault, times=12))  # type: ignore[arg-type]  # a literal
    with pytest.raises(TransientStorageError):
        call(_store(s3_bucket, fault_proxy, patience_s=0))
    s3_bucket.client.delete_object(Bucket=s3_bucket.name, Key="c")  # its answer alone was lost
    fault_proxy.inject(Fault(fault, times=12))  # type: ignore[arg-type]  # a literal
    call(_store(s3_bucket, fault_proxy, patience_s=60))


def test_listing_goes_on_where_it_broke_off(s3_bucket: Bucket, fault_proxy: FaultProxy) -> None:
    names = [f"{number:04d}" for number in range(2500)]
    for name in names:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=name, Body=b"x")
    listing = _store(s3_bucket, fault_proxy, patience_s=60).list()
    found = [next(listing).key for _ in range(1000)]
    fault_proxy.inject(Fault("answer", times=5))
    assert [*found, *(info.key for info in listing)] == names
    assert len(fault_proxy.requests) == 3 + 5


def test_patience_ends(s3_bucket: Bucket, fault_proxy: FaultProxy) -> None:
    fault_proxy.inject(Fault("answer", times=None))
    with pytest.raises(TransientStorageError):
        _store(s3_bucket, fault_proxy, patience_s=60).get("a")
    assert 10 < len(fault_proxy.requests) < 20  # pauses of 5 s, shorter at first
