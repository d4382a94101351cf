"""What happens to the scheduler, and what it orders. Events are past tense, commands imperative."""

from __future__ import annotations

from dataclasses import dataclass

from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.report import ShardReport


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker is ready for shards."""

    worker: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker has gone, with whatever it held."""

    worker: str


@dataclass(frozen=True, slots=True)
class ShardPlanned:
    """The listing has brought forth another shard."""

    shard: Shard


@dataclass(frozen=True, slots=True)
class ListingEnded:
    """There will be no further shards."""


@dataclass(frozen=True, slots=True)
class ShardFinished:
    """A worker has done a shard, but for what the report says."""

    worker: str
    shard: Shard
    report: ShardReport


@dataclass(frozen=True, slots=True)
class ShardFailed:
    """A worker could not finish a shard, yet lives; nothing of it is in the ledger."""

    worker: str
    shard: Shard
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Somebody wants the job to end soon and resumable."""


Event = (
    WorkerJoined
    | WorkerLost
    | ShardPlanned
    | ListingEnded
    | ShardFinished
    | ShardFailed
    | StopRequested
)


@dataclass(frozen=True, slots=True)
class StartShard:
    """Lease a shard to a worker."""

    worker: str
    shard: Shard


@dataclass(frozen=True, slots=True)
class RecordDeadLetter:
    """Give up on one image."""

    item: WorkItem
    error: str
    message: str
    attempts: int


Command = StartShard | RecordDeadLetter
