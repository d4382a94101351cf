"""Jobs with no more rights than ``sdflow doctor --policy`` asks for."""

from __future__ import annotations

import gzip
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from jobs.cli import main
from sdflow.storage.location import StoreLocation
from sdflow.storage.policy import least_policy
from tests.integration.photos import photo_bytes
from tests.jobs.test_doctor import allow

if TYPE_CHECKING:
    from tests.servers.fixtures import Bucket


@pytest.mark.ray
@pytest.mark.s3
def test_the_policy_is_enough_for_jobs(
    s3_bucket: Bucket, ray_session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del ray_session
    for number in range(3):
        s3_bucket.client.put_object(
            Bucket=s3_bucket.name,
            Key=f"in/{number}.jpg",
            Body=photo_bytes(number, kind="JPEG", side=32),
        )
    reach = ("--no-sign-request", "--endpoint-url", str(s3_bucket.options.endpoint_url))
    for task, target in (("upscale", "large"), ("degrade", "pairs")):
        places = [f"s3://{s3_bucket.name}/{name}/" for name in ("in", target)]
        allow(s3_bucket, least_policy(*map(StoreLocation, places))["Statement"])
        for _ in range(2):
            status = main([task, *places, "--weights", "bicubic", *reach])
            assert status == 0, capsys.readouterr().err
        assert main(["verify", places[1], "--clean", *reach]) == 0
    s3_bucket.client.delete_bucket_policy(Bucket=s3_bucket.name)


@pytest.mark.ray
@pytest.mark.s3
@pytest.mark.parametrize("task", ["upscale", "degrade"])
def test_no_secret_is_written_or_said(s3_bucket: Bucket, ray_session: str, task: str) -> None:
    for number in range(2):
        body = photo_bytes(number, kind="JPEG", side=32)
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"in/{number}.jpg", Body=body)
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="in/bad.jpg", Body=b"x")
    places = [f"s3://{s3_bucket.name}/{name}/" for name in ("in", "out")]
    reach = ("--endpoint-url", str(s3_bucket.options.endpoint_url), "--address", ray_session)
    command = [sys.executable, "-m", "jobs.cli", task, *places, "--weights", "bicubic", *reach]
    ended = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    assert ended.returncode == 3
    listed = s3_bucket.client.list_objects_v2(Bucket=s3_bucket.name, Prefix="out/")["Contents"]
    texts = {"stdout": ended.stdout, "stderr": ended.stderr}
    for one in listed:
        body = s3_bucket.client.get_object(Bucket=s3_bucket.name, Key=one["Key"])["Body"].read()
        texts[one["Key"]] = gzip.decompress(body) if one["Key"].endswith(".gz") else body
    assert len(texts) > 7
    for name, text in texts.items():
        assert b"testsecret" not in text, name
        assert b"X-Amz-Signature" not in text, name
