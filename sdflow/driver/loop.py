"""The Ray loop: carries the scheduler's commands out and brings it what happened."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from math import floor
from time import monotonic
from typing import TYPE_CHECKING, Any

import ray
import structlog

from sdflow.driver.events import (
    Event,
    ListingEnded,
    RecordDeadLetter,
    ShardFinished,
    ShardPlanned,
    StartShard,
    StopRequested,
)
from sdflow.driver.pool import WorkerPool
from sdflow.driver.state import Scheduler
from sdflow.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event as Flag

    from sdflow.config import JobSettings
    from sdflow.driver.tally import Tally
    from sdflow.work.shard import Shard
    from sdflow.worker.worker import WorkerSpec

_WAIT_S = 0.5  # so that a request to stop is seen soon
_PATIENCE_S = 30.0  # without any worker, before a word is said about it
_log = structlog.get_logger()


@contextmanager
def worker_pool(
    spec: WorkerSpec, weights: bytes | None, settings: JobSettings
) -> Iterator[WorkerPool]:
    """Workers on Ray for the length of a block.

    ``--address local`` starts a cluster of this machine alone and ends it afterwards; a process
    that is connected to Ray already stays so.

    Raises:
        ClusterError: If Ray cannot be started or reached, or this machine lacks the GPUs.
    """
    connected = ray.is_initialized()
    if not connected:
        _connect(settings.address)
    try:
        num_cpus, num_gpus = _shares(settings, needs_gpu=weights is not None)
        spec = replace(spec, threads=max(1, floor(num_cpus)))
        pool = WorkerPool(
            spec, weights, size=settings.workers, num_cpus=num_cpus, num_gpus=num_gpus
        )
        try:
            yield pool
        finally:
            pool.close()
    finally:
        if not connected:
            ray.shutdown()


def drive(
    shards: Iterator[Shard], pool: WorkerPool, tally: Tally, *, run_id: str, stop: Flag
) -> None:
    """Do all shards.

    Args:
        shards: The plan; drawn only as fast as workers need it.
        pool: Whoever does them.
        tally: Told about every finished shard and every image given up.
        run_id: Beginning of the names of this run's ledger parts.
        stop: Set from outside to end after the shards in progress.

    Raises:
        ClusterError: If no worker can be started.
        StorageError: If the listing fails.
    """
    scheduler = Scheduler()

    def handle(event: Event) -> None:
        for command in scheduler.handle(event):
            match command:
                case StartShard(worker, shard):
                    name = f"{run_id}-{shard.id}-{shard.attempt}"
                    pool.submit(worker, shard, name)
                case RecordDeadLetter():
                    tally.add_dead_letter(command)

    stopping = False
    quiet_until = monotonic() + _PATIENCE_S
    while True:
        if stop.is_set() and not stopping:
            stopping = True
            _log.warning("stopping after the shards in progress; again to stop at once")
            handle(StopRequested())
        while scheduler.wants_shards:
            shard = next(shards, None)
            handle(ListingEnded() if shard is None else ShardPlanned(shard))
        tally.retries = scheduler.retries
        if scheduler.is_finished:
            return
        for event in pool.events(timeout_s=_WAIT_S):
            if isinstance(event, ShardFinished):
                tally.add_report(event.report)
            handle(event)
        if not pool.devices and monotonic() > quiet_until:
            _log.warning("still waiting for a first worker", cluster=ray.cluster_resources())
            quiet_until += _PATIENCE_S


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ClusterError(
            f"--address {address}: {reason}; 'local' starts Ray on this machine", item="--address"
        ) from error


def _shares(settings: JobSettings, *, needs_gpu: bool) -> tuple[float, float]:
    """Cores and GPUs of one worker."""
    resources = ray.cluster_resources()
    cores, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
    per_worker = settings.gpus_per_worker
    if per_worker is None:
        per_worker = 1.0 if needs_gpu and gpus else 0.0
    wanted = per_worker * settings.workers
    if settings.address == "local" and wanted > gpus:
        raise ClusterError(
            f"{settings.workers} workers with {per_worker:g} GPUs each need {wanted:g}, this "
            f"machine has {gpus:g}: lower --workers or --gpus-per-worker",
            item="--gpus-per-worker",
        )
    share = cores / settings.workers
    return float(floor(share)) if share >= 1 else floor(share * 1000) / 1000, per_worker
