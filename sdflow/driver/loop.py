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
    GiveUp,
    ListingEnded,
    RecordDeadLetter,
    RecordEndings,
    RemoveParts,
    ScaleTo,
    ShardPlanned,
    SplitShard,
    StartShard,
    StopRequested,
    StopWorker,
    TimePassed,
)
from sdflow.driver.planner import Planner
from sdflow.driver.pool import WorkerPool
from sdflow.errors import ClusterError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event as Flag

    from sdflow.config import JobSettings
    from sdflow.driver.state import Scheduler
    from sdflow.driver.tally import Tally
    from sdflow.work.shard import Shard
    from sdflow.worker.worker import WorkerSpec

_WAIT_S = 0.5  # so that a request to stop is seen soon
_TICK_S = 1.0
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
    with ray_connected(settings.address):
        num_cpus, num_gpus = _shares(settings, needs_gpu=weights is not None)
        spec = replace(spec, threads=max(1, floor(num_cpus)), on_gpu=num_gpus > 0)
        pool = WorkerPool(
            spec, weights, size=settings.worker_range[0], num_cpus=num_cpus, num_gpus=num_gpus
        )
        try:
            yield pool
        finally:
            pool.close()


class Driver:
    """Carries the scheduler's commands out, until all shards are done.

    Args:
        pool: Whoever does the shards.
        tally: Told about every ending.
        scheduler: Fresh; decides.
    """

    def __init__(self, pool: WorkerPool, tally: Tally, scheduler: Scheduler) -> None:
        self._pool = pool
        self._tally = tally
        self._scheduler = scheduler
        self._ticked = monotonic()
        self._patient_until = self._ticked + _PATIENCE_S

    def run(self, shards: Iterator[Shard], stop: Flag, check: Callable[[], None]) -> None:
        """Do all shards, drawn only as fast as workers need them.

        Args:
            shards: The plan.
            stop: Set from outside to end soon: images in progress get a while to finish.
            check: Called about once a second; may raise to end the job at once.

        Raises:
            ClusterError: If no worker can be started.
            StorageError: If the listing or the ledger fails, or nothing succeeds for an hour.
        """
        stopping = False
        with Planner(shards) as planner:
            while True:
                if stop.is_set() and not stopping:
                    stopping = True
                    _log.warning("stopping: images in progress are finished; again to stop at once")
                    self._handle(StopRequested())
                self._plan(planner)
                if self._scheduler.is_finished:
                    break
                began, workers = monotonic(), self._pool.num_ready
                for event in self._pool.events(timeout_s=_WAIT_S):
                    self._handle(event)
                self._tally.worker_s += workers * (monotonic() - began)
                if monotonic() - self._ticked >= _TICK_S:
                    self._tick(check)
        self._tally.retries += self._scheduler.retries

    def _plan(self, planner: Planner) -> None:
        while self._scheduler.wants_shards and self._tally.keeps_up and not planner.is_done:
            shard = planner.take()
            if shard is not None:
                self._handle(ShardPlanned(shard))
            elif planner.is_done:
                self._handle(ListingEnded())
            else:
                break

    def _tick(self, check: Callable[[], None]) -> None:
        now = monotonic()
        self._ticked = now
        check()
        self._handle(TimePassed())
        self._tally.work(now)
        if self._pool.num_ready or not self._pool.size:
            self._patient_until = now + _PATIENCE_S
        elif now > self._patient_until:
            _log.warning("waiting for a worker", wanted=self._pool.size)
            self._patient_until = now + _PATIENCE_S

    def _handle(self, event: Event) -> None:
        for command in self._scheduler.handle(event, monotonic()):
            match command:
                case StartShard(worker, lease, shard):
                    self._pool.start_shard(worker, lease, shard)
                case RecordEndings(endings):
                    self._tally.add_endings(endings)
                case SplitShard(worker, lease, count):
                    self._pool.split_shard(worker, lease, count)
                case RecordDeadLetter():
                    self._tally.add_dead_letter(command)
                case RemoveParts(item):
                    self._tally.remove_parts(item)
                case StopWorker(worker, reason):
                    self._pool.stop(worker, reason)
                case ScaleTo(workers):
                    self._pool.scale_to(workers)
                case GiveUp(error, message):
                    raise StorageError(
                        f"nothing has succeeded for an hour ({error}: {message}); the same command "
                        "goes on where this run ends",
                        item="SRC",
                    )


@contextmanager
def ray_connected(address: str, *, log_to_driver: bool = False) -> Iterator[None]:
    """A connection for the length of a block, unless there is one already.

    Ray takes the signals of this process when it begins, and puts them back when it ends.

    Args:
        address: Of a cluster, or ``local`` to start one.
        log_to_driver: Whether what workers write comes to this process's stderr.

    Raises:
        ClusterError: If Ray cannot be started or reached.
    """
    if ray.is_initialized():
        yield
        return
    _connect(address, log_to_driver=log_to_driver)
    try:
        yield
    finally:
        ray.shutdown()


def cluster_gpus(address: str) -> float:
    """GPUs of a running cluster; this process stays connected to it.

    Raises:
        ClusterError: If it cannot be reached.
    """
    if not ray.is_initialized():
        _connect(address)
    return float(ray.cluster_resources().get("GPU", 0.0))


def _connect(address: str, *, log_to_driver: bool = False) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=log_to_driver, configure_logging=False, **options)
    except (ConnectionError, ImportError, RuntimeError, ValueError, TimeoutError) as error:
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
    workers = settings.worker_range[1]
    wanted = per_worker * workers
    if settings.address == "local" and wanted > gpus:
        raise ClusterError(
            f"--workers {settings.workers} with --gpus-per-worker {per_worker:g} needs {wanted:g} "
            f"GPUs, this machine has {gpus:g}: lower one of the two",
            item="--gpus-per-worker",
        )
    if settings.address != "local":
        return 1.0, per_worker  # nodes differ: a worker that wants more may find no place
    share = cores / workers
    return float(floor(share)) if share >= 1 else floor(share * 1000) / 1000, per_worker
