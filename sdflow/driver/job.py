"""The job's own folder: what it was started with, what is done, how it ended."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sdflow import __version__
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.driver.record import read_record
from sdflow.errors import AlreadyExistsError, UnsupportedError, UsageError
from sdflow.storage import keys
from sdflow.telemetry import utc_now
from sdflow.tiling.grid import blend_overlap
from sdflow.work.parameters import PairParameters, PixelParameters
from sdflow.worker.photo import SCALE

if TYPE_CHECKING:
    from sdflow.config import JobSettings
    from sdflow.driver.weights import JobWeights
    from sdflow.storage.store import Store
    from sdflow.work.parameters import JobTask

_PACKAGES = ("ray", "torch", "numpy", "pillow", "boto3")


def open_job(
    task: JobTask,
    settings: JobSettings,
    weights: JobWeights,
    *,
    source: Store,
    target: Store,
    failed_only: bool = False,
) -> PixelParameters:
    """Take possession of a destination, or take up the job that is there.

    Tile, halo and precision that are not given are those of the job that is there, else what suits
    the weights and the devices.

    Args:
        task: What the job does.
        settings: What the job is told.
        weights: What ``settings`` name.
        source: Where the sources are.
        target: Where results go.
        failed_only: Dead letters of the job that is there are done, and nothing else may change.

    Returns:
        What the job's pixels depend on, resolved.

    Raises:
        UsageError: If another job is there and ``--redo`` was not given; names what differs.
        StorageError: If the destination cannot be read or written.
    """
    recorded = read_record(target)
    before = recorded.parameters if recorded else {}
    parameters = _resolve(task, settings, weights, before)
    record = _record(settings, parameters, source)
    if recorded is None:
        try:
            target.put_if_absent(keys.JOB_KEY, record)
        except AlreadyExistsError:  # another driver was faster
            return open_job(task, settings, weights, source=source, target=target)
        except UnsupportedError:
            target.put(keys.JOB_KEY, record)
        return parameters
    differences = parameters.differences(before)
    if recorded.source != source.url:
        differences.append(f"SRC: {recorded.source} there, now {source.url}")
    if not differences:
        return parameters
    if not settings.redo or settings.join or failed_only:
        remedy = "choose another DST, or give --redo to do again what they change"
        if settings.join:
            remedy = "--join shares the job as it is"
        if failed_only:
            remedy = "a retry needs the job's own: name them with --weights"
        raise UsageError(
            f"{target.url} holds a job with other settings ({'; '.join(differences)}): {remedy}",
            item="--redo",
        )
    target.put(keys.JOB_KEY, record)
    return parameters


def _resolve(
    task: JobTask, settings: JobSettings, weights: JobWeights, before: dict[str, Any]
) -> PixelParameters:
    if task != "upscale" and settings.outscale != SCALE:
        raise UsageError(
            f"--outscale is for upscale, {task} always divides by 4", item="--outscale"
        )
    tiled = weights.data is not None
    if before.get("weights") != weights.name:
        before = {}  # what suited other weights may show seams with these
    tile = settings.tile or before.get("tile") or weights.tile
    halo = settings.halo if settings.halo is not None else before.get("halo")
    halo = weights.halo if halo is None else halo
    # A calibration that came or went since is no reason to cut the same halo in another way.
    overlap = before.get("overlap") if before.get("halo") == halo else None
    if overlap is None:
        overlap = blend_overlap(halo or 0, weights.halo or 0)
    # Another machine would choose for itself: a job goes on as it began.
    begun = before.get("precision") if settings.precision == "auto" else None
    return PixelParameters(
        task=task,
        weights=weights.name,
        tau=settings.tau,
        seed=settings.seed,
        samples=settings.samples,
        outscale=settings.outscale,
        format=settings.format,
        quality=settings.quality,
        metadata=settings.metadata,
        tiff_pyramid=settings.tiff_pyramid,
        precision=begun or weights.precision,
        tile=tile if tiled else None,
        halo=halo if tiled else None,
        overlap=overlap if tiled else None,
        pairs=_pairs(settings),
    )


def _pairs(settings: JobSettings) -> PairParameters | None:
    if not isinstance(settings, DegradeSettings):
        return None
    return PairParameters(
        layout=settings.layout,
        tau_to=settings.tau if settings.tau_to is None else settings.tau_to,
        crop=settings.crop,
        stride=settings.stride,
        min_texture=settings.min_texture,
        depth=8 if settings.depth == "8" else "keep",
    )


def _record(settings: JobSettings, parameters: PixelParameters, source: Store) -> bytes:
    """``job.json``: no credential is a setting, so none can get in."""
    record = {
        "created": utc_now(),
        "source": source.url,
        "parameters": asdict(parameters),
        "settings": settings.model_dump(mode="json"),
        "versions": {
            "sdflow": __version__,
            "python": sys.version.split()[0],
            **{package: version(package) for package in _PACKAGES},
        },
    }
    return json.dumps(record, indent=2).encode() + b"\n"
