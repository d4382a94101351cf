from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from sdflow.errors import AccessDeniedError, InvalidKeyError
from sdflow.storage.listing import list_in_parallel
from sdflow.storage.location import StoreLocation, open_store
from sdflow.storage.s3 import S3Store
from tests.storage.contract import Bench, StoreContract
from tests.storage.streams import LARGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

    from tests.servers.fixtures import Bucket

pytestmark = pytest.mark.s3


class S3Bench(Bench):
    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.store = S3Store(bucket.name, prefix, bucket.options, part_bytes=LARGE)

    def raw_get(self, key: str) -> bytes | None:
        try:
            answer = self.bucket.client.get_object(Bucket=self.bucket.name, Key=self.prefix + key)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return answer["Body"].read()

    def raw_set(self, key: str, data: bytes) -> None:
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=self.prefix + key, Body=data)

    def raw_set_many(self, objects: Mapping[str, bytes]) -> None:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(self.raw_set, objects.keys(), objects.values()))


class TestS3Store(StoreContract):
    @pytest.fixture
    def bench(self, s3_bucket: Bucket) -> S3Bench:
        bench = S3Bench(s3_bucket, "pre fix/")
        for neighbour in ("pre fix", "pre fix2/a", "pre fi/x", "a"):
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=neighbour, Body=b"not ours")
        return bench

    def test_keys_that_only_s3_can_hold_round_trip(self, bench: S3Bench) -> None:
        keys = ["a", "a/b", "a//b", "/a", "./a", "a/../b", "../a", "ends/"]
        for key in keys:
            bench.store.put(key, key.encode())
            assert bench.raw_get(key) == key.encode()
            assert bench.store.get(key) == key.encode()
        assert [info.key for info in bench.store.list()] == sorted(keys)

    def test_placeholders_of_folders_are_listed_and_that_of_the_root_is_not(
        self, bench: S3Bench
    ) -> None:
        for key in ("", "folder/", "folder/file", "folder/empty"):
            bench.raw_set(key, b"")
        bench.raw_set("folder/full/", b"x")
        listed = {info.key: info.is_placeholder for info in bench.store.list()}
        assert listed == {
            "folder/": True,
            "folder/empty": False,
            "folder/file": False,
            "folder/full/": False,
        }
        assert list(bench.store.list_folder()) == ["folder/"]
        assert list(bench.store.list_folder("folder/"))[-1] == "folder/full/"

    def test_keys_that_only_s3_can_hold_are_listed_in_parallel(self, bench: S3Bench) -> None:
        keys = ["/", "/a", "//", "a", "a/", "a/b", "a//b", "a//", "a.jpg", "a/../b", "c/d/e", "c0"]
        bench.raw_set_many(dict.fromkeys(keys, b"x"))
        expected = list(bench.store.list())
        assert [info.key for info in expected] == sorted(keys)
        for ahead in (1, 2, 100):
            assert list(list_in_parallel(bench.store, threads=3, ahead=ahead)) == expected

    def test_keys_that_xml_cannot_hold_are_removed_with_the_others(self, bench: S3Bench) -> None:
        keys = ["a", "control\x01", "line\nbreak", "line\rbreak", "<&>"]
        bench.raw_set_many(dict.fromkeys(keys, b"x"))
        bench.store.delete_many(keys[2:4])
        assert [info.key for info in bench.store.list()] == ["<&>", "a", "control\x01"]
        bench.store.delete_many(keys)
        assert list(bench.store.list()) == []

    def test_a_key_that_may_not_be_removed_is_named(self, bench: S3Bench) -> None:
        name = bench.bucket.name
        kept = f"arn:aws:s3:::{name}/{bench.prefix}kept"
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:DeleteObject",
            "Resource": kept,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        bench.raw_set_many({"a": b"", "kept": b"", "z": b""})
        bench.bucket.client.put_bucket_policy(Bucket=name, Policy=policy)
        with pytest.raises(AccessDeniedError, match="kept") as caught:
            bench.store.delete_many(["a", "kept", "z"])
        assert caught.value.item == "kept"
        assert [info.key for info in bench.store.list()] == ["kept"]
        bench.bucket.client.delete_bucket_policy(Bucket=name)

    def test_a_key_has_at_most_1024_bytes_with_its_prefix(self, bench: S3Bench) -> None:
        longest = "é" * ((1024 - len("pre fix/")) // 2)
        bench.store.put(longest, b"x")
        assert bench.store.get(longest) == b"x"
        with pytest.raises(InvalidKeyError, match="1024 bytes, the prefix included"):
            bench.store.put(longest + "a", b"x")

    def test_a_key_is_utf8(self, bench: S3Bench) -> None:
        with pytest.raises(InvalidKeyError, match="UTF-8"):
            bench.store.put("a\udcff", b"x")

    def test_an_object_of_many_parts_is_read(self, bench: S3Bench) -> None:
        parts = [bytes(5 * 2**20), b"end"]
        client, bucket, name = bench.bucket.client, bench.bucket.name, f"{bench.prefix}parts"
        upload = client.create_multipart_upload(Bucket=bucket, Key=name)["UploadId"]
        uploaded: list[CompletedPartTypeDef] = []
        for number, part in enumerate(parts, start=1):
            answer = client.upload_part(
                Bucket=bucket, Key=name, UploadId=upload, PartNumber=number, Body=part
            )
            uploaded.append({"PartNumber": number, "ETag": answer["ETag"]})
        client.complete_multipart_upload(
            Bucket=bucket, Key=name, UploadId=upload, MultipartUpload={"Parts": uploaded}
        )
        etag = bench.store.head("parts").etag
        assert etag.endswith("-2")
        assert bench.store.get("parts", if_match=etag) == b"".join(parts)

    def test_the_etag_is_the_md5(self, bench: S3Bench) -> None:
        expected = hashlib.md5(b"abc", usedforsecurity=False).hexdigest()
        assert bench.store.put("a", b"abc") == expected

    def test_objects_tell_what_they_are(self, bench: S3Bench) -> None:
        expected = {
            "a.png": "image/png",
            "a.JPG": "image/jpeg",
            "a.tiff": "image/tiff",
            "a.webp": "image/webp",
            "job.json": "application/json",
            "ledger.jsonl": "application/x-ndjson",
            "part.jsonl.gz": "application/octet-stream",
            "report.html": "text/html",
            "a.py": "application/octet-stream",
            "a": "application/octet-stream",
        }
        told = {}
        for key in expected:
            bench.store.put(key, b"x")
            answer = bench.bucket.client.head_object(
                Bucket=bench.bucket.name, Key=bench.prefix + key
            )
            told[key] = answer["ContentType"]
        assert told == expected

    def test_a_location_opens_the_same_store(self, bench: S3Bench) -> None:
        bench.raw_set("a", b"x")
        for tail in ("pre fix", "pre fix/"):
            store = open_store(
                StoreLocation(f"s3://{bench.bucket.name}/{tail}", bench.bucket.options)
            )
            assert store.url == f"s3://{bench.bucket.name}/pre fix/"
            assert store.get("a") == b"x"

    def test_the_whole_bucket_may_be_the_root(self, bench: S3Bench) -> None:
        store = S3Store(bench.bucket.name, "", bench.bucket.options)
        assert [info.key for info in store.list()] == ["a", "pre fi/x", "pre fix", "pre fix2/a"]
        assert store.url == f"s3://{bench.bucket.name}/"
