"""Where a job's sources and results are, from its settings."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.errors import UsageError
from sdflow.storage.location import S3Options, StoreLocation, open_store, overlaps

if TYPE_CHECKING:
    from sdflow.config import JobSettings, StorageSettings, TargetSettings
    from sdflow.storage.store import Store

_PATIENCE_S = 600.0


def s3_options(settings: StorageSettings) -> S3Options:
    """How a command reaches S3, settled here because workers may have another environment."""
    return S3Options(
        endpoint_url=settings.endpoint_url or _from_environment("AWS_ENDPOINT_URL"),
        profile=settings.profile,
        region=settings.region or os.environ.get("AWS_REGION"),
        no_sign_request=settings.no_sign_request,
    )


def target_place(settings: TargetSettings) -> StoreLocation:
    """Where a job's results are.

    Raises:
        UsageError: If that is no address.
    """
    return StoreLocation(settings.dst, s3_options(settings))


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


def patient_store(location: StoreLocation) -> Store:
    """A store for a driver, which sits out some minutes of a service that is overloaded or away."""
    return open_store(replace(location, s3=replace(location.s3, patience_s=_PATIENCE_S)))


def _from_environment(name: str) -> str | None:
    """An endpoint as the AWS SDK finds it."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return os.environ.get(f"{name}_S3") or os.environ.get(name)
