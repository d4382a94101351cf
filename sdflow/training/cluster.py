"""Many workers through Ray Train, which starts them again when one is lost."""

from __future__ import annotations

import tempfile
import threading
from typing import TYPE_CHECKING

import ray
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from sdflow.errors import ClusterError, SdflowError
from sdflow.flows.ranks import average_over_ranks
from sdflow.telemetry import configure_logs
from sdflow.training.worker import Run, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ray.actor import ActorHandle

_MAX_FAILURES = 3
_ASK_EVERY_S = 0.5


class _Notices:
    """What the command and its workers tell each other while Ray Train is between them."""

    def __init__(self) -> None:
        self._stop = False
        self._end: bool | SdflowError | None = None

    def stop(self) -> None:
        self._stop = True

    def is_stopping(self) -> bool:
        return self._stop

    def finish(self, end: bool | SdflowError) -> None:
        """Whether the last step is done, or the error that another attempt would meet again."""
        self._end = end

    def end(self) -> bool | SdflowError | None:
        return self._end


def train_on_ray(
    run: Run,
    *,
    workers: int,
    gpus_per_worker: int,
    log_format: str = "auto",
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Run to the end of the recipe on many workers; a lost one costs the steps since a checkpoint.

    This process is connected to Ray.

    Args:
        run: What.
        workers: How many.
        gpus_per_worker: Of each; 0 computes on CPUs.
        log_format: Of the workers' log lines.
        should_stop: Asked twice a second; all workers then end after the same step.

    Returns:
        Whether the last step is done.

    Raises:
        ClusterError: If workers are lost again and again.
        SdflowError: What ended the run on a worker.
    """
    actor_class: Any = ray.remote(_Notices)  # Ray's stubs know no actor options
    notices = actor_class.options(num_cpus=0, max_restarts=-1).remote()
    config = {"run": run, "log_format": log_format, "notices": notices}
    with tempfile.TemporaryDirectory(prefix="sdflow-train-") as folder:
        trainer = TorchTrainer(
            _worker,
            train_loop_config=config,
            torch_config=TorchConfig(backend="nccl" if gpus_per_worker else "gloo"),
            scaling_config=_scaling(workers, gpus_per_worker),
            run_config=RunConfig(
                storage_path=folder, failure_config=FailureConfig(max_failures=_MAX_FAILURES)
            ),
        )
        _fit(trainer, notices, should_stop)
    end = ray.get(notices.end.remote())
    if isinstance(end, SdflowError):
        raise end
    return bool(end)


def _scaling(workers: int, gpus: int) -> ScalingConfig:
    resources = {"GPU": gpus} if gpus else {"CPU": 1}
    return ScalingConfig(num_workers=workers, use_gpu=gpus > 0, resources_per_worker=resources)


def _fit(
    trainer: TorchTrainer, notices: ActorHandle[_Notices], should_stop: Callable[[], bool]
) -> None:
    """Wait in this thread, which gets the signals; Ray Train in another leaves them alone."""
    errors: list[Exception] = []

    def fit() -> None:
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001  # raised again by the thread that waits
            errors.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_ASK_EVERY_S)
        if should_stop():
            notices.stop.remote()
    if errors:
        raise ClusterError(f"training on Ray failed: {errors[0]}") from errors[0]


def _worker(config: dict[str, Any]) -> None:
    configure_logs(config["log_format"])
    notices, context, device = config["notices"], get_context(), get_device()
    if ray.get(notices.end.remote()) is not None:
        return
    rank = context.get_world_rank()

    def should_stop() -> bool:
        told = rank == 0 and ray.get(notices.is_stopping.remote())
        return bool(average_over_ranks(torch.tensor(float(told), device=device)) > 0)

    try:
        done = work(
            config["run"],
            device=device,
            rank=rank,
            count=context.get_world_size(),
            should_stop=should_stop,
        )
    except SdflowError as error:
        if not error.transient:  # Ray Train would try it again: the next attempt ends at once
            ray.get(notices.finish.remote(error))
        raise
    if rank == 0:
        ray.get(notices.finish.remote(done))
