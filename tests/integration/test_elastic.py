"""Workers that come and go: with the backlog, and with their nodes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from sdflow.storage.local import LocalStore
from sdflow.storage.location import StoreLocation, open_store
from tests.integration.clusters import nodes, started, upscale_command
from tests.integration.photos import photos, results, run, write_folder
from tests.integration.processes import worker_processes

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_MANY = 300  # images: more than are done in the seconds until a notice has come around


def test_workers_follow_the_backlog(tmp_path: Path, small_weights: str, ray_session: str) -> None:
    del ray_session
    source = write_folder(tmp_path / "in", photos(60))
    counts: list[int] = []
    over = Event()

    def watch() -> None:
        while not over.wait(0.2):
            counts.append(len(worker_processes()))

    thread = Thread(target=watch)
    thread.start()
    try:
        summary = run(
            "upscale", source, tmp_path / "out", weights=small_weights, workers="0:3", tile=64
        )
    finally:
        over.set()
        thread.join()
    assert summary.done == 60
    assert max(counts) == 3


def test_node_that_is_drained_hands_its_images_back_and_none_is_tried_twice(
    tmp_path: Path, small_weights: str
) -> None:
    source = write_folder(tmp_path / "in", photos(_MANY))
    target = LocalStore(tmp_path / "out")
    with nodes(2) as cluster:
        command = upscale_command(
            *(str(source), target.url, "--weights", small_weights, "--tile", "64", "--halo", "16"),
            *("--workers", "2:4", "--address", cluster.address),
        )
        with started(command, tmp_path / "log") as driver:
            while not any(not info.key.startswith("_sdflow") for info in target.list()):
                assert driver.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            (victim,) = cluster.worker_nodes
            drain = subprocess.run(  # noqa: S603
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
                    *("--address", cluster.address),
                    *("--node-id", victim.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
                    *("--reason-message", "spot", "--deadline-remaining-seconds", "60"),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            assert drain.returncode == 0, drain.stdout + drain.stderr
            output, _ = driver.communicate()
        assert driver.returncode == 0, (tmp_path / "log").read_text()
    summary = json.loads(output)
    assert (summary["done"], summary["failed"], summary["retries"]) == (_MANY, 0, 0)
    logged = (tmp_path / "log").read_text()
    assert "node will go" in logged
    assert '"reason": "drained"' in logged
    assert len(results(open_store(StoreLocation(target.url))).outputs) == _MANY
