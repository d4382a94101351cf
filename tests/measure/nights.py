"""What a night costs and what limits it: ``python -m tests.measure.nights --images DIR``.

Photos go to a radosgw on this machine. ``sdflow degrade`` makes pairs of them with bundled weights
and one worker, then a second night finds nothing new. Without ``--images`` photos are drawn.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from sdflow.config import load_target_settings
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.driver.run import run_job
from sdflow.telemetry import configure_logs
from tests.integration.photos import photo_bytes
from tests.servers.fixtures import RadosGateway, gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.driver.summary import Summary

_BUCKET = "nights"


def main() -> int:
    """Run two nights, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--samples", type=int, default=4)
    arguments = parser.parse_args()
    configure_logs("json")
    with tempfile.TemporaryDirectory() as folder, gateway(Path(folder) / "rgw") as server:
        os.environ["AWS_ACCESS_KEY_ID"] = server.access_key
        os.environ["AWS_SECRET_ACCESS_KEY"] = server.secret_key
        _upload(server, islice(_photos(arguments.images), arguments.count))
        first, second = (_night(server, arguments.samples) for _ in range(2))
    if first.night is None or first.failed or second.night is not None:
        raise RuntimeError(first.to_json() + second.to_json())
    _print("| | |\n|---|--:|")
    _print(f"| photos, a second | {first.done}, {first.done / first.seconds:.2f} |")
    _print(f"| megapixels read | {first.megapixels_in:.1f} |")
    _print(f"| LR megapixels drawn, a second | {first.megapixels_out:.2f}, {first.mp_per_s:.4f} |")
    _print(
        f"| pairs, LR images, MB | {first.night['pairs']}, {first.night['samples']}, "
        f"{first.night['bytes'] / 1e6:.1f} |"
    )
    _print(f"| seconds in all, starting Ray included | {first.seconds:.1f} |")
    for name, seconds in first.worker_seconds.items():
        _print(f"| {name}, seconds of worker threads | {seconds:.2f} |")
    _print(f"| a night with nothing new, seconds | {second.seconds:.2f} |")
    return 0


def _photos(folder: Path | None) -> Iterator[bytes]:
    if folder is None:
        yield from (photo_bytes(seed, kind="JPEG", side=448) for seed in range(1000))
    else:
        yield from (path.read_bytes() for path in sorted(folder.iterdir()))


def _upload(server: RadosGateway, photos: Iterator[bytes]) -> None:
    client = boto3.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=_BUCKET)
    for number, data in enumerate(photos):
        client.put_object(Bucket=_BUCKET, Key=f"src/{number:04d}.jpg", Body=data)


def _night(server: RadosGateway, samples: int) -> Summary:
    given = {
        "src": f"s3://{_BUCKET}/src/",
        "dst": f"s3://{_BUCKET}/pairs/",
        "samples": samples,
        "crop": 256,
        "stride": 192,
        "endpoint_url": server.endpoint,
    }
    return run_job("degrade", load_target_settings(DegradeSettings, given))


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
