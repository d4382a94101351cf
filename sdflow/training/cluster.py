"""Many workers through Ray Train, which starts them again when one is lost."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from sdflow.errors import ClusterError, SdflowError
from sdflow.telemetry import configure_logs
from sdflow.training.worker import Run, work

if TYPE_CHECKING:
    from typing import Any

_MAX_FAILURES = 3


def train_on_ray(
    run: Run, *, workers: int, gpus_per_worker: int, address: str, log_format: str = "auto"
) -> bool:
    """Run to the end of the recipe on many workers; a lost one costs the steps since a checkpoint.

    Args:
        run: What.
        workers: How many.
        gpus_per_worker: Of each; 0 computes on CPUs.
        log_format: Of the workers' log lines.
        address: ``local`` starts a cluster here; else that of one.

    Returns:
        Whether the last step is done; False after Ctrl-C, which leaves the last checkpoint.

    Raises:
        ClusterError: If Ray cannot be reached, or workers are lost again and again.
        SdflowError: What ended the run on a worker.
    """
    began = not ray.is_initialized()
    if began:
        ray.init(
            address=None if address == "local" else address,
            log_to_driver=True,
            include_dashboard=False,
            configure_logging=False,
        )
    scaling = ScalingConfig(
        num_workers=workers,
        use_gpu=gpus_per_worker > 0,
        resources_per_worker={"GPU": gpus_per_worker} if gpus_per_worker else {"CPU": 1},
    )
    try:
        with tempfile.TemporaryDirectory(prefix="sdflow-train-") as folder:
            TorchTrainer(
                _worker,
                train_loop_config={"run": run, "log_format": log_format},
                torch_config=TorchConfig(backend="nccl" if gpus_per_worker else "gloo"),
                scaling_config=scaling,
                run_config=RunConfig(
                    storage_path=folder, failure_config=FailureConfig(max_failures=_MAX_FAILURES)
                ),
            ).fit()
    except (KeyboardInterrupt, SystemExit):  # Ray ends itself on Ctrl-C
        return False
    except Exception as error:
        raise _own(error) from error
    finally:
        if began:
            ray.shutdown()
    return True


def _worker(config: dict[str, Any]) -> None:
    configure_logs(config["log_format"])
    context = get_context()
    work(
        config["run"],
        device=get_device(),
        rank=context.get_world_rank(),
        count=context.get_world_size(),
    )


def _own(error: BaseException) -> SdflowError:
    """Our own error if that is what ended the workers, else one that says Ray's."""
    waiting: list[BaseException | None] = [error]
    while waiting:
        seen = waiting.pop()
        if isinstance(seen, SdflowError):
            return seen
        if seen is not None:
            failures = getattr(seen, "worker_failures", None) or {}
            waiting += [seen.__cause__, getattr(seen, "cause", None), *failures.values()]
    return ClusterError(f"training on Ray failed: {error}")
