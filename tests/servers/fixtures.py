"""Fixtures of real servers: Ceph's radosgw, buckets on it, and a proxy that breaks connections."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from sdflow.storage.location import S3Options
from tests.servers.faultproxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_SCRIPT = Path(__file__).with_name("rgw.sh")
_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "curl")
_NOT_OF_THIS_TEST = ("AWS_", "S3_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True)
class RadosGateway:
    """A running S3 server and its one user."""

    endpoint: str
    access_key: str = "testkey"
    secret_key: str = "testsecret"  # noqa: S105 - of a server that lives for one test run


@dataclass(frozen=True)
class Bucket:
    """A fresh bucket.

    Attributes:
        name: Its name.
        options: How the code under test reaches it; the credentials are in the environment.
        client: A client that goes around the code under test.
    """

    name: str
    options: S3Options
    client: S3Client


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _run_script(*arguments: str) -> None:
    environment = {**os.environ, "MON_PORT": str(free_port())}
    subprocess.run([_SCRIPT, *arguments], env=environment, check=True)  # noqa: S603 - our own script


@contextmanager
def gateway(folder: Path) -> Iterator[RadosGateway]:
    """A radosgw of its own, below a folder that does not exist yet."""
    port = free_port()
    try:
        _run_script("start", str(folder), str(port))
        yield RadosGateway(f"http://127.0.0.1:{port}")
    finally:
        _run_script("stop", str(folder))


@pytest.fixture(scope="session")
def rgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RadosGateway]:
    """A radosgw for the test run; skips where Ceph is not installed.

    With REQUIRE_S3=1 in the environment, a missing Ceph is a failure.
    """
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)} ({_SCRIPT.name} names the packages)"
        if os.environ.get("REQUIRE_S3") == "1":
            pytest.fail(f"REQUIRE_S3=1, but {reason}")
        pytest.skip(reason)
    with gateway(tmp_path_factory.mktemp("rgw") / "run") as running:
        yield running


@pytest.fixture
def bare_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's AWS set-up: no credentials, files, endpoints or proxies."""
    _forget_aws(monkeypatch)


@pytest.fixture(scope="session")
def rgw_client(rgw: RadosGateway) -> S3Client:
    """A client that goes around the code under test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _forget_aws(monkeypatch)
        return boto3.Session().client(
            "s3",
            endpoint_url=rgw.endpoint,
            region_name="us-east-1",
            aws_access_key_id=rgw.access_key,
            aws_secret_access_key=rgw.secret_key,
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
        )


def _forget_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(_NOT_OF_THIS_TEST):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def s3_bucket(
    rgw: RadosGateway, rgw_client: S3Client, bare_aws: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bucket]:
    """A fresh bucket, with credentials in the environment; emptied and removed at the end."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rgw.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rgw.secret_key)
    name = f"test-{uuid4().hex}"
    rgw_client.create_bucket(Bucket=name)
    yield Bucket(name, S3Options(endpoint_url=rgw.endpoint), rgw_client)
    for page in rgw_client.get_paginator("list_objects_v2").paginate(Bucket=name):
        objects: list[ObjectIdentifierTypeDef] = [
            {"Key": entry["Key"]} for entry in page.get("Contents", ())
        ]
        if objects:
            rgw_client.delete_objects(Bucket=name, Delete={"Objects": objects, "Quiet": True})
    rgw_client.delete_bucket(Bucket=name)


@pytest.fixture
def fault_proxy(rgw: RadosGateway) -> Iterator[FaultProxy]:
    """A proxy in front of the server, without faults at first."""
    with FaultProxy(rgw.endpoint) as proxy:
        yield proxy
