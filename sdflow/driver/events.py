"""What happens to the scheduler, and what it orders. Events are past tense, commands imperative."""

from __future__ import annotations

from dataclasses import dataclass

from sdflow.work.shard import Shard, WorkItem
from sdflow.worker.report import Ending


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker is ready for shards."""

    worker: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker has gone, with whatever it held.

    Attributes:
        worker: Its name.
        with_node: Its node has gone too, or the way to it: no image is to blame.
    """

    worker: str
    with_node: bool = False


@dataclass(frozen=True, slots=True)
class WorkerDraining:
    """A worker's node will go soon: it may finish what it computes and hand back the rest."""

    worker: str


@dataclass(frozen=True, slots=True)
class ShardPlanned:
    """The listing has brought forth another shard."""

    shard: Shard


@dataclass(frozen=True, slots=True)
class ListingEnded:
    """There will be no further shards."""


@dataclass(frozen=True, slots=True)
class Progressed:
    """A worker has given a sign of life.

    Attributes:
        worker: Its name.
        endings: What became of images since the last one; may be empty.
    """

    worker: str
    endings: tuple[Ending, ...] = ()


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing but that; comes about once a second."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Somebody wants the job to end soon and resumable."""


Event = (
    WorkerJoined
    | WorkerLost
    | WorkerDraining
    | ShardPlanned
    | ListingEnded
    | Progressed
    | TimePassed
    | StopRequested
)


@dataclass(frozen=True, slots=True)
class StartShard:
    """Lease a shard to a worker.

    Attributes:
        worker: Who.
        lease: Number of the lease; every attempt has its own.
        shard: What.
    """

    worker: str
    lease: int
    shard: Shard


@dataclass(frozen=True, slots=True)
class SplitShard:
    """Ask a worker to hand back so many images whose computation has not begun, the last first."""

    worker: str
    lease: int
    count: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """End a worker now; no ``WorkerLost`` follows.

    Attributes:
        worker: Who.
        reason: For the log.
    """

    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScaleTo:
    """Have so many workers from now on; those that are stopped or lost are replaced up to it."""

    workers: int


@dataclass(frozen=True, slots=True)
class RecordEndings:
    """Write the ledger lines of images that are done or given up, count parts that are done."""

    endings: tuple[Ending, ...]


@dataclass(frozen=True, slots=True)
class RecordDeadLetter:
    """Give up on one image."""

    item: WorkItem
    error: str
    message: str
    attempts: int


@dataclass(frozen=True, slots=True)
class RemoveParts:
    """Remove what the parts of an image have left, once its ledger line is durable."""

    item: WorkItem


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the job: nothing has succeeded for too long.

    Attributes:
        error: Code of the failure that keeps coming.
        message: Its latest text.
    """

    error: str
    message: str


Command = (
    StartShard
    | SplitShard
    | StopWorker
    | ScaleTo
    | RecordEndings
    | RecordDeadLetter
    | RemoveParts
    | GiveUp
)
