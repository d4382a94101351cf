"""What a person is told when S3 cannot be used: the thing, the next step, never a credential."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    SSLError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from sdflow.errors import (
    AccessDeniedError,
    NotFoundError,
    PreconditionError,
    SdflowError,
    StorageError,
    TransientStorageError,
    UnsupportedError,
    UsageError,
)
from sdflow.storage.listing import list_in_parallel
from sdflow.storage.location import S3Options
from sdflow.storage.s3 import S3Store
from sdflow.storage.s3.errors import RetryHereError, S3Place, translating
from tests.servers.faultproxy import Fault
from tests.servers.fixtures import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.faultproxy import FaultProxy
    from tests.servers.fixtures import Bucket, RadosGateway

PLACE = S3Place("b", "pre/", "http://user:hunter2@host:1")


def calls(store: S3Store) -> Iterator[Callable[[], object]]:
    """Every way to send something to a store."""
    yield store.check
    yield lambda: list(store.list())
    yield lambda: list(store.list_folder())
    yield lambda: list(list_in_parallel(store, threads=2))
    yield lambda: store.head("k")
    yield lambda: store.get("k")
    yield lambda: store.put("k", b"")
    yield lambda: store.put_if_absent("k", b"")
    yield lambda: store.delete("k")
    yield lambda: store.delete_many(["k"])


def translated(error: Exception, *, key: str = "k", place: S3Place = PLACE) -> SdflowError:
    with pytest.raises(SdflowError) as caught, translating(place, key):
        raise error
    assert "hunter2" not in str(caught.value)
    return caught.value


def refused(code: str, status: int, message: str = "m", *, key: str = "k") -> SdflowError:
    answer = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return translated(ClientError(answer, "GetObject"), key=key)  # type: ignore[arg-type] # a part


@pytest.mark.s3
class TestAgainstARealServer:
    def test_a_missing_bucket(self, s3_bucket: Bucket) -> None:
        store = S3Store("no-such-bucket", "pre", s3_bucket.options)
        expected = (
            f"bucket 'no-such-bucket' does not exist at {s3_bucket.options.endpoint_url}: "
            "check the name or --endpoint-url"
        )
        for call in calls(store):
            with pytest.raises(NotFoundError) as caught:
                call()
            # A HEAD has no body that could say which of the two is missing.
            assert str(caught.value) in (expected, "'s3://no-such-bucket/pre/k' does not exist")
        with pytest.raises(NotFoundError) as caught:
            store.check()
        assert str(caught.value) == expected

    @pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
    def test_wrong_credentials(
        self, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, wrong: str
    ) -> None:
        monkeypatch.setenv(wrong, "hunter2")
        store = S3Store(s3_bucket.name, "", s3_bucket.options)
        for call in calls(store):
            with pytest.raises(AccessDeniedError, match="AWS_ACCESS_KEY_ID") as caught:
                call()
            assert "hunter2" not in str(caught.value)
        with pytest.raises(AccessDeniedError, match="the credentials were refused by http://"):
            store.check()

    def test_no_credentials_at_all(
        self, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        for call in calls(S3Store(s3_bucket.name, "", s3_bucket.options)):
            with pytest.raises(AccessDeniedError, match="no credentials were found: check AWS_"):
                call()

    def test_half_of_the_credentials(
        self, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(AccessDeniedError, match="missing: AWS_SECRET_ACCESS_KEY"):
            S3Store(s3_bucket.name, "", s3_bucket.options).check()

    def test_a_public_bucket_needs_no_credentials(
        self, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client, name = s3_bucket.client, s3_bucket.name
        client.put_object(Bucket=name, Key="k", Body=b"private")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        store = S3Store(name, "", replace(s3_bucket.options, no_sign_request=True))
        for call in calls(store):
            with pytest.raises(AccessDeniedError, match="give credentials, not --no-sign-request"):
                call()
        client.put_bucket_acl(Bucket=name, ACL="public-read")
        client.put_object(Bucket=name, Key="k", Body=b"public", ACL="public-read")
        assert [info.key for info in store.list()] == ["k"]
        assert store.get("k") == b"public"
        with pytest.raises(AccessDeniedError, match="is not public"):
            store.put("k", b"mine now")

    def test_a_bucket_name_that_cannot_be(self, s3_bucket: Bucket) -> None:
        with pytest.raises(UsageError, match="Invalid bucket name") as caught:
            S3Store("no bucket", "", s3_bucket.options).check()
        assert caught.value.item == "s3://no bucket/"

    def test_something_else_than_s3(self, fault_proxy: FaultProxy, s3_bucket: Bucket) -> None:
        options = replace(s3_bucket.options, endpoint_url=fault_proxy.url, max_attempts=1)
        store = S3Store(s3_bucket.name, "", options)
        for page in (b"<html><p>Welcome</p></html>", b"<!doctype html><html>Welcome", b"Welcome"):
            fault_proxy.inject(Fault("answer", times=None, status=200, body=page))
            with pytest.raises(StorageError, match="is not S3"):
                store.check()

    def test_a_password_in_the_endpoint_is_not_shown(
        self, rgw: RadosGateway, s3_bucket: Bucket
    ) -> None:
        endpoint = rgw.endpoint.replace("//", "//user:hunter2@")
        store = S3Store("no-such-bucket", "", replace(s3_bucket.options, endpoint_url=endpoint))
        with pytest.raises(NotFoundError, match=rgw.endpoint) as caught:
            store.check()
        assert "hunter2" not in str(caught.value)


@pytest.mark.usefixtures("bare_aws")
def test_nobody_listens() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    options = S3Options(endpoint_url=endpoint, no_sign_request=True, max_attempts=1)
    for call in calls(S3Store("bucket", "", options)):
        with pytest.raises(TransientStorageError, match=f"{endpoint}.*check --endpoint-url"):
            call()


@pytest.mark.parametrize(
    ("code", "status", "kind", "words"),
    [
        ("NoSuchKey", 404, NotFoundError, "'s3://b/pre/k' does not exist"),
        ("404", 404, NotFoundError, "'s3://b/pre/k' does not exist"),
        ("NoSuchBucket", 404, NotFoundError, "bucket 'b' does not exist at http://host:1"),
        ("AccessDenied", 403, AccessDeniedError, "access to 's3://b/pre/k' was denied"),
        ("403", 403, AccessDeniedError, "access to 's3://b/pre/k' was denied"),
        ("ExpiredToken", 400, AccessDeniedError, "the credentials were refused"),
        ("RequestTimeTooSkewed", 403, AccessDeniedError, "set its clock"),
        ("QuotaExceeded", 403, StorageError, "QuotaExceeded m"),
        ("InvalidObjectState", 403, StorageError, "InvalidObjectState m"),
        ("PreconditionFailed", 412, PreconditionError, "has changed"),
        ("ConditionalRequestConflict", 409, RetryHereError, "by someone else"),
        ("BadDigest", 400, RetryHereError, "was damaged on its way"),
        ("NotImplemented", 501, UnsupportedError, "no conditional put"),
        ("SlowDown", 503, TransientStorageError, "overloaded"),
        ("InternalError", 500, TransientStorageError, "overloaded or broken"),
        ("504", 504, TransientStorageError, "overloaded or broken"),
        ("TooManyRequests", 429, TransientStorageError, "overloaded"),
        ("RequestTimeout", 400, TransientStorageError, "overloaded"),
        ("PermanentRedirect", 301, StorageError, "check --region"),
        ("AuthorizationHeaderMalformed", 400, StorageError, "check --region"),
        ("EntityTooLarge", 400, StorageError, "refused the request"),
    ],
)
def test_answers_of_a_service(code: str, status: int, kind: type[SdflowError], words: str) -> None:
    error = refused(code, status)
    assert type(error) is kind
    assert words in str(error)
    assert error.item == "k"
    assert error.transient == issubclass(kind, TransientStorageError)


def test_a_404_that_is_about_no_object_is_about_the_bucket() -> None:
    error = refused("404", 404, key="")
    assert "bucket 'b' does not exist" in str(error)
    assert error.item == "s3://b/pre/"


def test_a_service_does_not_give_the_password_away_either() -> None:
    assert "at //host:1" in str(refused("Odd", 400, "look at //user:hunter2@host:1"))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (EndpointConnectionError(endpoint_url="http://u:hunter2@h"), TransientStorageError, "host"),
        (SSLError(endpoint_url="https://h", error=OSError("bad")), StorageError, "AWS_CA_BUNDLE"),
        (UnauthorizedSSOTokenError(), AccessDeniedError, "could not be loaded .*SSO"),
        (
            CredentialRetrievalError(provider="custom-process", error_msg="hunter2"),
            AccessDeniedError,
            "could not be loaded .CredentialRetrievalError",
        ),
        (ResponseParserError("<html>"), StorageError, "at http://host:1 is not S3"),
        (BotoCoreError(), StorageError, "An unspecified error"),
    ],
)
def test_failures_without_an_answer(error: Exception, kind: type[SdflowError], words: str) -> None:
    found = translated(error)
    assert type(found) is kind
    assert re.search(words, str(found))
    assert found.item in ("k", "s3://b/pre/")


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(refused("BadDigest", 400)))  # noqa: S301 - made here
    assert (type(error), error.item, error.transient) == (RetryHereError, "k", True)
