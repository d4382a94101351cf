"""The same job over a folder and over S3, with one and with three actors, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sdflow.storage.local import LocalStore
from sdflow.storage.s3 import S3Store
from tests.integration.photos import Results, photo_bytes, photos, results, run, write_folder
from tests.servers.fixtures import Bucket

pytestmark = pytest.mark.ray

_PHOTOS = {**photos(15), "wide.png": photo_bytes(3, kind="PNG", side=200)}
_TILES = {"tile": 160, "halo": 16}  # the wide photo is cut into four


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("source"), _PHOTOS)


@pytest.fixture(scope="module")
def references(
    tmp_path_factory: pytest.TempPathFactory, source: Path, small_weights: str, ray_session: str
) -> dict[str, Results]:
    """One actor, one undisturbed run, a folder: what all others must equal."""
    del ray_session
    found = {}
    for task in ("upscale", "downscale"):
        target = tmp_path_factory.mktemp(task) / "out"
        run(task, source, target, weights=small_weights, **_TILES)
        found[task] = results(LocalStore(target))
    return found


def _assert_all_done(found: Results) -> None:
    summary = found.summary
    assert summary["listed"] == len(_PHOTOS)
    assert summary["done"] + summary["skipped"] == len(_PHOTOS)
    assert summary["failed"] == summary["unfinished"] == summary["exit_status"] == 0
    assert set(found.ledger_keys) == set(_PHOTOS)  # workers outlive a killed driver for a moment
    assert not found.dead_letters
    assert found.outputs.keys() == _PHOTOS.keys()


@pytest.mark.parametrize("task", ["upscale", "downscale"])
def test_three_actors_make_the_same_bytes_as_one(
    task: str, source: Path, small_weights: str, references: dict[str, Results], tmp_path: Path
) -> None:
    run(task, source, tmp_path / "out", weights=small_weights, workers=3, **_TILES)
    found = results(LocalStore(tmp_path / "out"))
    _assert_all_done(references[task])
    _assert_all_done(found)
    assert found.outputs == references[task].outputs


@pytest.mark.s3
@pytest.mark.parametrize(("task", "workers"), [("upscale", 1), ("upscale", 3), ("downscale", 3)])
def test_s3_makes_the_same_bytes_as_a_folder(
    task: str, workers: int, small_weights: str, references: dict[str, Results], s3_bucket: Bucket
) -> None:
    for key, data in _PHOTOS.items():
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"in/{key}", Body=data)
    place = f"s3://{s3_bucket.name}"
    endpoint = s3_bucket.options.endpoint_url
    arguments = {"weights": small_weights, "workers": workers, "endpoint_url": endpoint, **_TILES}
    run(task, f"{place}/in/", f"{place}/out/", **arguments)
    target = S3Store(s3_bucket.name, "out/", s3_bucket.options)
    first = results(target)
    _assert_all_done(first)
    assert first.outputs == references[task].outputs

    run(task, f"{place}/in/", f"{place}/out/", **arguments)
    again = results(target)
    assert (again.summary["done"], again.summary["skipped"]) == (0, len(_PHOTOS))
    assert again.outputs == first.outputs


def _command(source: str, target: str, weights: str, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "jobs.cli", "upscale", source, target),
        *("--weights", weights, "--tile", "160", "--halo", "16", "--log-format", "json", *more),
    ]


def _run_until(command: list[str], target: LocalStore | S3Store, count: int, kill: int) -> int:
    """Start a job; signal it when ``count`` results are there.

    One that is killed must have written a part of its ledger by then; one that may end does it.
    """
    # No pipes: Ray's processes would hold them open for a while after their driver is gone.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:  # noqa: S603
        while job.poll() is None:
            found = [info.key for info in target.list()]
            made = sum(not key.startswith("_sdflow/") for key in found)
            has_part = any(key.startswith("_sdflow/ledger/") for key in found)
            if made >= count and (has_part or kill == signal.SIGTERM):
                os.kill(job.pid, kill)
                break
        return job.wait()


@pytest.mark.slow
def test_killed_at_half_and_run_again_makes_the_same_bytes(
    source: Path, small_weights: str, references: dict[str, Results], tmp_path: Path
) -> None:
    target = LocalStore(tmp_path / "out")
    command = _command(str(source), target.url, small_weights, "--workers", "2")
    assert _run_until(command, target, len(_PHOTOS) // 2, signal.SIGKILL) == -signal.SIGKILL
    summary = run("upscale", source, target.url, weights=small_weights, workers=3, **_TILES)
    found = results(target)
    _assert_all_done(found)
    assert 0 < summary.skipped < len(_PHOTOS)
    assert found.outputs == references["upscale"].outputs


@pytest.mark.s3
@pytest.mark.slow
def test_killed_on_s3_and_run_again_makes_the_same_bytes(
    source: Path, small_weights: str, references: dict[str, Results], s3_bucket: Bucket
) -> None:
    target = S3Store(s3_bucket.name, "out/", s3_bucket.options)
    endpoint = str(s3_bucket.options.endpoint_url)
    command = _command(str(source), target.url, small_weights, "--endpoint-url", endpoint)
    assert _run_until(command, target, len(_PHOTOS) // 2, signal.SIGKILL) == -signal.SIGKILL
    run("upscale", source, target.url, weights=small_weights, endpoint_url=endpoint, **_TILES)
    found = results(target)
    _assert_all_done(found)
    assert found.outputs == references["upscale"].outputs


@pytest.mark.slow
def test_sigterm_ends_with_status_4_and_the_same_command_goes_on(
    source: Path, small_weights: str, references: dict[str, Results], tmp_path: Path
) -> None:
    target = LocalStore(tmp_path / "out")
    command = _command(str(source), target.url, small_weights)
    assert _run_until(command, target, 2, signal.SIGTERM) == 4
    stopped = results(target)
    assert stopped.summary["exit_status"] == 4
    assert len(stopped.ledger_keys) == stopped.summary["done"] < len(_PHOTOS)
    run("upscale", source, target.url, weights=small_weights, **_TILES)
    found = results(target)
    _assert_all_done(found)
    assert found.outputs == references["upscale"].outputs
