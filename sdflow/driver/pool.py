"""The worker actors, and what becomes of them, as events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import ray
import structlog
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayError, RayTaskError

from sdflow.driver.events import Event, Progressed, WorkerDraining, WorkerJoined, WorkerLost
from sdflow.errors import ClusterError, SdflowError
from sdflow.worker.actor import start_actor

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdflow.work.shard import Shard
    from sdflow.worker.limits import Limits
    from sdflow.worker.report import Progress
    from sdflow.worker.worker import WorkerSpec

_MAX_FAILED_STARTS = 3  # in a row, before the job is given up
_MAX_DEATHS = 20  # in a row, of workers that were still starting
_LONGEST_PAUSE_S = 60.0  # between starts while they fail
_POLL_S = 1.0  # in which a worker gives a sign of life, while there are few of them
_POLLS_PER_S = 1000  # of all workers together
_REPEAT_S = 1.0  # before a call to a worker that cannot be reached is made again
_DRAIN_CHECK_S = 2.0
_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Member:
    """One actor.

    Attributes:
        name: Of the worker.
        actor: Ray's handle.
        kind: Kind of its device; None until it is ready.
        node: Ray's id of its node; None until it is ready.
        acknowledged: Number of the last ending that has arrived.
        is_draining: It has been told of.
    """

    name: str
    actor: Any
    kind: str | None = None
    node: str | None = None
    acknowledged: int = 0
    is_draining: bool = False


@dataclass(frozen=True, slots=True)
class _Call:
    """A call in progress; it may be made again if it did not get through."""

    member: _Member
    make: Callable[[], Any]
    is_poll: bool = False


class WorkerPool:
    """Keeps a number of workers going: one that is lost or stopped is replaced by a new one.

    No call is left to Ray to repeat, which reorders calls and repeats those that ran. Calls that
    did not get through are made again here, which their receiver allows.

    Args:
        spec: The job.
        weights: One-file weights, or None for bicubic.
        size: Number of workers at first.
        num_cpus: Cores of each.
        num_gpus: GPUs of each.

    Attributes:
        size: Workers that there should be.
        devices: Kinds of device that workers have been on.
        peak_rss_bytes: Largest memory that any worker's process had.
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
        self.devices: set[str] = set()
        self.peak_rss_bytes = 0
        self._spec = spec
        self._weights = None if weights is None else ray.put(weights)
        self._resources = {"num_cpus": num_cpus, "num_gpus": num_gpus}
        self._numbers = count(1)
        self.size = size
        self._failed_starts = self._deaths = 0
        self._start_at = 0.0
        self._members: dict[str, _Member] = {}
        self._calls: dict[Any, _Call] = {}
        self._again: list[tuple[float, _Call]] = []
        self._limits: dict[str, Limits] = {}
        self._drains_checked = monotonic()

    @property
    def num_ready(self) -> int:
        """Workers that are there."""
        return sum(member.kind is not None for member in self._members.values())

    def scale_to(self, size: int) -> None:
        """Have so many workers from now on; those that are ready are not touched."""
        self.size = size
        starting = [member for member in self._members.values() if member.kind is None]
        for member in starting[: max(0, len(self._members) - size)]:
            self._remove(member)

    def start_shard(self, worker: str, lease: int, shard: Shard) -> None:
        """Lease a shard to a worker; one that was lost meanwhile is not told anything."""
        if (member := self._members.get(worker)) is not None:
            self._call(_Call(member, lambda: member.actor.start.remote(lease, shard)))

    def split_shard(self, worker: str, lease: int, count: int) -> None:
        """Ask a worker to hand back so many images."""
        if (member := self._members.get(worker)) is not None:
            self._call(_Call(member, lambda: member.actor.release.remote(lease, count)))

    def stop(self, worker: str, reason: str) -> None:
        """End a worker now."""
        if (member := self._members.get(worker)) is not None:
            _log.info("worker ended", worker=worker, reason=reason)
            self._remove(member)

    def events(self, *, timeout_s: float) -> list[Event]:
        """Wait for something to happen, at most so long.

        Raises:
            ClusterError: If workers fail to start, several times in a row.
        """
        now = monotonic()
        if now >= self._start_at:
            for _ in range(self.size - len(self._members)):
                self._start()
        due = [call for at, call in self._again if at <= now]
        self._again = [(at, call) for at, call in self._again if at > now]
        for call in due:
            self._call(call)
        if not self._calls:
            sleep(timeout_s)
            return []
        ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        # Take along whatever else is there already.
        ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        events = [event for ref in ready if (event := self._take(ref)) is not None]
        return events + self._draining()

    def close(self) -> None:
        """End all workers now."""
        for member in list(self._members.values()):
            self._remove(member)

    def _start(self) -> None:
        spec = replace(self._spec, limits=dict(self._limits))
        actor = start_actor(spec, self._weights, **self._resources)
        member = _Member(f"worker-{next(self._numbers)}", actor)
        self._members[member.name] = member
        self._call(_Call(member, actor.describe.remote))

    def _call(self, call: _Call) -> None:
        if self._members.get(call.member.name) is call.member:
            self._calls[call.make()] = call

    def _poll(self, member: _Member) -> None:
        wait_s = max(_POLL_S, len(self._members) / _POLLS_PER_S)
        poll = member.actor.poll
        self._call(_Call(member, lambda: poll.remote(member.acknowledged, wait_s), is_poll=True))

    def _take(self, ref: Any) -> Event | None:  # noqa: ANN401  # an ObjectRef
        call = self._calls.pop(ref, None)
        if call is None:
            return None  # its worker was lost in the meantime
        member = call.member
        try:
            result = ray.get(ref, timeout=_REPEAT_S)
        except (ActorUnavailableError, GetTimeoutError):  # perhaps later, perhaps done already
            self._again.append((monotonic() + _REPEAT_S, call))
            return None
        except RayTaskError as error:
            return self._lose(member, error.cause)
        except RayError as error:  # died, out of memory, its node gone
            return self._lose(member, error)
        if member.kind is None:
            return self._welcome(member, *result)
        return self._progress(member, result) if call.is_poll else None

    def _welcome(self, member: _Member, kind: str, node: str) -> Event:
        self._failed_starts = self._deaths = 0
        member.kind, member.node = kind, node
        self.devices.add(kind)
        self._poll(member)
        return WorkerJoined(member.name)

    def _progress(self, member: _Member, progress: Progress) -> Event:
        member.acknowledged = progress.sequence
        self.peak_rss_bytes = max(self.peak_rss_bytes, progress.peak_rss_bytes)
        if progress.limits is not None and member.kind:  # for workers to come of this kind
            self._limits[member.kind] = progress.limits.stricter(self._limits.get(member.kind))
        self._poll(member)
        return Progressed(member.name, progress.endings)

    def _lose(self, member: _Member, error: BaseException) -> Event | None:
        started = member.kind is not None
        with_node = isinstance(error, RayError) and not self._node_lives(member, error)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = " ".join(lines) if started else lines[-1]  # a failed start ends with its reason
        _log.warning("worker lost", worker=member.name, reason=reason, with_node=with_node)
        self._remove(member)
        if started:
            return WorkerLost(member.name, with_node)
        if getattr(error, "actor_init_failed", True):
            self._failed_starts += 1
            pause_s = min(_LONGEST_PAUSE_S, 2.0**self._failed_starts)
            self._start_at = monotonic() + (pause_s if self.num_ready else 0.0)
        else:
            self._deaths += not with_node
        is_hopeless = self._failed_starts >= _MAX_FAILED_STARTS or self._deaths >= _MAX_DEATHS
        if is_hopeless and not self.num_ready:  # else a bad node must not end good ones' work
            if isinstance(error, SdflowError):
                raise error
            number = self._failed_starts + self._deaths
            raise ClusterError(f"{number} workers in a row could not start: {reason}")
        return None

    def _node_lives(self, member: _Member, error: RayError) -> bool:
        if "node has died" in str(error) or "node was terminated" in str(error):
            return False
        try:
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        except RayError:
            return True
        return member.node is None or member.node in alive

    def _remove(self, member: _Member) -> None:
        del self._members[member.name]
        self._calls = {ref: call for ref, call in self._calls.items() if call.member is not member}
        ray.kill(member.actor)

    def _draining(self) -> list[Event]:
        """Workers whose node has been given notice since the last look."""
        now = monotonic()
        if now - self._drains_checked < _DRAIN_CHECK_S:
            return []
        self._drains_checked = now
        try:  # Ray Train looks there too; no public way exists yet
            nodes = ray._private.state.state.get_draining_nodes()  # noqa: SLF001
        except RayError:  # no answer now, or none ever through ray://
            return []
        told = [
            member
            for member in self._members.values()
            if member.node in nodes and not member.is_draining
        ]
        for member in told:
            member.is_draining = True
            _log.warning("node will go", worker=member.name, node=member.node)
        return [WorkerDraining(member.name) for member in told]
