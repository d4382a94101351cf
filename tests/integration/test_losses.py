"""Workers that die, and clusters that are not our own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from sdflow.driver.pool import WorkerPool
from sdflow.errors import ClusterError
from sdflow.storage.local import LocalStore
from sdflow.storage.location import StoreLocation
from sdflow.work.handling import Handling
from sdflow.work.shard import Shard
from sdflow.worker.worker import WorkerSpec
from tests.integration.photos import photos, results, run, write_folder
from tests.integration.processes import worker_processes
from tests.worker.bench import PARAMETERS

pytestmark = pytest.mark.ray


@contextmanager
def _killing_one_worker(target: LocalStore) -> Iterator[list[int]]:
    """Kill one worker as soon as there is a first result."""
    killed: list[int] = []
    over = Event()

    def watch() -> None:
        while not over.wait(0.02):
            made = any(not info.key.startswith("_sdflow") for info in target.list())
            if made and (workers := worker_processes()):
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])
                return

    thread = Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_killed_worker_is_replaced_and_its_images_are_done(
    tmp_path: Path, small_weights: str, ray_session: str
) -> None:
    del ray_session
    files = photos(12)
    source = write_folder(tmp_path / "in", files)
    run("upscale", source, tmp_path / "calm", weights=small_weights)
    target = LocalStore(tmp_path / "out")
    with _killing_one_worker(target) as killed:
        summary = run("upscale", source, target.url, weights=small_weights, workers=2)
    assert len(killed) == 1
    assert (summary.done, summary.failed, summary.exit_status) == (len(files), 0, 0)
    assert summary.retries > 0
    assert results(target).outputs == results(LocalStore(tmp_path / "calm")).outputs


def test_job_on_a_cluster_that_runs_already(tmp_path: Path, ray_session: str) -> None:
    source = write_folder(tmp_path / "in", photos(3, side=8))
    command = [
        *(sys.executable, "-m", "jobs.cli", "upscale", str(source), str(tmp_path / "out")),
        *("--weights", "bicubic", "--address", ray_session, "--log-format", "json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert json.loads(done.stdout)["done"] == 3
    assert results(LocalStore(tmp_path / "out")).outputs.keys() == photos(3).keys()


def test_workers_that_cannot_start_end_the_job_with_their_own_reason(
    tmp_path: Path, ray_session: str
) -> None:
    del ray_session
    spec = WorkerSpec(
        StoreLocation(str(tmp_path)), StoreLocation(str(tmp_path)), PARAMETERS, Handling()
    )
    pool = WorkerPool(spec, b"no weights", size=1, num_cpus=0.1, num_gpus=0)
    with pytest.raises(ClusterError, match=r"could not start: .*job\.safetensors is damaged"):
        _wait_in_vain(pool)
    pool.start_shard("worker-1", 1, Shard(()))  # whose loss was told: there is nobody to send to
    pool.close()


def _wait_in_vain(pool: WorkerPool) -> None:
    while pool.events(timeout_s=60) == []:
        continue
