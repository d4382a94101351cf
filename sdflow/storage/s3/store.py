"""Objects in an S3 bucket, of AWS or of any compatible service."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from sdflow.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    PreconditionError,
    TransientStorageError,
)
from sdflow.storage.backoff import Backoff, Result
from sdflow.storage.location import folder_prefix
from sdflow.storage.s3.client import connect
from sdflow.storage.s3.content import content_type, etag_is_md5, md5
from sdflow.storage.s3.errors import (
    RetryHereError,
    S3Place,
    code_of,
    not_s3,
    status_of,
    translating,
)
from sdflow.storage.s3.listing import described, entries_in, objects_in, pages, unquoted
from sdflow.storage.s3.parts import PART_BYTES, cut_parts
from sdflow.storage.s3.uploads import Uploads
from sdflow.storage.s3.writers import etag_of_writer, metadata_of, new_writer
from sdflow.storage.store import ObjectInfo, check_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mypy_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        GetObjectRequestTypeDef,
        ObjectIdentifierTypeDef,
        PutObjectRequestTypeDef,
    )

    from sdflow.storage.location import S3Options

_MAX_KEY_BYTES = 1024
_BATCH = 1000
# Malformed, not allowed, incomplete, not implemented: other requests may still be understood.
_NO_BATCH = (400, 405, 411, 501)
_BACKOFF = Backoff()


class S3Store:
    """Objects below a prefix of a bucket.

    The SDK retries requests that were refused or got no answer; this class retries what the SDK
    does not: bodies that break or arrive damaged, and writes that collide.

    Args:
        bucket: Name of the bucket.
        prefix: What every key begins with: "" or a folder, whose last slash may be left out.
        options: How to reach the service.
        backoff: Attempts and pauses of this class's own retries.
        part_bytes: Size of the first parts of a stream; what is shorter is put with one request.

    Raises:
        UsageError: The endpoint, region or profile is not usable.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        options: S3Options,
        *,
        backoff: Backoff = _BACKOFF,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._bucket = bucket
        self._prefix = folder_prefix(prefix)
        self._backoff = backoff
        self._retry_on: type[TransientStorageError] = RetryHereError
        if options.patience_s > 0:
            self._backoff = replace(backoff, patience_s=options.patience_s)
            self._retry_on = TransientStorageError
        anonymous = options.no_sign_request
        wanted = S3Place(bucket, self._prefix, options.endpoint_url or "its endpoint", anonymous)
        with translating(wanted):
            self._client = connect(options)
        self._place = S3Place(bucket, self._prefix, self._client.meta.endpoint_url, anonymous)
        self._part_bytes = part_bytes
        self._uploads = Uploads(self._client, self._place, self._retry)

    @property
    def url(self) -> str:
        """The bucket and prefix, as ``s3://bucket/prefix/``."""
        return self._place.url()

    def check(self) -> None:
        """Raise NotFoundError or AccessDeniedError unless the prefix can be listed."""
        with translating(self._place):
            page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        if not page.keys() & {"Contents", "IsTruncated", "Name"}:  # some web page
            raise not_s3(self._place)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with ``prefix``, page by page."""
        for page in pages(self._client, self._place, prefix, retry=self._retry):
            yield from objects_in(page, self._place)

    def list_folder(self, folder: str = "") -> Iterator[ObjectInfo | str]:
        """Yield the objects directly below ``folder``, and its sub-folders, page by page."""
        listed = pages(self._client, self._place, folder, retry=self._retry, delimiter="/")
        for page in listed:
            yield from entries_in(page, self._place)

    def head(self, key: str) -> ObjectInfo:
        """Describe one object."""
        name = self._name(key)

        def attempt() -> ObjectInfo:
            with translating(self._place, key):
                return described(key, self._client.head_object(Bucket=self._bucket, Key=name))

        return self._retry(attempt)

    def get(
        self, key: str, *, start: int = 0, stop: int | None = None, if_match: str | None = None
    ) -> bytes:
        """Read bytes ``[start, stop)`` of an object.

        A whole object is compared with its ETag where that is an MD5.
        """
        check_range(start, stop)
        request: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._name(key)}
        if if_match is not None:
            request["IfMatch"] = f'"{if_match}"'
        if stop is not None and stop <= start:
            return self._nothing(key, if_match)
        if start > 0 or stop is not None:
            request["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"

        def attempt() -> bytes:
            with translating(self._place, key):
                try:
                    answer = self._client.get_object(**request)
                except ClientError as error:
                    if status_of(error) == 416:  # the range begins at the end, or after it
                        return self._nothing(key, if_match)
                    raise
            data = self._body(key, answer)
            # Some services answer a range with everything.
            return data if "ContentRange" in answer else data[start:stop]

        return self._retry(attempt)

    def put(self, key: str, data: bytes) -> str:
        """Replace or create an object. The service compares what it got with its MD5."""
        return self._put(key, data)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> str:
        """Replace or create an object: small ones with one request, others in parts.

        The parts, and with them the ETag, depend on the content alone, not on the chunks.
        """
        self._name(key)
        parts = cut_parts(chunks, first_bytes=self._part_bytes)
        first = next(parts, b"")
        if len(first) < self._part_bytes:
            return self._put(key, first)
        return self._uploads.write(key, chain((first,), parts))

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Create an object, unless it is there.

        A write whose answer is lost is repeated by the SDK and then meets itself.
        """
        writer = new_writer()
        try:
            return self._put(key, data, only_writer=writer)
        except PreconditionError as error:
            etag = self._retry(partial(etag_of_writer, self._client, self._place, key, writer))
            if etag is None:
                message = f"'{self._place.url(key)}' already exists"
                raise AlreadyExistsError(message, item=key) from error
            return etag

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        name = self._name(key)

        def attempt() -> None:
            with translating(self._place, key):
                try:
                    self._client.delete_object(Bucket=self._bucket, Key=name)
                except ClientError as error:
                    if code_of(error) != "NoSuchKey":  # which AWS never says here, but others do
                        raise

        self._retry(attempt)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there, with few requests."""
        remaining = iter(keys)
        while batch := list(islice(remaining, _BATCH)):
            for key in self._retry(partial(self._not_deleted, batch)):
                self.delete(key)

    def discard_uploads(self, *, older_than_s: float) -> int:
        """Remove the unfinished uploads below the prefix, whichever program began them."""
        return self._uploads.discard(older_than_s=older_than_s)

    def _not_deleted(self, batch: Sequence[str]) -> Sequence[str]:
        """Remove objects with one request; return the keys that want a request of their own.

        Some services have no such request, XML cannot carry every key, and a key that was refused
        is told best by itself.
        """
        keys = {self._name(key): key for key in batch}
        objects: Sequence[ObjectIdentifierTypeDef] = [{"Key": name} for name in keys]
        with translating(self._place):
            try:
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
            except ClientError as error:
                if status_of(error) in _NO_BATCH:
                    return batch
                raise
        refused = {error.get("Key", "") for error in answer.get("Errors", ())}
        return [keys[name] for name in refused] if refused <= keys.keys() else batch

    def _name(self, key: str) -> str:
        """The key in the bucket; only what S3 itself refuses is refused."""
        name = self._prefix + key
        try:
            size_bytes = len(name.encode())
        except UnicodeEncodeError as error:
            raise InvalidKeyError(f"{key!r} is not UTF-8, as S3 demands", item=key) from error
        if not key or size_bytes > _MAX_KEY_BYTES:
            message = f"{key!r}: S3 keys have 1 to {_MAX_KEY_BYTES} bytes, the prefix included"
            raise InvalidKeyError(message, item=key)
        return name

    def _nothing(self, key: str, if_match: str | None) -> bytes:
        """No bytes of an object that must exist all the same."""
        if if_match not in (None, self.head(key).etag):
            message = f"'{self._place.url(key)}' has changed since it was listed"
            raise PreconditionError(message, item=key)
        return b""

    def _body(self, key: str, answer: GetObjectOutputTypeDef) -> bytes:
        """All of an answer, which the client compares with the announced length."""
        try:
            data = answer["Body"].read()
        except (BotoCoreError, HTTPError, OSError) as error:
            message = f"'{self._place.url(key)}' broke off ({type(error).__name__})"
            raise RetryHereError(message, item=key) from error
        finally:
            answer["Body"].close()
        if etag_is_md5(answer, self._bucket) and md5(data).hex() != unquoted(
            answer.get("ETag", "")
        ):
            message = f"'{self._place.url(key)}' arrived damaged: its MD5 is not its ETag"
            raise RetryHereError(message, item=key)
        return data

    def _put(self, key: str, data: bytes, *, only_writer: str | None = None) -> str:
        """Write an object, unless one exists where it shall have an ``only_writer``."""
        request: PutObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "Body": data,
            "ContentMD5": b64encode(md5(data)).decode(),
            "ContentType": content_type(key),
        }
        if only_writer is not None:
            request["IfNoneMatch"] = "*"
            request["Metadata"] = metadata_of(only_writer)

        def attempt() -> str:
            with translating(self._place, key):
                return unquoted(self._client.put_object(**request).get("ETag", ""))

        return self._retry(attempt)

    def _retry(self, attempt: Callable[[], Result]) -> Result:
        return self._backoff.call(attempt, retry_on=self._retry_on)
