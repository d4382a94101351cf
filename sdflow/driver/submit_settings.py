"""What ``sdflow submit`` can be told, and where it finds the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from sdflow.config import ENV_PREFIX, StorageSettings
from sdflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_SCHEMES = ("http://", "https://")
_WANTED = "expected the HTTP address of the head's dashboard, such as http://head:8265"


class SubmitSettings(StorageSettings):
    """Where a job goes, and what comes with it."""

    address: str | None = Field(
        None,
        description="the head's dashboard, http://HOST:8265 (default: RAY_API_SERVER_ADDRESS, "
        f"RAY_ADDRESS where that is http, {DEFAULT_ADDRESS})",
    )
    working_dir: str | None = Field(
        None,
        description="folder that is sent along and becomes the job's own, or a .zip's address; "
        "for nodes without sdflow: a checkout of it",
    )
    no_wait: bool = Field(False, description="print the submission's id and end")

    @field_validator("working_dir")
    @classmethod
    def _without_credentials(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and ("@" in value or "?" in value):
            raise ValueError("Ray shows this address to everybody: it may carry no credential")
        return value


def api_server(flag: str | None, environ: Mapping[str, str]) -> str:
    """The address of the cluster's job server, in the order of Ray's own job command.

    Args:
        flag: ``--address``, where it was given.
        environ: Variables. ``SDFLOW_ADDRESS`` and ``RAY_ADDRESS`` count where they are HTTP
            addresses: others say how jobs reach a cluster, not how it is handed one.

    Raises:
        UsageError: If ``flag`` or ``RAY_API_SERVER_ADDRESS`` is no HTTP address.
    """
    of_jobs = environ.get(f"{ENV_PREFIX}ADDRESS", "")
    if flag is None and of_jobs.startswith(_SCHEMES):
        flag = of_jobs
    if flag is not None:
        return _checked("--address", flag)
    if given := environ.get("RAY_API_SERVER_ADDRESS"):
        return _checked("RAY_API_SERVER_ADDRESS", given)
    given = environ.get("RAY_ADDRESS", "")
    return _checked("RAY_ADDRESS", given) if given.startswith(_SCHEMES) else DEFAULT_ADDRESS


def _checked(name: str, address: str) -> str:
    try:
        parts = urlsplit(address)
        is_usable = address.startswith(_SCHEMES) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise UsageError(f"{name}: {_WANTED}, got {without_password(address)!r}", item=name)
    return address.rstrip("/")


def without_password(address: str) -> str:
    """An address as it may be shown."""
    scheme, mark, rest = address.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
