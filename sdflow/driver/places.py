"""Where a job's sources and results are, from its settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sdflow.errors import UsageError
from sdflow.storage.location import S3Options, StoreLocation, overlaps

if TYPE_CHECKING:
    from sdflow.config import JobSettings, StorageSettings


def s3_options(settings: StorageSettings) -> S3Options:
    """How a command reaches S3, settled here because workers may have another environment."""
    return S3Options(
        endpoint_url=settings.endpoint_url or _from_environment("AWS_ENDPOINT_URL"),
        profile=settings.profile,
        region=settings.region or os.environ.get("AWS_REGION"),
        no_sign_request=settings.no_sign_request,
    )


def job_places(settings: JobSettings) -> tuple[StoreLocation, StoreLocation]:
    """Source and target of a job.

    Raises:
        UsageError: If one lies in the other.
    """
    options = s3_options(settings)
    source, target = StoreLocation(settings.src, options), StoreLocation(settings.dst, options)
    if overlaps(source, target):
        raise UsageError(
            f"SRC {source.url} and DST {target.url} overlap: results would become sources; "
            "choose a DST outside of SRC",
            item="DST",
        )
    return source, target


def _from_environment(name: str) -> str | None:
    """An endpoint as the AWS SDK finds it."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return os.environ.get(f"{name}_S3") or os.environ.get(name)
