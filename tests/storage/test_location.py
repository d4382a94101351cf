from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from sdflow.errors import UsageError
from sdflow.storage.local import LocalStore
from sdflow.storage.location import S3Options, StoreLocation, open_store, overlaps


@pytest.mark.parametrize(
    ("url", "canonical", "bucket", "prefix"),
    [
        ("s3://b", "s3://b/", "b", ""),
        ("s3://b/", "s3://b/", "b", ""),
        ("s3://b/pre", "s3://b/pre/", "b", "pre/"),
        ("s3://b/pre/", "s3://b/pre/", "b", "pre/"),
        ("S3://b/a b/#c?d=%20/é", "s3://b/a b/#c?d=%20/é/", "b", "a b/#c?d=%20/é/"),
        ("s3://b//a", "s3://b//a/", "b", "/a/"),
        ("/a/b/", "/a/b", "", ""),
        ("file:///a/b%20c", "/a/b c", "", ""),
        ("file://localhost/a", "/a", "", ""),
    ],
)
def test_locations_are_made_canonical(url: str, canonical: str, bucket: str, prefix: str) -> None:
    location = StoreLocation(url)
    assert (location.url, location.bucket, location.prefix) == (canonical, bucket, prefix)
    assert location.is_s3 == bool(bucket)
    assert StoreLocation(location.url) == location


def test_paths_do_not_depend_on_where_a_worker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert StoreLocation("photos").url == str(tmp_path / "photos")
    assert StoreLocation("~/photos").url == "/home/someone/photos"
    assert StoreLocation("~photos").url == str(tmp_path / "~photos")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3:/b/prefix", "begins with s3://"),
        ("gs://b/prefix", "unknown scheme 'gs://'"),
        ("https://b/prefix", "unknown scheme 'https://'"),
        ("file://machine/a", "names another machine"),
        ("file://", "is no path"),
        ("", "is no path"),
        ("a\0b", "is no path"),
    ],
)
def test_what_is_no_location_is_refused_by_name(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        StoreLocation(url)
    assert caught.value.item == url


def test_a_refusal_says_what_is_accepted() -> None:
    with pytest.raises(UsageError, match=r"s3://bucket/prefix/, file:///path and a plain path"):
        StoreLocation("ftp://b")


def test_a_location_survives_pickling() -> None:
    location = StoreLocation("s3://b/pre", S3Options(endpoint_url="http://h:1", region="eu"))
    assert pickle.loads(pickle.dumps(location)) == location  # noqa: S301 - made here


def test_a_folder_is_opened(tmp_path: Path) -> None:
    store = open_store(StoreLocation(f"file://{tmp_path}/a"))
    assert isinstance(store, LocalStore)
    assert store.url == f"{tmp_path}/a"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("s3://b/x", "s3://b/x/", True),
        ("s3://b", "s3://b/x/y", True),
        ("s3://b/x", "s3://b/x/y", True),
        ("s3://b/x", "s3://b/xy", False),
        ("s3://b/x", "s3://b/y", False),
        ("s3://b/x", "s3://c/x", False),
        ("/r/x", "/r/x/", True),
        ("/r", "/r/x/y", True),
        ("/r/x/../y", "/r/y/z", True),
        ("/r/x", "/r/xy", False),
        ("/r/x", "/r/y", False),
        ("/b/x", "s3://b/x", False),
    ],
)
def test_overlap(a: str, b: str, *, expected: bool) -> None:
    assert overlaps(StoreLocation(a), StoreLocation(b)) is expected
    assert overlaps(StoreLocation(b), StoreLocation(a)) is expected


def test_links_do_not_hide_an_overlap(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    inside = StoreLocation(str(tmp_path / "link" / "out"))
    assert overlaps(StoreLocation(str(tmp_path / "real")), inside)


def test_equal_buckets_of_two_services_do_not_overlap() -> None:
    here, there = (S3Options(endpoint_url=f"http://{host}:9000") for host in ("here", "there"))
    slash = S3Options(endpoint_url="http://HERE:9000/")
    assert not overlaps(StoreLocation("s3://b", here), StoreLocation("s3://b", there))
    assert overlaps(StoreLocation("s3://b", here), StoreLocation("s3://b", slash))


def test_locations_and_keys_load_neither_boto3_nor_torch() -> None:
    script = (
        "import sys, sdflow.storage.keys, sdflow.storage.location as l;"
        "l.open_store(l.StoreLocation('/x'));"
        "print(sorted({'boto3', 'botocore', 'ray', 'torch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert run.stdout == "[]\n"
