"""Finding the job's weights before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from sdflow.errors import NotFoundError, UsageError, WeightsError
from sdflow.storage.location import StoreLocation, open_store
from sdflow.worker.copying import COPY

if TYPE_CHECKING:
    from sdflow.config import JobSettings
    from sdflow.storage.location import S3Options
    from sdflow.work.parameters import Task

BICUBIC = "bicubic"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class JobWeights:
    """The weights a job runs with.

    Attributes:
        name: SHA-256 of the weights, or ``bicubic``, or ``copy``.
        data: One-file weights to send to workers; None without a network.
        tile: Most efficient tile in LR pixels; None for bicubic.
        halo: Halo in LR pixels that these weights need; None for bicubic.
        precision: What the setting means for these weights on these devices.
    """

    name: str
    data: bytes | None = None
    tile: int | None = None
    halo: int | None = None
    precision: str = "fp32"


def find_weights(settings: JobSettings, task: Task, options: S3Options) -> JobWeights:
    """Read and check the weights that ``--weights`` names, and resolve what depends on them.

    Args:
        settings: ``weights`` is ``bicubic``, ``copy``, ``default``, a path or an ``s3://``
            address; ``default`` are the bundled weights that are best in this direction.
        task: Direction.
        options: How to reach S3.

    Raises:
        WeightsError: If they are missing, damaged or of another network.
        StorageError: If the store refuses.
    """
    if settings.weights == COPY:
        if settings.format != "keep":
            raise UsageError("--weights copy writes sources as they are: leave --format out")
        return JobWeights(COPY)
    if settings.weights == BICUBIC:
        return JobWeights(BICUBIC)
    import torch

    from sdflow.model.calibration import widest_halo
    from sdflow.model.checkpoint import (
        DEFAULT,
        DEFAULT_DOWNSCALE,
        decode_weights,
        encode_safetensors,
        weights_hash,
    )
    from sdflow.worker.engine import DEFAULT_TILE_PX
    from sdflow.worker.precision import resolve_precision

    address = settings.weights
    if task == "downscale" and address == DEFAULT:
        address = DEFAULT_DOWNSCALE
    model = decode_weights(read_weights_at(address, options))
    if task == "downscale" and not model.has_degradation:
        raise WeightsError(
            "these weights have not learnt to downscale: train them beyond --degradation-from",
            item="--weights",
        )
    on_gpu = _on_gpu(settings)
    if model.calibration is None:
        halo = widest_halo(getattr(model.config, task))
        _log.warning(
            "weights are not calibrated: float32 and the widest halo; "
            "'sdflow weights calibrate IN OUT' makes jobs faster",
            halo=halo,
        )
    else:
        halo = model.calibration.of(task).halo
    return JobWeights(
        name=weights_hash(model),
        data=encode_safetensors(model),
        tile=DEFAULT_TILE_PX["cuda" if on_gpu else "cpu"],
        halo=halo,
        precision=resolve_precision(
            settings.precision, model.calibration, torch.device("cuda" if on_gpu else "cpu")
        ),
    )


def _on_gpu(settings: JobSettings) -> bool:
    """Whether this job's workers will have GPUs."""
    if settings.gpus_per_worker is not None:
        return settings.gpus_per_worker > 0
    if settings.address == "local":
        import torch

        return torch.cuda.is_available()
    from sdflow.driver.loop import cluster_gpus

    return cluster_gpus(settings.address) > 0


def read_weights_at(address: str, options: S3Options) -> dict[str, bytes]:
    """Read the files of weights at a path or an ``s3://`` address, or the bundled ones.

    Raises:
        WeightsError: If one is missing.
        StorageError: If the store refuses.
    """
    from sdflow.model.checkpoint import (
        DEFAULT,
        DEFAULT_DOWNSCALE,
        read_weights,
        weight_files,
    )

    if address in (DEFAULT, DEFAULT_DOWNSCALE):
        return read_weights(address)
    folder = address
    if address.endswith(".safetensors"):
        head, slash, _ = address.rpartition("/")
        folder = head or slash or "."
    store = open_store(StoreLocation(folder, options))
    files = {}
    for name in weight_files(address):
        try:
            files[name] = store.get(name)
        except NotFoundError as error:
            raise WeightsError(
                f"--weights {address}: {error}; give a .safetensors file, a folder with "
                "hrnet.pth, contentnet.pth, degnet.pth and lrencoder.pth, or 'bicubic'",
                item="--weights",
            ) from error
    return files
