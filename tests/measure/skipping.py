"""A job whose images are all done: ``python -m tests.measure.skipping``.

So many one-byte objects and a ledger that says that they are done are put into a radosgw on this
machine. Then ``sdflow upscale`` runs in a process of its own; its time and its memory are printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import boto3
from botocore.config import Config

from sdflow.config import load_settings
from sdflow.driver.job import open_job
from sdflow.driver.weights import BICUBIC, JobWeights
from sdflow.storage import keys
from sdflow.storage.location import S3Options, StoreLocation, open_store
from sdflow.work.ledger import LedgerLine, Output, encode_lines, encode_part
from tests.servers.fixtures import RadosGateway, gateway

_BUCKET = "skipping"
_PART = 10_000
_ETAG = hashlib.md5(b"x", usedforsecurity=False).hexdigest()


def main() -> int:
    """Prepare, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--list-threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder) / "rgw") as server:
        os.environ["AWS_ACCESS_KEY_ID"] = server.access_key
        os.environ["AWS_SECRET_ACCESS_KEY"] = server.secret_key
        names = [f"{number // 2000:04d}/{number:06d}.jpg" for number in range(arguments.keys)]
        _upload(server, names)
        _write_ledger(server, names)
        for threads in sorted({1, arguments.list_threads}):
            _run(server, len(names), threads)
    return 0


def _upload(server: RadosGateway, names: list[str]) -> None:
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=16)
    client = boto3.Session().client(
        "s3", endpoint_url=server.endpoint, region_name="us-east-1", config=config
    )
    client.create_bucket(Bucket=_BUCKET)

    def put(name: str) -> None:
        client.put_object(Bucket=_BUCKET, Key=f"src/{name}", Body=b"x")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(put, names))


def _write_ledger(server: RadosGateway, names: list[str]) -> None:
    options = S3Options(endpoint_url=server.endpoint)
    source = open_store(StoreLocation(f"s3://{_BUCKET}/src/", options))
    target = open_store(StoreLocation(f"s3://{_BUCKET}/dst/", options))
    settings = load_settings({"src": "in", "dst": "out", "weights": BICUBIC})
    parameters = open_job("upscale", settings, JobWeights(BICUBIC), source=source, target=target)
    for first in range(0, len(names), _PART):
        lines = [
            LedgerLine(
                key=name,
                etag=_ETAG,
                parameters=parameters.hash,
                status="done",
                time="2026-01-01T00:00:00.000Z",
                outputs=(Output(name, _ETAG, 1),),
                weights=parameters.short_weights,
            )
            for name in names[first : first + _PART]
        ]
        part = keys.ledger_key(f"20260101T000000-{first:08d}")
        target.put(part, encode_part(encode_lines(lines)))


def _run(server: RadosGateway, count: int, threads: int) -> None:
    command = [
        *(sys.executable, "-m", "jobs.cli", "upscale", f"s3://{_BUCKET}/src/"),
        *(f"s3://{_BUCKET}/dst/", "--weights", BICUBIC, "--endpoint-url", server.endpoint),
        *("--list-threads", str(threads)),
    ]
    started = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    seconds = perf_counter() - started
    summary = json.loads(done.stdout)
    if summary["skipped"] != count:
        raise RuntimeError(done.stdout)
    sys.stdout.write(
        f"{count} keys skipped with --list-threads {threads}: {seconds:.1f} s, "
        f"{summary['peak_rss_driver_mb']:.0f} MB\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
