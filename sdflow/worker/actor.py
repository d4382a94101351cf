"""A worker as a Ray actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from sdflow.worker.worker import Worker, WorkerSpec

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

_SHARDS_AT_ONCE = 2  # what the scheduler leases to a worker, so that no call waits


def start_actor(
    spec: WorkerSpec, weights: ObjectRef[bytes] | None, *, num_cpus: float, num_gpus: float
) -> ActorHandle[Worker]:
    """Ask Ray for a worker.

    It is never restarted by Ray and no call is repeated: the driver decides about both.

    Args:
        spec: The job.
        weights: Reference to the weights in Ray's object store, or None.
        num_cpus: Cores to reserve, may be a fraction.
        num_gpus: GPUs to reserve, may be a fraction.
    """
    actor_class: Any = ray.remote(Worker)  # Ray's stubs know no actor options
    handle: ActorHandle[Worker] = actor_class.options(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=_SHARDS_AT_ONCE,
    ).remote(spec, weights)
    return handle
