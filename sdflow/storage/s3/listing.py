"""What S3 says about objects: the pages of a listing, and the answer about one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.storage.s3.client import is_aws
from sdflow.storage.s3.errors import translating
from sdflow.storage.store import ObjectInfo, key_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        HeadObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        ListObjectsV2RequestTypeDef,
    )

    from sdflow.storage.s3.errors import S3Place

    Retry = Callable[[Callable[[], ListObjectsV2OutputTypeDef]], ListObjectsV2OutputTypeDef]

_ARCHIVES = ("DEEP_ARCHIVE", "GLACIER")


def pages(
    client: S3Client, place: S3Place, prefix: str, *, retry: Retry, delimiter: str = ""
) -> Iterator[ListObjectsV2OutputTypeDef]:
    """Yield the pages of a listing, one request each.

    Args:
        client: Sends the requests.
        retry: Asks for a page, again if need be.
        place: Where to; its prefix comes before ``prefix``.
        prefix: What the keys begin with.
        delimiter: "/" to list one folder, "" to list all below it.
    """
    request: ListObjectsV2RequestTypeDef = {
        "Bucket": place.bucket,
        "Prefix": place.prefix + prefix,
    }
    if delimiter:
        request["Delimiter"] = delimiter
    if is_aws(place.endpoint) and not place.bucket.endswith("--x-s3"):  # others may refuse it
        request["OptionalObjectAttributes"] = ["RestoreStatus"]

    def ask() -> ListObjectsV2OutputTypeDef:
        with translating(place):
            return client.list_objects_v2(**request)

    while True:
        page = retry(ask)
        yield page
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def objects_in(page: ListObjectsV2OutputTypeDef, place: S3Place) -> Iterator[ObjectInfo]:
    """Yield the objects on a page, their keys relative to the place; never the place itself."""
    for entry in page.get("Contents", ()):
        restored = "RestoreExpiryDate" in entry.get("RestoreStatus", ())
        archived = entry.get("StorageClass") in _ARCHIVES and not restored
        if key := entry["Key"][len(place.prefix) :]:
            modified = entry.get("LastModified")
            modified_s = modified.timestamp() if modified else 0.0
            yield ObjectInfo(key, entry["Size"], unquoted(entry["ETag"]), archived, modified_s)


def entries_in(page: ListObjectsV2OutputTypeDef, place: S3Place) -> Iterator[ObjectInfo | str]:
    """Yield the objects and sub-folders on a page of one folder, merged."""
    entries: dict[str, ObjectInfo | str] = {info.key: info for info in objects_in(page, place)}
    for folder in page.get("CommonPrefixes", ()):
        name = folder["Prefix"][len(place.prefix) :]
        entries[name] = name
    for key in sorted(entries, key=key_order):
        yield entries[key]


def described(key: str, answer: HeadObjectOutputTypeDef) -> ObjectInfo:
    """What a HEAD says about an object."""
    restored = 'ongoing-request="false"' in answer.get("Restore", "")
    archived = answer.get("StorageClass") in _ARCHIVES and not restored
    return ObjectInfo(key, answer["ContentLength"], unquoted(answer.get("ETag", "")), archived)


def unquoted(etag: str) -> str:
    """An ETag without the quotes that HTTP puts around it."""
    return etag.strip('"')
