"""The worker actors, and what becomes of them, as events."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import ray
import structlog
from ray.exceptions import RayError, RayTaskError

from sdflow.driver.events import Event, ShardFailed, ShardFinished, WorkerJoined, WorkerLost
from sdflow.errors import ClusterError, SdflowError
from sdflow.worker.actor import start_actor

if TYPE_CHECKING:
    from sdflow.work.shard import Shard
    from sdflow.worker.limits import Limits
    from sdflow.worker.worker import WorkerSpec

_MAX_FAILED_STARTS = 3  # in a row, before the job is given up
_log = structlog.get_logger()


class WorkerPool:
    """Keeps a number of workers going: one that is lost is replaced by a new one.

    Args:
        spec: The job.
        weights: One-file weights, or None for bicubic.
        size: Number of workers.
        num_cpus: Cores of each.
        num_gpus: GPUs of each.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        weights: bytes | None,
        *,
        size: int,
        num_cpus: float,
        num_gpus: float,
    ) -> None:
        self._spec = spec
        self._weights = None if weights is None else ray.put(weights)
        self._resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self._numbers = count(1)
        self._failed_starts = 0
        self._actors: dict[str, Any] = {}
        self._calls: dict[Any, tuple[str, Shard | None]] = {}
        self._kinds: dict[str, str] = {}
        self._limits: dict[str, Limits] = {}
        for _ in range(size):
            self._start()

    @property
    def devices(self) -> set[str]:
        """Kinds of device that workers have been on."""
        return set(self._kinds.values())

    def submit(self, worker: str, shard: Shard, ledger_name: str) -> None:
        """Send a shard to a worker; one that was lost meanwhile is not sent anything.

        Its ``WorkerLost`` is then on the way already, and speaks of this shard too.
        """
        actor = self._actors.get(worker)
        if actor is not None:
            self._calls[actor.run.remote(shard, ledger_name)] = (worker, shard)

    def events(self, *, timeout_s: float) -> list[Event]:
        """Wait for something to happen, at most so long.

        Raises:
            ClusterError: If workers fail to start, several times in a row.
        """
        ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        # Take along whatever else is there already.
        ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        return [event for call in ready if (event := self._take(call)) is not None]

    def close(self) -> None:
        """End all workers now."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        self._calls.clear()

    def _start(self) -> None:
        worker = f"worker-{next(self._numbers)}"
        spec = replace(self._spec, limits=self._limits)
        self._actors[worker] = start_actor(spec, self._weights, **self._resources)
        self._calls[self._actors[worker].describe.remote()] = (worker, None)

    def _take(self, call: Any) -> Event | None:  # noqa: ANN401  # an ObjectRef
        if call not in self._calls:
            return None  # its worker was lost in the meantime
        worker, shard = self._calls.pop(call)
        try:
            result = ray.get(call)
        except RayTaskError as error:
            if shard is not None:
                return _failed(worker, shard, error)
            return self._lose(worker, error.cause, started=False)
        except RayError as error:  # died, unreachable, out of memory, its node gone
            return self._lose(worker, error, started=shard is not None)
        if shard is not None:
            if result.limits is not None:  # for workers to come on this kind of device
                kind = self._kinds[worker]
                self._limits[kind] = result.limits.stricter(self._limits.get(kind))
            return ShardFinished(worker, shard, result)
        self._failed_starts = 0
        self._kinds[worker] = result
        return WorkerJoined(worker)

    def _lose(self, worker: str, error: BaseException, *, started: bool) -> Event | None:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0] if started else lines[-1]  # a failed start ends with its own exception
        _log.warning("worker lost", worker=worker, reason=reason)
        ray.kill(self._actors.pop(worker))
        self._calls = {call: held for call, held in self._calls.items() if held[0] != worker}
        self._failed_starts += not started
        if self._failed_starts == _MAX_FAILED_STARTS:
            if isinstance(error, SdflowError):
                raise error
            raise ClusterError(f"{_MAX_FAILED_STARTS} workers in a row could not start: {reason}")
        self._start()
        return WorkerLost(worker) if started else None


def _failed(worker: str, shard: Shard, error: RayTaskError) -> ShardFailed:
    cause = error.cause
    code = cause.code if isinstance(cause, SdflowError) else "internal"
    return ShardFailed(worker, shard, code, f"{type(cause).__name__}: {cause}")
