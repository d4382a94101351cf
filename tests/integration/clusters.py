"""Ray clusters of several nodes on this machine, and drivers as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
QUICK_HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@contextmanager
def nodes(count: int) -> Iterator[Cluster]:
    """A head and more nodes, in processes of their own."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(count - 1):
            cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def upscale_command(source: str, target: str, *more: str) -> list[str]:
    """A job's command line; its log lines are JSON."""
    command = [sys.executable, "-m", "jobs.cli", "upscale", source, target]
    return [*command, "--log-format", "json", *more]


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose stderr goes to a file; it is ended at the end."""
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file) as process,  # noqa: S603
    ):
        try:
            yield process
        finally:
            process.kill()
