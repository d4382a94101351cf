"""Images larger than memory should have to hold: ``python -m tests.measure.giants``.

A tiled BigTIFF of 400 megapixels and a JPEG of 100 are put into a radosgw on this machine, and
``sdflow upscale --weights bicubic --workers 2`` makes 6.4 and 1.6 gigapixels of them. Printed are
the peak memory of every kind of process, the time, and how far windows of the results are from
Pillow's own bicubic. With ``--kill``, a worker and then the driver are killed in the middle; the
same command is then run again, and the parts that were made twice are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from sdflow.storage import keys
from tests.measure.memory import MemoryWatch
from tests.measure.parts import PartsWatch
from tests.measure.scenes import write_bigtiff, write_jpeg
from tests.measure.windows import compare
from tests.servers.fixtures import RadosGateway, gateway

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_BUCKET = "giants"
_SIDES = {"scan.tif": 20_000, "photo.jpg": 10_000}
_GIANT_PIXELS = 512_000_000  # the default of --giant-pixels
_MOST_MB = 1200
_MARK = "MEASURED_JOB"
# Largest and mean difference, in levels; JPEG loses some, most of it at coloured edges.
_TOLERANCES = {"scan.tif": (1, 0.01), "photo.jpg": (64, 1.5)}


@dataclass(frozen=True)
class _Case:
    """One job and where to find everything of it."""

    client: S3Client
    server: RadosGateway
    folder: Path
    target: str
    flags: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "jobs.cli", "upscale", f"s3://{_BUCKET}/in/"),
            *(f"s3://{_BUCKET}/{self.target}", "--weights", "bicubic", "--workers", "2"),
            *("--format", "keep", "--endpoint-url", self.server.endpoint, *self.flags),
        ]

    def parts(self) -> PartsWatch:
        return PartsWatch(self.client, _BUCKET, f"{self.target}{keys.SCRATCH_PREFIX}")


def main() -> int:
    """Make the images, run the jobs, print; 1 if anything is not as it should be."""
    arguments = _arguments()
    sides = {name: side // arguments.scale_down for name, side in _SIDES.items()}
    raw_bytes = sum(3 * (4 * side) ** 2 for side in sides.values())
    free_bytes = shutil.disk_usage(arguments.folder or tempfile.gettempdir()).free
    _print(f"{free_bytes / 1e9:.0f} GB of disk are free, {1.5 * raw_bytes / 1e9:.1f} may be needed")
    if free_bytes < 1.5 * raw_bytes:
        _print("that is too little: give another --folder, or --scale-down")
        return 1
    os.environ["BLUESTORE_BYTES"] = str(3 * raw_bytes + 8_000_000_000)  # a file with holes
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        _make(folder, sides)
        with gateway(folder / "rgw") as server:
            client = _client(server)
            client.create_bucket(Bucket=_BUCKET)
            for image in sides:
                client.upload_file(str(folder / image), _BUCKET, f"in/{image}")
            threshold = arguments.giant_pixels or _GIANT_PIXELS // arguments.scale_down**2
            flags = ("--giant-pixels", str(threshold), *arguments.more)
            case = _Case(client, server, folder, "out/", flags)
            run = _killed_and_resumed if arguments.kill else _calm
            is_good = run(case, arguments.kill_after)
            return 0 if _check(case) and is_good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale-down", type=int, default=1, help="divide the sides by so much")
    parser.add_argument("--giant-pixels", type=int, help="default: that of sdflow, scaled down")
    parser.add_argument("--kill", action="store_true", help="kill a worker, then the driver")
    parser.add_argument(
        "--kill-after", type=int, default=8, help="parts before the first kill, and between both"
    )
    parser.add_argument("--folder", type=Path, help="where there is enough disk")
    parser.add_argument("more", nargs="*", help="flags for sdflow, after --")
    return parser.parse_args()


def _make(folder: Path, sides: dict[str, int]) -> None:
    for name, write in (("scan.tif", write_bigtiff), ("photo.jpg", write_jpeg)):
        started = time.perf_counter()
        write(folder / name, sides[name])
        size_mb = (folder / name).stat().st_size / 1e6
        seconds = time.perf_counter() - started
        _print(f"{name}: {sides[name]} x {sides[name]}, {size_mb:.0f} MB, made in {seconds:.0f} s")


def _client(server: RadosGateway) -> S3Client:
    os.environ["AWS_ACCESS_KEY_ID"] = server.access_key
    os.environ["AWS_SECRET_ACCESS_KEY"] = server.secret_key
    return boto3.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"}, request_checksum_calculation="when_required"
        ),
    )


def _calm(case: _Case, _: int) -> bool:
    with case.parts() as parts, _watch() as memory, _started(case, memory) as process:
        _finish(process, case)
    _print(f"parts: {parts.seen}, made more than once: {parts.repeated}")
    return _is_small(memory)


def _killed_and_resumed(case: _Case, kill_after: int) -> bool:
    with case.parts() as parts, _watch() as memory:
        with _started(case, memory) as process:
            if _wait_for(parts, kill_after, process):
                victim = memory.living("worker")[0]
                os.kill(victim, signal.SIGKILL)
                _print(f"worker killed after {parts.seen} parts")
            if _wait_for(parts, parts.seen + kill_after, process):
                process.kill()
                _print(f"driver killed after {parts.seen} parts")
            process.wait()
        while memory.living("worker"):  # they end with their driver
            time.sleep(0.2)
        before = parts.seen
        with _started(case, memory) as process:
            _finish(process, case)
    _print(f"parts: {before} before the second run, {parts.seen} in all")
    _print(f"parts made more than once: {parts.repeated}")
    return _is_small(memory)


def _wait_for(parts: PartsWatch, count: int, process: subprocess.Popen[str]) -> bool:
    """Whether so many parts were there before the job was over."""
    while parts.seen < count:
        if process.poll() is not None:
            _print(f"the job ended before it had {count} parts: lower --kill-after")
            return False
        time.sleep(0.2)
    return True


def _watch() -> MemoryWatch:
    return MemoryWatch(_MARK, secrets.token_hex(8))


def _started(case: _Case, memory: MemoryWatch) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        memory.variable: memory.value,
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with (case.folder / "job.log").open("a") as log:
        return subprocess.Popen(  # noqa: S603 - our own command
            case.command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )


def _finish(process: subprocess.Popen[str], case: _Case) -> None:
    """Wait for a job and print what it says; RuntimeError unless all images are done."""
    output, _ = process.communicate()
    log = "\n".join((case.folder / "job.log").read_text().splitlines()[-20:])
    if process.returncode != 0:
        raise RuntimeError(f"the job ended with {process.returncode}\n{output}\n{log}")
    summary: dict[str, Any] = json.loads(output)
    _print(", ".join(f"{name} {value}" for name, value in summary.items()))
    if summary["done"] + summary["skipped"] != len(_SIDES):
        raise RuntimeError(f"not all images are done\n{log}")


def _is_small(memory: MemoryWatch) -> bool:
    for line in memory.report():
        _print(line)
    most_mb = max(peak.high_water_mb for peak in memory.peaks.values())
    _print(f"peak RSS of any process: {most_mb:.0f} MB (at most {_MOST_MB})")
    return most_mb <= _MOST_MB


def _check(case: _Case) -> bool:
    """Whether both results are right at sampled windows and nothing else is left in the bucket."""
    is_good = True
    for name in _SIDES:
        result = case.folder / f"result-{name}"
        case.client.download_file(_BUCKET, f"{case.target}{name}", str(result))
        found = compare(case.folder / name, result, count=60)
        most, mean = _TOLERANCES[name]
        is_good = is_good and found.most <= most and found.mean <= mean
        _print(
            f"{name}: {result.stat().st_size / 1e6:.0f} MB; {found.windows} windows differ by "
            f"{found.most} levels at most, {found.mean:.4f} on average"
        )
        result.unlink()
    prefix = case.parts().prefix
    left = case.client.list_objects_v2(Bucket=_BUCKET, Prefix=prefix).get("KeyCount", 0)
    uploads = case.client.list_multipart_uploads(Bucket=_BUCKET).get("Uploads", [])
    _print(f"scratch objects left: {left}, unfinished uploads left: {len(uploads)}")
    return is_good and left == 0


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
