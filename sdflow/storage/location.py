"""Where a store is: a value that crosses process borders, and the way to open it.

Neither torch nor an S3 client is loaded here; :func:`open_store` loads the client for S3 alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sdflow.errors import UsageError
from sdflow.storage.local import LocalStore

if TYPE_CHECKING:
    from sdflow.storage.store import Store

_ACCEPTED = "accepted are s3://bucket/prefix/, file:///path and a plain path"


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to reach S3; None leaves the question to the AWS SDK's own environment and files.

    Attributes:
        endpoint_url: Address of an S3-compatible service.
        profile: Section of the AWS configuration files.
        region: Region of the bucket.
        no_sign_request: Send no credentials at all, for public buckets.
        max_connections: Most connections of one store at once.
        max_attempts: Attempts of the SDK at one request, the first included.
        read_timeout_s: Longest silence of a server that is waited out.
        patience_s: How long, about, the store keeps trying while the service is overloaded, broken
            or away, after the SDK has given up; 0 leaves that to whoever uses the store.
    """

    endpoint_url: str | None = None
    profile: str | None = None
    region: str | None = None
    no_sign_request: bool = False
    max_connections: int = 16
    max_attempts: int = 5
    read_timeout_s: float = 60.0
    patience_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """The root of a store. Small, frozen and picklable: workers open their own stores from it.

    Attributes:
        url: As given, then made canonical: ``s3://bucket/`` or ``s3://bucket/prefix/`` with a
            slash at the end, or an absolute path without a scheme.
        s3: Used by ``s3://`` alone.

    Raises:
        UsageError: The scheme is unknown, or the bucket or path is missing.
    """

    url: str
    s3: S3Options = S3Options()

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _canonical(self.url))

    @property
    def is_s3(self) -> bool:
        """Whether the root is in a bucket."""
        return self.url.startswith("s3://")

    @property
    def bucket(self) -> str:
        """The bucket; "" for a folder."""
        return self.url.removeprefix("s3://").partition("/")[0] if self.is_s3 else ""

    @property
    def prefix(self) -> str:
        """What every key in the bucket begins with: "" or something that ends in a slash."""
        return self.url.removeprefix("s3://").partition("/")[2] if self.is_s3 else ""


def open_store(location: StoreLocation) -> Store:
    """Open the store at ``location``; nothing is sent to it yet.

    Raises:
        UsageError: The endpoint, region or profile is not usable.
    """
    if not location.is_s3:
        return LocalStore(Path(location.url))
    from sdflow.storage.s3 import S3Store

    return S3Store(location.bucket, location.prefix, location.s3)


def folder_prefix(prefix: str) -> str:
    """``prefix`` as a folder: empty, or with a slash at its end."""
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def overlaps(a: StoreLocation, b: StoreLocation) -> bool:
    """Whether one root is the other, or lies inside it.

    Links in local paths are resolved. Equal buckets behind different endpoints are different.
    """
    if a.is_s3 != b.is_s3:
        return False
    if a.is_s3:
        same_bucket = (a.bucket, _endpoint(a)) == (b.bucket, _endpoint(b))
        return same_bucket and (a.prefix.startswith(b.prefix) or b.prefix.startswith(a.prefix))
    path_a, path_b = Path(a.url).resolve(), Path(b.url).resolve()
    return path_a.is_relative_to(path_b) or path_b.is_relative_to(path_a)


def _endpoint(location: StoreLocation) -> str:
    return (location.s3.endpoint_url or "").rstrip("/").lower()


def _canonical(url: str) -> str:
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    if scheme is None:
        return _canonical_path(url, url)
    rest = url[scheme.end() :]
    name = scheme[1].lower()
    if name == "s3":
        return _canonical_s3(url, rest)
    if name == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise UsageError(f"'{url}' names another machine: write file:///path", item=url)
        return _canonical_path(url, unquote(slash + path))
    raise UsageError(f"'{url}': unknown scheme '{scheme[1]}://'; {_ACCEPTED}", item=url)


def _canonical_s3(url: str, rest: str) -> str:
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UsageError(f"'{url}' names no bucket; {_ACCEPTED}", item=url)
    return f"s3://{bucket}/{folder_prefix(prefix)}"


def _canonical_path(url: str, path: str) -> str:
    if not path or "\0" in path:
        raise UsageError(f"{url!r} is no path; {_ACCEPTED}", item=url)
    if path.lower().startswith("s3:"):
        raise UsageError(f"'{url}': an S3 address begins with s3://; {_ACCEPTED}", item=url)
    of_home = path == "~" or path.startswith("~/")
    return str((Path(path).expanduser() if of_home else Path(path)).absolute())
