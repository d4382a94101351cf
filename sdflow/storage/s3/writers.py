"""Objects that name the call that wrote them.

The answer to a write may be lost. The write is then repeated, and refused because of itself; so
the call leaves a name with the object, and looks whether the object there is its own.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sdflow.errors import AccessDeniedError, NotFoundError
from sdflow.storage.s3.errors import translating
from sdflow.storage.s3.listing import unquoted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from sdflow.storage.s3.errors import S3Place

_WRITER = "sdflow-writer"


def new_writer() -> str:
    """A name that no other call has."""
    return secrets.token_hex(16)


def metadata_of(writer: str) -> dict[str, str]:
    """The metadata of an object that ``writer`` writes."""
    return {_WRITER: writer}


def etag_of_writer(client: S3Client, place: S3Place, key: str, writer: str) -> str | None:
    """The ETag of the object at ``key`` if ``writer`` wrote it; None if not, or if none is there.

    Args:
        client: Sends the request.
        place: Where the object is.
        key: Relative to the place.
        writer: What :func:`new_writer` gave to the call.
    """
    try:
        with translating(place, key):
            answer = client.head_object(Bucket=place.bucket, Key=place.prefix + key)
    except (NotFoundError, AccessDeniedError):
        return None
    is_own = answer["Metadata"].get(_WRITER) == writer
    return unquoted(answer.get("ETag", "")) if is_own else None
