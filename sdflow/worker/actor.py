"""A worker as a Ray actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from sdflow.worker.worker import Worker, WorkerSpec

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

_CALLS_AT_ONCE = 4  # one that asks what is new waits in the worker; no other may wait for it


class WorkerActor(Worker):
    """A worker that knows where it is."""

    def describe(self) -> tuple[str, str]:
        """The kind of device and Ray's id of the node, once the worker is ready."""
        return self.device, ray.get_runtime_context().get_node_id()


def start_actor(
    spec: WorkerSpec, weights: ObjectRef[bytes] | None, *, num_cpus: float, num_gpus: float
) -> ActorHandle[WorkerActor]:
    """Ask Ray for a worker.

    It is never restarted by Ray and no call is repeated: the driver decides about both.

    Args:
        spec: The job.
        weights: Reference to the weights in Ray's object store, or None.
        num_cpus: Cores to reserve, may be a fraction.
        num_gpus: GPUs to reserve, may be a fraction.
    """
    actor_class: Any = ray.remote(WorkerActor)  # Ray's stubs know no actor options
    handle: ActorHandle[WorkerActor] = actor_class.options(
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=_CALLS_AT_ONCE,
    ).remote(spec, weights)
    return handle
