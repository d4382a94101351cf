"""Jobs over many small objects beside a plain copy of them: ``python -m tests.measure.throughput``.

Everything goes to one radosgw on this machine. The copy is boto3 with 16 threads, each object got
and put. Jobs run with ``--weights copy`` (no decoding, no encoding) and ``--weights bicubic``, on a
Ray that is running already. The three take turns; figures are medians. A last job goes through a
proxy that counts requests.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import boto3
import ray
from botocore.config import Config

from sdflow.config import load_settings
from sdflow.driver.run import run_job
from sdflow.telemetry import configure_logs
from tests.integration.photos import photo_bytes
from tests.servers.faultproxy import FaultProxy
from tests.servers.fixtures import RadosGateway, gateway

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BUCKET = "throughput"
_COPY_THREADS = 16


def main() -> int:
    """Measure, and print a line for each run and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    configure_logs("json")
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder) / "rgw") as server:
        os.environ["AWS_ACCESS_KEY_ID"] = server.access_key
        os.environ["AWS_SECRET_ACCESS_KEY"] = server.secret_key
        client = _client(server)
        client.create_bucket(Bucket=_BUCKET)
        names = _upload(client, arguments.objects)
        ray.init(address="local", include_dashboard=False, log_to_driver=False)
        rates: dict[str, list[float]] = {"boto3": [], "copy": [], "bicubic": []}
        for number in range(arguments.runs):
            rates["boto3"].append(len(names) / _copy(client, names, f"plain-{number}/"))
            for weights in ("copy", "bicubic"):
                target = f"{weights}-{number}/"
                seconds = _job(server.endpoint, target, weights, arguments.workers)
                rates[weights].append(len(names) / seconds)
            latest = {name: round(values[-1]) for name, values in rates.items()}
            _print(f"run {number + 1}: objects a second {latest}")
        for name in ("copy", "bicubic"):
            ratio = statistics.median(
                job / plain for job, plain in zip(rates[name], rates["boto3"], strict=True)
            )
            _print(f"--weights {name}: {ratio:.2f} of the plain copy's rate (median)")
        _print(f"requests per image: {_requests(server, len(names), arguments.workers):.4f}")
    return 0


def _client(server: RadosGateway) -> S3Client:
    return boto3.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=_COPY_THREADS),
    )


def _upload(client: S3Client, count: int) -> list[str]:
    bodies = [photo_bytes(seed, kind="JPEG", side=48) for seed in range(20)]
    names = [f"{number % 10}/{number:06d}.jpg" for number in range(count)]
    with ThreadPoolExecutor(_COPY_THREADS) as threads:
        list(
            threads.map(
                lambda pair: client.put_object(
                    Bucket=_BUCKET, Key=f"src/{pair[1]}", Body=bodies[pair[0] % len(bodies)]
                ),
                enumerate(names),
            )
        )
    return names


def _copy(client: S3Client, names: list[str], target: str) -> float:
    def copy(name: str) -> None:
        data = client.get_object(Bucket=_BUCKET, Key=f"src/{name}")["Body"].read()
        client.put_object(Bucket=_BUCKET, Key=f"{target}{name}", Body=data)

    started = perf_counter()
    with ThreadPoolExecutor(_COPY_THREADS) as threads:
        list(threads.map(copy, names))
    return perf_counter() - started


def _job(endpoint: str, target: str, weights: str, workers: int) -> float:
    settings = load_settings(
        {
            "src": f"s3://{_BUCKET}/src/",
            "dst": f"s3://{_BUCKET}/{target}",
            "weights": weights,
            "workers": workers,
            "endpoint_url": endpoint,
        }
    )
    summary = run_job("upscale", settings)
    if summary.done != summary.listed:
        raise RuntimeError(summary.to_json())
    return summary.seconds


def _requests(server: RadosGateway, count: int, workers: int) -> float:
    with FaultProxy(server.endpoint) as proxy:
        _job(proxy.url, "counted/", "bicubic", workers)
        return len(proxy.requests) / count


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
