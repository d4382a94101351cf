"""The smallest rights in S3 that a job needs, as a policy for IAM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdflow.storage.location import StoreLocation

READ = ("s3:GetObject",)
WRITE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")


def least_policy(source: StoreLocation | None, target: StoreLocation | None) -> dict[str, Any]:
    """What a user or role must be allowed, and nothing else.

    Args:
        source: Read: listed and got. None, or a folder: nothing is needed for it.
        target: Written: listed, got, put and deleted, and begun uploads are ended.

    Returns:
        A policy document of IAM, version 2012-10-17; without statements where both are folders.
    """
    statements: list[dict[str, Any]] = []
    for name, place, actions in (("Source", source, READ), ("Target", target, WRITE)):
        if place is None or not place.is_s3:
            continue
        bucket = f"arn:aws:s3:::{place.bucket}"
        listing = {"Sid": f"List{name}", "Effect": "Allow", "Action": ["s3:ListBucket"]}
        # S3 says 'denied' of an object that is missing to whom may not list the whole bucket, and
        # a job must know which of its own objects there are.
        condition = _below(place.prefix) if place is source else {}
        statements.append({**listing, "Resource": [bucket], **condition})
        if place is target:
            # Begun uploads of killed processes, for verify --clean; and Ceph asks for the right to
            # delete of the bucket itself where several objects are deleted at once.
            several = ["s3:ListBucketMultipartUploads", "s3:DeleteObject"]
            statements.append({**listing, "Sid": "Clean", "Action": several, "Resource": [bucket]})
        statements.append(
            {
                "Sid": "Read" if actions is READ else "Write",
                "Effect": "Allow",
                "Action": list(actions),
                "Resource": [f"{bucket}/{place.prefix}*"],
            }
        )
    return {"Version": "2012-10-17", "Statement": statements}


def _below(prefix: str) -> dict[str, Any]:
    """Only listings of what is below a prefix; nothing to restrict in a whole bucket."""
    return {"Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}}} if prefix else {}
