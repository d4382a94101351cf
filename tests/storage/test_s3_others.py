"""What other services than radosgw do: archived objects, and a check of Content-MD5."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from sdflow.storage.location import S3Options
from sdflow.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

pytestmark = pytest.mark.usefixtures("bare_aws")

# Storage class, state of its restoration, and whether somebody must (still) restore it.
OBJECTS = {
    "cold": ("DEEP_ARCHIVE", "", True),
    "coming": ("GLACIER", "ongoing", True),
    "frozen": ("GLACIER", "", True),
    "instant": ("GLACIER_IR", "", False),
    "plain": ("STANDARD", "", False),
    "restored": ("GLACIER", "done", False),
    "tiered": ("INTELLIGENT_TIERING", "", False),
}
LISTED = {
    "": "",
    "done": "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
    "<RestoreExpiryDate>2030-01-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>",
    "ongoing": "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>",
}
HEADERS = {
    "done": 'ongoing-request="false", expiry-date="Tue, 01 Jan 2030 00:00:00 GMT"',
    "ongoing": 'ongoing-request="true"',
}


class Service(ThreadingHTTPServer):
    """Answers every request about OBJECTS; also what a proxy is asked for others.

    Attributes:
        seen: The headers of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[Message] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        entries = "".join(
            f"<Contents><Key>{key}</Key><Size>1</Size><ETag>v</ETag>"
            f"<StorageClass>{storage_class}</StorageClass>{LISTED[restore]}</Contents>"
            for key, (storage_class, restore, _) in OBJECTS.items()
        )
        self._answer(f"<ListBucketResult>{entries}</ListBucketResult>".encode())

    def do_HEAD(self) -> None:
        storage_class, restore, _ = OBJECTS[urlsplit(self.path).path.rpartition("/")[2]]
        headers = {"ETag": "v", "x-amz-storage-class": storage_class}
        if restore:
            headers["x-amz-restore"] = HEADERS[restore]
        self._answer(b"x", headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        digest = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        self._answer(
            b"<DeleteResult/>", status=200 if self.headers["Content-MD5"] == digest else 403
        )

    def log_message(self, *_: object) -> None:
        pass

    def _answer(
        self, body: bytes, headers: dict[str, str] | None = None, *, status: int = 200
    ) -> None:
        self.server.seen.append(self.headers)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["another", "aws"])
def store(
    service: Service, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> S3Store:
    """A store at the service, or at AWS's address with the service as its proxy."""
    if request.param == "another":
        return S3Store("b", "", S3Options(endpoint_url=service.url, no_sign_request=True))
    monkeypatch.setenv("HTTP_PROXY", service.url)
    endpoint = "http://s3.us-east-1.amazonaws.com"
    return S3Store("b", "", S3Options(endpoint_url=endpoint, no_sign_request=True))


def test_objects_that_must_be_restored_first_are_told(store: S3Store) -> None:
    expected = {key: archived for key, (_, _, archived) in OBJECTS.items()}
    assert {info.key: info.archived for info in store.list()} == expected
    assert {key: store.head(key).archived for key in OBJECTS} == expected
    assert [store.head(info.key) for info in store.list()] == list(store.list())


def test_amazon_alone_is_asked_what_was_restored(service: Service, store: S3Store) -> None:
    list(store.list())
    list(store.list_folder())
    asked = [headers["x-amz-optional-object-attributes"] for headers in service.seen]
    assert asked == (
        ["RestoreStatus"] * 2 if "amazonaws" in service.seen[0]["Host"] else [None] * 2
    )


def test_a_batch_carries_the_md5_of_what_is_sent(store: S3Store) -> None:
    store.delete_many(["a", "b\r\nc", "<é>"])
