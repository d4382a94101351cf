"""What the bytes of an object are called and compared with."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from typing import TYPE_CHECKING

from sdflow.storage.s3.listing import unquoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef


def content_type(key: str) -> str:
    """What kind of content the name of an object announces."""
    if key.endswith(".jsonl"):
        return "application/x-ndjson"
    guess, encoding = mimetypes.guess_type(key, strict=False)
    known = guess is not None and guess.startswith(("image/", "application/json", "text/html"))
    return guess if guess and known and encoding is None else "application/octet-stream"


def etag_is_md5(answer: GetObjectOutputTypeDef, bucket: str) -> bool:
    """Whether the ETag of this answer is the MD5 of its body, by S3's documentation."""
    whole = "ContentRange" not in answer
    encrypted = answer.get("ServerSideEncryption", "").startswith("aws:kms")
    opaque = encrypted or "SSECustomerAlgorithm" in answer or bucket.endswith("--x-s3")
    plain = re.fullmatch(r"[0-9a-f]{32}", unquoted(answer.get("ETag", "")))
    return whole and not opaque and plain is not None


def etag_of_parts(parts: Sequence[CompletedPartTypeDef]) -> str:
    """The ETag of an object made of ``parts``, by S3's custom; "" if theirs are no MD5."""
    try:
        digests = [bytes.fromhex(unquoted(part.get("ETag", ""))) for part in parts]
    except ValueError:
        return ""
    return f"{md5(b''.join(digests)).hex()}-{len(parts)}"


def md5(data: bytes) -> bytes:
    """The MD5 of some bytes, as S3 uses it against damage."""
    return hashlib.md5(data, usedforsecurity=False).digest()
