"""``sdflow doctor``, on this machine and on a bucket whose policy gives some rights alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from jobs.cli import main
from sdflow.storage.location import StoreLocation
from sdflow.storage.policy import least_policy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fixtures import Bucket


def _doctor(
    capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, dict[str, tuple[bool, str]]]:
    capsys.readouterr()
    status = main(["doctor", *map(str, arguments)])
    found = map(json.loads, capsys.readouterr().out.splitlines())
    return status, {one["what"]: (one["ok"], one["found"]) for one in found}


def test_folders_and_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"x")
    status, found = _doctor(capsys, tmp_path / "in", tmp_path / "out")
    assert status == 0, found
    for name in ("python", "torch", "ray", "boto3", "processor", "gpu", "scratch"):
        assert found[name][0]
    for name in ("list SRC", "read SRC", "list DST", "write DST", "read DST", "delete from DST"):
        assert found[name] == (True, "works")
    assert not list((tmp_path / "out").rglob("probe-*"))


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = _doctor(capsys, tmp_path / "nowhere")
    assert status == 1
    ok, text = found["list SRC"]
    assert not ok
    assert "nowhere" in text
    assert "read SRC" not in found


def test_the_policy_is_as_small_as_the_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--policy", "s3://archive/photos/", "s3://data/out/"]) == 0
    policy = json.loads(capsys.readouterr().out)
    given = {one["Sid"]: (one["Action"], one["Resource"]) for one in policy["Statement"]}
    assert given["Read"] == (["s3:GetObject"], ["arn:aws:s3:::archive/photos/*"])
    assert given["Write"][1] == ["arn:aws:s3:::data/out/*"]
    assert "s3:DeleteObject" in given["Write"][0]
    assert main(["doctor", "--policy", "photos/", "out/"]) == 2


def allow(bucket: Bucket, statements: list[dict[str, Any]]) -> None:
    """Let everybody do what is said, and nothing else."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [{**one, "Principal": "*"} for one in statements],
    }
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))


@pytest.mark.s3
def test_each_right_of_the_policy_is_needed_and_named(
    s3_bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="in/a.jpg", Body=b"x")
    places = [f"s3://{s3_bucket.name}/{name}/" for name in ("in", "out")]
    reach = ("--no-sign-request", "--endpoint-url", s3_bucket.options.endpoint_url)
    policy = least_policy(*(StoreLocation(place) for place in places))
    statements: list[dict[str, Any]] = policy["Statement"]

    allow(s3_bucket, statements)
    status, found = _doctor(capsys, *places, *reach)
    assert status == 0, found

    needed = {
        "Read": ("s3:GetObject", "read SRC"),
        "Clean": ("s3:ListBucketMultipartUploads", "end begun uploads in DST"),
    }
    for sid, (action, name) in needed.items():
        allow(s3_bucket, [one for one in statements if one["Sid"] != sid])
        status, found = _doctor(capsys, *places, *reach)
        assert (status, found[name][0]) == (1, False), (sid, found)
        assert action in found[name][1]
    lists = ("ListSource", "ListTarget")  # in one bucket
    allow(s3_bucket, [one for one in statements if one["Sid"] not in lists])
    status, found = _doctor(capsys, *places, *reach)
    assert (status, found["list SRC"][0], found["list DST"][0]) == (1, False, False)
    for action, name in (
        ("s3:PutObject", "write DST"),
        ("s3:GetObject", "read DST"),
        ("s3:DeleteObject", "delete from DST"),
    ):
        fewer = [
            {**one, "Action": [part for part in one["Action"] if part != action]}
            if one["Sid"] in ("Write", "Clean")
            else one
            for one in statements
        ]
        allow(s3_bucket, fewer)
        status, found = _doctor(capsys, *places, *reach)
        assert (status, found[name][0]) == (1, False), (action, found)
        assert action in found[name][1]
    s3_bucket.client.delete_bucket_policy(Bucket=s3_bucket.name)
