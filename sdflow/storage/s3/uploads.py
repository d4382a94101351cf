"""Objects that are written in parts, several of them at once."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sdflow.errors import SdflowError, TransientStorageError
from sdflow.storage.s3.content import content_type, etag_of_parts, md5
from sdflow.storage.s3.errors import UploadGoneError, translating
from sdflow.storage.s3.listing import unquoted
from sdflow.storage.s3.writers import etag_of_writer, metadata_of, new_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        ListMultipartUploadsOutputTypeDef,
        ListMultipartUploadsRequestTypeDef,
    )

    from sdflow.storage.backoff import Result
    from sdflow.storage.s3.errors import S3Place

_MAX_IN_FLIGHT = 4
_MAX_BYTES_IN_FLIGHT = 64 * 2**20


class Retry(Protocol):
    """Calls something, again if need be."""

    def __call__(self, attempt: Callable[[], Result], /) -> Result:
        """What ``attempt`` returns in the end."""


class _Upload(NamedTuple):
    """One upload that is under way."""

    key: str
    id: str


@dataclass(frozen=True, slots=True)
class Uploads:
    """Writes objects part by part. S3 shows nothing of an object before it is complete.

    Attributes:
        client: Sends the requests.
        place: Where to.
        retry: Sends one request, again if need be.
    """

    client: S3Client
    place: S3Place
    retry: Retry

    def write(self, key: str, parts: Iterable[bytes]) -> str:
        """Replace or create an object and return its ETag; on any error nothing is left of it.

        Four parts at once are on their way, or as many as make 64 MiB, but always one. The service
        compares each with its MD5. An upload stays behind where its removal fails as well, or
        where the answer to its very beginning was lost: see :meth:`discard`.

        Args:
            key: Relative to the place, and checked.
            parts: Non-empty, at least one; all but the last as large as S3 demands.

        Raises:
            TransientStorageError: Someone else ended the upload; or its end was answered to nobody,
                and the object that it made was replaced.
        """
        writer = new_writer()
        upload = self._begin(key, writer)
        try:
            sent = self._send(upload, parts)
            answered = self._complete(upload, sent)
            # Others do not say, and someone else may have replaced the object since.
            return answered or self._etag(key, writer) or etag_of_parts(sent)
        except UploadGoneError as error:
            # A completed upload is gone as well: perhaps the answer to that was lost.
            etag = self._etag(key, writer)
            if etag is None:
                raise TransientStorageError(str(error), item=key) from error
            return etag
        except BaseException:
            with suppress(SdflowError):  # the error that led here is the one to tell
                self._abort(upload)
            raise

    def discard(self, *, older_than_s: float) -> int:
        """Remove the uploads to keys below the place that began so long ago; return how many."""
        latest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        count = 0
        for page in self._pages():
            for entry in page.get("Uploads", ()):
                if entry["Initiated"] <= latest:
                    key = entry["Key"][len(self.place.prefix) :]
                    count += self._abort(_Upload(key, entry["UploadId"]))
        return count

    def _begin(self, key: str, writer: str) -> _Upload:
        def attempt() -> _Upload:
            with translating(self.place, key):
                answer = self.client.create_multipart_upload(
                    Bucket=self.place.bucket,
                    Key=self.place.prefix + key,
                    ContentType=content_type(key),
                    Metadata=metadata_of(writer),
                )
            return _Upload(key, answer["UploadId"])

        return self.retry(attempt)

    def _send(self, upload: _Upload, parts: Iterable[bytes]) -> list[CompletedPartTypeDef]:
        """Send all parts; none is under way any more at the end, whichever end that is."""
        sent: list[CompletedPartTypeDef] = []
        pending: deque[tuple[Future[CompletedPartTypeDef], int]] = deque()
        in_flight_bytes = 0
        threads = ThreadPoolExecutor(_MAX_IN_FLIGHT, thread_name_prefix="upload")
        try:
            for number, part in enumerate(parts, start=1):
                while pending and (
                    len(pending) == _MAX_IN_FLIGHT
                    or in_flight_bytes + len(part) > _MAX_BYTES_IN_FLIGHT
                ):
                    oldest, size_bytes = pending.popleft()
                    sent.append(oldest.result())
                    in_flight_bytes -= size_bytes
                pending.append((threads.submit(self._send_part, upload, number, part), len(part)))
                in_flight_bytes += len(part)
            sent.extend(future.result() for future, _ in pending)
        finally:
            threads.shutdown(cancel_futures=True)
        return sent

    def _send_part(self, upload: _Upload, number: int, part: bytes) -> CompletedPartTypeDef:
        digest = b64encode(md5(part)).decode()

        def attempt() -> CompletedPartTypeDef:
            with translating(self.place, upload.key):
                answer = self.client.upload_part(
                    Bucket=self.place.bucket,
                    Key=self.place.prefix + upload.key,
                    UploadId=upload.id,
                    PartNumber=number,
                    Body=part,
                    ContentMD5=digest,
                )
            return {"PartNumber": number, "ETag": answer["ETag"]}

        return self.retry(attempt)

    def _complete(self, upload: _Upload, parts: list[CompletedPartTypeDef]) -> str:
        """Make the object of its parts; return its ETag, "" where the service does not tell it."""

        def attempt() -> str:
            with translating(self.place, upload.key):
                answer = self.client.complete_multipart_upload(
                    Bucket=self.place.bucket,
                    Key=self.place.prefix + upload.key,
                    UploadId=upload.id,
                    MultipartUpload={"Parts": parts},
                )
            return unquoted(answer.get("ETag", ""))

        return self.retry(attempt)

    def _abort(self, upload: _Upload) -> bool:
        """Remove what was sent; False if the upload is already gone."""

        def attempt() -> bool:
            try:
                with translating(self.place, upload.key):
                    self.client.abort_multipart_upload(
                        Bucket=self.place.bucket,
                        Key=self.place.prefix + upload.key,
                        UploadId=upload.id,
                    )
            except UploadGoneError:
                return False
            return True

        return self.retry(attempt)

    def _etag(self, key: str, writer: str) -> str | None:
        return self.retry(lambda: etag_of_writer(self.client, self.place, key, writer))

    def _pages(self) -> Iterator[ListMultipartUploadsOutputTypeDef]:
        request: ListMultipartUploadsRequestTypeDef = {
            "Bucket": self.place.bucket,
            "Prefix": self.place.prefix,
        }

        def ask() -> ListMultipartUploadsOutputTypeDef:
            with translating(self.place):
                return self.client.list_multipart_uploads(**request)

        while True:
            page = self.retry(ask)
            yield page
            if not page.get("IsTruncated"):
                return
            request["KeyMarker"] = page["NextKeyMarker"]
            request["UploadIdMarker"] = page["NextUploadIdMarker"]
