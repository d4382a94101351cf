"""Finding the job's weights before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdflow.errors import NotFoundError, WeightsError
from sdflow.storage.location import StoreLocation, open_store

if TYPE_CHECKING:
    from sdflow.storage.location import S3Options
    from sdflow.work.parameters import Task

BICUBIC = "bicubic"


@dataclass(frozen=True, slots=True)
class JobWeights:
    """The weights a job runs with.

    Attributes:
        name: SHA-256 of the weights, or ``bicubic``.
        data: One-file weights to send to workers; None for bicubic.
        tile: Default tile in LR pixels; None for bicubic.
        halo: Default halo in LR pixels; None for bicubic.
        precision: What ``auto`` means.
    """

    name: str
    data: bytes | None = None
    tile: int | None = None
    halo: int | None = None
    precision: str = "fp32"


def find_weights(setting: str, task: Task, options: S3Options) -> JobWeights:
    """Read and check the weights that ``--weights`` names.

    Args:
        setting: ``bicubic``, ``default``, a path or an ``s3://`` address. No trained weights are
            bundled yet, so ``default`` is bicubic.
        task: Direction, whose reach is the default halo.
        options: How to reach S3.

    Raises:
        WeightsError: If they are missing, damaged or of another network.
        StorageError: If the store refuses.
    """
    if setting in (BICUBIC, "default"):
        return JobWeights(BICUBIC)
    from sdflow.model.checkpoint import decode_weights, encode_safetensors, weights_hash
    from sdflow.worker.engine import DEFAULT_TILE_PX

    model = decode_weights(_read(setting, options))
    requirement = getattr(model.config, task)
    step = requirement.multiple_of
    return JobWeights(
        name=weights_hash(model),
        data=encode_safetensors(model),
        tile=DEFAULT_TILE_PX,
        halo=-(-requirement.reach // step) * step,
    )


def _read(setting: str, options: S3Options) -> dict[str, bytes]:
    from sdflow.model.checkpoint import weight_files

    folder = setting
    if setting.endswith(".safetensors"):
        head, slash, _ = setting.rpartition("/")
        folder = head or slash or "."
    store = open_store(StoreLocation(folder, options))
    files = {}
    for name in weight_files(setting):
        try:
            files[name] = store.get(name)
        except NotFoundError as error:
            raise WeightsError(
                f"--weights {setting}: {error}; give a .safetensors file, a folder with "
                "hrnet.pth, contentnet.pth, degnet.pth and lrencoder.pth, or 'bicubic'",
                item="--weights",
            ) from error
    return files
