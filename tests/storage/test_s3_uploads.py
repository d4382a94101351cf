"""Streams that go to a real server in parts, over lines that break."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from sdflow.errors import StorageError, TransientStorageError
from sdflow.storage.backoff import Backoff
from sdflow.storage.s3 import S3Store
from tests.servers.faultproxy import Fault
from tests.storage.streams import LARGE, BrokenStreamError, broken_stream, content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.faultproxy import FaultProxy
    from tests.servers.fixtures import Bucket

pytestmark = pytest.mark.s3

DATA = content(2 * LARGE + 1000)
BEGIN = r"\?uploads"
PART = "partNumber=2"
COMPLETE = r"\?uploadId=[^&]*$"
GONE = b"<Error><Code>NoSuchUpload</Code></Error>"
REFUSED_AFTER_ALL = b"<Error><Code>InternalError</Code><Message>late</Message></Error>"

# The process ends while the second and third part are on their way.
KILLED_STREAM = """
import os, signal, sys
from sdflow.storage.location import S3Options
from sdflow.storage.s3 import S3Store
def chunks():
    yield bytes(3 * 5 * 2**20)
    os.kill(os.getpid(), signal.SIGKILL)
store = S3Store(sys.argv[1], "pre fix", S3Options(endpoint_url=sys.argv[2]), part_bytes=5 * 2**20)
store.put_stream("a/b", chunks())
"""


@dataclass
class Line:
    """A store at "pre fix/" of a bucket, the proxy before it, and the way around both."""

    store: S3Store
    proxy: FaultProxy
    bucket: Bucket

    def raw_get(self, key: str) -> bytes:
        answer = self.bucket.client.get_object(Bucket=self.bucket.name, Key=f"pre fix/{key}")
        return answer["Body"].read()

    def begin(self, name: str) -> None:
        """Begin an upload that nobody goes on with."""
        client, bucket = self.bucket.client, self.bucket.name
        upload = client.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"]
        client.upload_part(
            Bucket=bucket, Key=name, UploadId=upload, PartNumber=1, Body=bytes(LARGE)
        )

    def uploads(self) -> list[str]:
        """The names of all unfinished uploads in the bucket."""
        paginator = self.bucket.client.get_paginator("list_multipart_uploads")
        pages = paginator.paginate(Bucket=self.bucket.name)
        return [entry["Key"] for page in pages for entry in page.get("Uploads", ())]

    def keys(self) -> list[str]:
        return [info.key for info in self.store.list()]

    def count(self, method: str, path: str) -> int:
        return sum(
            request.method == method and path in request.path for request in self.proxy.requests
        )


@pytest.fixture
def line(s3_bucket: Bucket, fault_proxy: FaultProxy) -> Line:
    options = replace(s3_bucket.options, endpoint_url=fault_proxy.url, max_attempts=2)
    backoff = Backoff(sleep=lambda _: None)
    store = S3Store(s3_bucket.name, "pre fix", options, backoff=backoff, part_bytes=LARGE)
    return Line(store, fault_proxy, s3_bucket)


@pytest.mark.parametrize("path", [BEGIN, PART, COMPLETE])
@pytest.mark.parametrize(
    "fault",
    [
        Fault("answer", status=503),
        Fault("answer", status=500),
        Fault("drop_response"),
        Fault("reset"),
        Fault("reset_after", after_bytes=10),
        Fault("truncate", after_bytes=10),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status}",
)
def test_a_request_that_fails_once_does_not_fail_the_stream(
    line: Line, path: str, fault: Fault
) -> None:
    line.proxy.inject(replace(fault, path=path))
    etag = line.store.put_stream("k", [DATA])
    assert line.raw_get("k") == DATA
    assert line.store.head("k").etag == etag
    assert set(line.uploads()) <= ({"pre fix/k"} if path == BEGIN else set())


def test_a_part_that_is_damaged_on_its_way_is_refused_and_sent_again(line: Line) -> None:
    line.proxy.inject(Fault("corrupt_request", path=PART, after_bytes=77))
    line.store.put_stream("k", [DATA])
    assert line.raw_get("k") == DATA
    assert (line.count("PUT", PART), line.count("PUT", "partNumber")) == (2, 4)


def test_a_stream_whose_completion_was_answered_to_nobody_knows_its_own_object(line: Line) -> None:
    lost = Fault("drop_response", path=COMPLETE)
    gone = Fault("answer", path=COMPLETE, method="POST", times=None, status=404, body=GONE)
    line.proxy.inject(lost, gone)
    etag = line.store.put_stream("k", [DATA])
    assert (line.raw_get("k"), line.store.head("k").etag) == (DATA, etag)
    line.proxy.inject(gone)
    with pytest.raises(TransientStorageError, match="ended by someone else"):
        line.store.put_stream("k", [DATA])


def test_no_part_is_under_way_any_more_once_a_stream_has_failed(line: Line) -> None:
    line.proxy.inject(Fault("latency", method="PUT", times=None, delay_s=0.3))
    with pytest.raises(BrokenStreamError):
        line.store.put_stream("k", broken_stream(2 * LARGE))
    assert [thread for thread in threading.enumerate() if thread.name.startswith("upload")] == []
    assert (line.keys(), line.uploads()) == ([], [])


def test_an_error_within_a_success_is_an_error(line: Line) -> None:
    fault = Fault("answer", path=COMPLETE, status=200, body=REFUSED_AFTER_ALL)
    line.proxy.inject(fault)
    line.store.put_stream("k", [DATA])
    assert line.raw_get("k") == DATA
    line.proxy.inject(replace(fault, times=None, method="POST"))
    with pytest.raises(TransientStorageError, match="InternalError"):
        line.store.put_stream("new", [DATA])
    assert (line.keys(), line.uploads()) == (["k"], [])


@pytest.mark.parametrize("path", [BEGIN, PART, COMPLETE])
def test_a_request_that_is_always_refused_leaves_nothing(line: Line, path: str) -> None:
    line.store.put("k", b"old")
    for status in (403, 503):
        line.proxy.inject(
            Fault("answer", path=path, times=None, status=status, method="PUT"),
            Fault("answer", path=path, times=None, status=status, method="POST"),
        )
        for key in ("k", "new"):
            with pytest.raises(StorageError) as caught:
                line.store.put_stream(key, [DATA])
            assert (caught.value.item, caught.value.transient) == (key, status == 503)
    assert (line.keys(), line.raw_get("k"), line.uploads()) == (["k"], b"old", [])


def test_an_error_that_ends_a_stream_is_told_even_if_its_upload_stays(line: Line) -> None:
    line.proxy.inject(Fault("answer", method="DELETE", times=None))
    with pytest.raises(BrokenStreamError):
        line.store.put_stream("k", broken_stream(2 * LARGE))
    assert line.uploads() == ["pre fix/k"]
    line.proxy.inject()
    assert line.store.discard_uploads(older_than_s=-60) == 1
    assert (line.keys(), line.uploads()) == ([], [])


def test_what_a_killed_process_leaves_is_discarded_once_it_is_old(line: Line) -> None:
    command = [sys.executable, "-c", KILLED_STREAM, line.bucket.name]
    killed = subprocess.run([*command, line.bucket.options.endpoint_url or ""], check=False)  # noqa: S603 - ours
    assert killed.returncode < 0
    assert (line.keys(), line.uploads()) == ([], ["pre fix/a/b"])
    assert line.store.discard_uploads(older_than_s=3600) == 0
    assert line.store.discard_uploads(older_than_s=-60) == 1
    assert line.uploads() == []


def test_uploads_outside_the_prefix_are_not_discarded(line: Line) -> None:
    others = ["a", "pre fi", "pre fix", "pre fix2/a"]
    for name in [*others, "pre fix/a", "pre fix/b/c"]:
        line.begin(name)
    assert line.store.discard_uploads(older_than_s=-60) == 2
    assert line.uploads() == others


def test_many_uploads_are_discarded(line: Line) -> None:
    client, bucket = line.bucket.client, line.bucket.name

    def begin(number: int) -> None:
        client.create_multipart_upload(Bucket=bucket, Key=f"pre fix/{number % 3}")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(begin, range(1100)))
    assert line.store.discard_uploads(older_than_s=-60) == 1100
    assert line.uploads() == []


def test_an_upload_that_someone_ends_meanwhile_is_transient(line: Line) -> None:
    def chunks() -> Iterator[bytes]:
        yield DATA
        line.store.discard_uploads(older_than_s=-60)
        yield DATA

    with pytest.raises(TransientStorageError, match=r"the upload of 's3://.*/pre fix/k' was ended"):
        line.store.put_stream("k", chunks())
    assert (line.keys(), line.uploads()) == ([], [])


def test_a_short_stream_is_one_request(line: Line) -> None:
    for size_bytes in (0, 1, LARGE - 1):
        line.store.put_stream("k", [DATA[:size_bytes]])
        assert line.raw_get("k") == DATA[:size_bytes]
    assert [request.method for request in line.proxy.requests] == ["PUT"] * 3


def test_every_part_carries_its_md5_and_no_checksum_that_services_refuse(line: Line) -> None:
    line.store.put_stream("k", [DATA])
    for request in line.proxy.requests:
        names = {name.lower() for name in request.headers}
        assert ("content-md5" in names) == (request.method == "PUT")
        assert [name for name in names if "checksum" in name or "trailer" in name] == []


def test_an_object_in_parts_tells_what_it_is(line: Line) -> None:
    line.store.put_stream("k.tif", [DATA])
    answer = line.bucket.client.head_object(Bucket=line.bucket.name, Key="pre fix/k.tif")
    assert answer["ContentType"] == "image/tiff"


def test_few_parts_are_under_way_at_once(line: Line) -> None:
    """Several, for speed; a few, for memory."""
    client, bucket, name = line.bucket.client, line.bucket.name, "pre fix/k"
    ahead = []

    def chunks() -> Iterator[bytes]:
        yield bytes(2 * LARGE)
        upload = client.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["UploadId"]
        for number in range(3, 12):
            stored = client.list_parts(Bucket=bucket, Key=name, UploadId=upload).get("Parts", ())
            ahead.append(number - 1 - len(stored))
            yield bytes(LARGE)

    line.proxy.inject(Fault("latency", method="PUT", times=None, delay_s=0.2))
    line.store.put_stream("k", chunks())
    assert 1 < max(ahead) <= 5
    assert len({request.client_port for request in line.proxy.requests}) <= 5
