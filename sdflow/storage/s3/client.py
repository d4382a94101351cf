"""The connection to S3: endpoint, credentials, retries and what other services than AWS need."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3 import S3Client

    from sdflow.storage.location import S3Options


def connect(options: S3Options) -> S3Client:
    """Make a client of its own, which any number of threads may share.

    The endpoint is that of the options, else of ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` or
    the profile, else of ``S3_ENDPOINT_URL``, else AWS's. Names of buckets go into the path, not
    into the host name, unless the service is AWS or the profile chooses otherwise.
    """
    client = _client(options)
    # Last, because another handler still writes to the body.
    client.meta.events.register_last("before-call.s3.DeleteObjects", _add_md5)
    return client


def _client(options: S3Options) -> S3Client:
    core = botocore.session.Session(profile=options.profile)
    profile = core.get_scoped_config()
    session = boto3.Session(botocore_session=core, region_name=options.region)
    region = session.region_name or "us-east-1"
    config = Config(
        retries={"mode": "standard", "total_max_attempts": options.max_attempts},
        max_pool_connections=options.max_connections,
        connect_timeout=10,
        read_timeout=options.read_timeout_s,
        request_checksum_calculation=_checksums("request_checksum_calculation", profile),
        response_checksum_validation=_checksums("response_checksum_validation", profile),
        signature_version=UNSIGNED if options.no_sign_request else None,
    )
    client = session.client(
        "s3", endpoint_url=options.endpoint_url, region_name=region, config=config
    )
    endpoint = client.meta.endpoint_url
    if is_aws(endpoint):
        alias = os.environ.get("S3_ENDPOINT_URL")
        if options.endpoint_url or not alias:
            return client
        endpoint = alias
    if "addressing_style" not in profile.get("s3", {}):
        config = config.merge(Config(s3={"addressing_style": "path"}))
    return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)


def _checksums(name: str, profile: Mapping[str, object]) -> Literal["when_required"] | None:
    """No checksums beyond Content-MD5, which many services refuse, unless the user chose them."""
    return None if name in profile or f"AWS_{name.upper()}" in os.environ else "when_required"


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """Give a request the Content-MD5 that many services demand, and the SDK no longer sends."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = b64encode(digest).decode()


def is_aws(endpoint: str) -> bool:
    """Whether this is the address of Amazon's own service."""
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
