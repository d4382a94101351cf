"""Everything breaks at once, and the results are those of a calm run.

``CHAOS_RUNS=20 pytest tests/integration/test_chaos.py`` does it twenty times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import IO

import pytest
from ray.cluster_utils import Cluster

from sdflow.model.checkpoint import encode_safetensors
from sdflow.storage import keys
from sdflow.storage.s3 import S3Store
from sdflow.work.ledger import decode_lines, decode_part
from tests.integration.clusters import QUICK_HEALTH_CHECKS, nodes, upscale_command
from tests.integration.photos import photos, results, run
from tests.integration.processes import worker_processes
from tests.model.seeded import TINY, seeded_model
from tests.servers.faultproxy import Fault, FaultProxy
from tests.servers.fixtures import Bucket

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.slow]

_COUNT = 240
_RUNS = int(os.environ.get("CHAOS_RUNS", "1"))
_MOST_ATTEMPTS = 20  # 6 failures, 10 losses with a node, and the search for a killer
_FAULTS = (
    Fault("latency", times=None, probability=0.2, delay_s=0.1),
    Fault("reset", times=None, probability=0.02),
    Fault("answer", times=None, probability=0.03, status=503),
    Fault("truncate", method="GET", path="src/", times=None, probability=0.03, after_bytes=200),
    Fault("drop_response", method="PUT", times=None, probability=0.02),
)
_OUTAGE = Fault("reset", times=None)
_OUTAGE_S = 30.0


def _rng(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - chooses victims, guards no secret


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head and two more nodes, in processes of their own; quick to notice a lost node."""
    for name, value in QUICK_HEALTH_CHECKS.items():
        monkeypatch.setenv(name, value)
    with nodes(3) as three:
        yield three


@dataclass
class _Chaos:
    """Breaks things for as long as it is told, in an order that a seed decides."""

    cluster: Cluster
    proxy: FaultProxy
    store: S3Store
    seed: int
    killed: list[int] = field(default_factory=list)
    nodes_lost: int = 0
    over: Event = field(default_factory=Event)

    def kill_workers(self) -> None:
        """Every few seconds; mostly after new results, or slow machines would never start one."""
        rng, before = _rng(self.seed), 0
        while not self.over.wait(rng.uniform(2, 5)):
            made = _num_results(self.store)
            if (made > before or rng.random() < 0.2) and (workers := worker_processes()):
                victim = rng.choice(workers)
                os.kill(victim, signal.SIGKILL)
                self.killed.append(victim)
            before = made

    def lose_a_node(self) -> None:
        rng = _rng(self.seed + 1)
        if self.over.wait(rng.uniform(15, 25)):
            return
        self.cluster.remove_node(max(self.cluster.worker_nodes, key=id), allow_graceful=False)
        self.nodes_lost += 1

    def break_the_network(self) -> None:
        self.proxy.inject(*_FAULTS)
        if not self.over.wait(_rng(self.seed + 2).uniform(10, 30)):
            self.proxy.inject(_OUTAGE)
            self.over.wait(_OUTAGE_S)
        self.proxy.inject(*_FAULTS)

    @contextmanager
    def unleashed(self) -> Iterator[None]:
        work = (self.kill_workers, self.lose_a_node, self.break_the_network)
        threads = [Thread(target=task) for task in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
            self.proxy.inject()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(_RUNS))
def test_nothing_is_lost_and_nothing_done_twice_whatever_breaks(
    seed: int,
    tmp_path: Path,
    cluster: Cluster,
    s3_bucket: Bucket,
    fault_proxy: FaultProxy,
    ray_session: str,
) -> None:
    del ray_session
    weights = tmp_path / "tiny.safetensors"
    weights.write_bytes(encode_safetensors(seeded_model(TINY)))
    for key, data in photos(_COUNT, side=16).items():
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"src/{key}", Body=data)
    source, target = f"s3://{s3_bucket.name}/src/", f"s3://{s3_bucket.name}/out/"
    calm = f"s3://{s3_bucket.name}/calm/"
    endpoint = str(s3_bucket.options.endpoint_url)
    settings = {"weights": str(weights), "tile": 64, "halo": 16, "seed": 3}
    run("upscale", source, calm, endpoint_url=endpoint, **settings)

    command = upscale_command(
        *(source, target, "--endpoint-url", fault_proxy.url),
        *("--workers", "3", "--address", cluster.address, "--drain-seconds", "5"),
        *(part for name, value in settings.items() for part in (f"--{name}", str(value))),
    )
    store = S3Store(s3_bucket.name, "out/", s3_bucket.options)
    chaos = _Chaos(cluster, fault_proxy, store, seed)
    with chaos.unleashed(), (tmp_path / "log").open("wb") as log:
        rng = _rng(seed + 3)
        for _ in range(2):
            _kill_driver(command, store, log, after=rng.randint(10, 60))
        status = _run_supervised(command, log)
    logged = (tmp_path / "log").read_text()
    assert status.returncode == 0, logged[-6000:]
    summary = json.loads(status.stdout)
    assert summary["listed"] == _COUNT
    assert summary["done"] + summary["skipped"] == _COUNT
    assert summary["failed"] == summary["unfinished"] == 0
    assert chaos.killed

    found = results(store)
    assert found.outputs == results(S3Store(s3_bucket.name, "calm/", s3_bucket.options)).outputs
    assert set(found.ledger_keys) == set(photos(_COUNT, side=16))
    assert _most_attempts(store) <= _MOST_ATTEMPTS


def _run_supervised(command: list[str], log: IO[bytes]) -> subprocess.CompletedProcess[bytes]:
    """Run the job, and again where it found no storage to begin with, as a supervisor would."""
    for _ in range(20):
        log.flush()
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, check=False)  # noqa: S603
        if ended.returncode != 1:
            break
        time.sleep(2)
    return ended


def _kill_driver(command: list[str], store: S3Store, log: IO[bytes], *, after: int) -> None:
    """Run the job until so many more results are there, and kill it."""
    before = _num_results(store)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)  # noqa: S603
    while process.poll() is None and _num_results(store) < before + after:
        time.sleep(0.2)
    process.kill()
    process.wait()


def _num_results(store: S3Store) -> int:
    return sum(not keys.is_job_key(info.key) for info in store.list())


def _most_attempts(store: S3Store) -> int:
    return max(
        line.attempts
        for info in store.list(keys.LEDGER_PREFIX)
        for line in decode_lines(decode_part(store.get(info.key), source=info.key), source=info.key)
    )
