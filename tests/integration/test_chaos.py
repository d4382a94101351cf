"""Everything breaks at once, and the results are those of a calm run.

``CHAOS_RUNS=20 pytest tests/integration/test_chaos.py`` does it twenty times.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

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
    outages: int = 0
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
        if self._is_due(_rng(self.seed + 1).randint(30, 140)):
            self.cluster.remove_node(max(self.cluster.worker_nodes, key=id), allow_graceful=False)
            self.nodes_lost += 1

    def break_the_network(self) -> None:
        self.proxy.inject(*_FAULTS)
        if self._is_due(_rng(self.seed + 2).randint(60, 180)):
            self.proxy.inject(_OUTAGE)
            self.outages += 1
            self.over.wait(_OUTAGE_S)
        self.proxy.inject(*_FAULTS)

    def _is_due(self, count: int) -> bool:
        """Wait until so many results are there."""
        while _num_results(self.store) < count:
            if self.over.wait(0.5):
                return False
        return True

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
    log = tmp_path / "log"
    with chaos.unleashed():
        rng = _rng(seed + 3)
        for _ in range(2):
            _kill_driver(command, store, log, after=rng.randint(10, 60))
        ended = _supervised(command, log)
        output, _ = ended.communicate()
    assert ended.returncode == 0, log.read_text()[-6000:]
    assert chaos.killed
    assert (chaos.nodes_lost, chaos.outages) == (1, 1)
    summary = json.loads(output)
    assert summary["listed"] == _COUNT
    assert summary["done"] + summary["skipped"] == _COUNT
    assert summary["failed"] == summary["unfinished"] == 0

    found = results(store)
    assert found.outputs == results(S3Store(s3_bucket.name, "calm/", s3_bucket.options)).outputs
    assert sorted(found.ledger_keys) == sorted(photos(_COUNT, side=16))  # each once
    assert _most_attempts(store) <= _MOST_ATTEMPTS


def _kill_driver(command: list[str], store: S3Store, log: Path, *, after: int) -> None:
    """Run the job until so many more results are there, and kill it."""
    before = _num_results(store)
    process = _supervised(command, log, until=lambda: _num_results(store) >= before + after)
    assert process.poll() is None, log.read_text()[-6000:]
    process.kill()
    process.communicate()


def _supervised(
    command: list[str], log: Path, *, until: Callable[[], bool] = lambda: False
) -> subprocess.Popen[bytes]:
    """Run the job to its end, or to some moment; and again where it found no storage at first."""
    while True:
        with log.open("ab") as file:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file)  # noqa: S603
        while process.poll() is None and not until():
            time.sleep(0.2)
        if process.returncode != 1:
            return process
        process.communicate()
        (*_, reason) = [line for line in log.read_text().splitlines() if "sdflow: " in line]
        assert re.search("no whole answer|overloaded", reason), reason


def _num_results(store: S3Store) -> int:
    return sum(not keys.is_job_key(info.key) for info in store.list())


def _most_attempts(store: S3Store) -> int:
    return max(
        line.attempts
        for info in store.list(keys.LEDGER_PREFIX)
        for line in decode_lines(decode_part(store.get(info.key), source=info.key), source=info.key)
    )
