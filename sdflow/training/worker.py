"""One worker of a run, whether alone in this process or one of many under Ray Train."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
import torch

from sdflow.model.checkpoint import decode_weights
from sdflow.storage.location import StoreLocation, open_store
from sdflow.training.features import load_vgg19
from sdflow.training.loop import Cadence, Place, resume, train
from sdflow.training.photos import PhotoSet, read_rgb
from sdflow.training.step import Trainer
from sdflow.training.watch import RunWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sdflow.training.recipe import Recipe

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PhotoPlace:
    """A set of photos: where, and which keys."""

    location: StoreLocation
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its workers are told of it; picklable.

    Attributes:
        recipe: What is computed.
        target: Where its checkpoints are.
        photos: The sets ``hr`` and ``lr``.
        cadence: How often it saves and samples.
        threads: That cut patches, on each worker.
        hold_bytes: Of decoded photos of each set, on each worker.
        max_pixels: Of a photo.
        may_change: Accept another recipe than the one the run was begun with.
        initial: Weights to begin with, one ``.safetensors`` file.
        vgg19: Content of the perceptual net's file.
    """

    recipe: Recipe
    target: StoreLocation
    photos: Mapping[str, PhotoPlace]
    cadence: Cadence
    threads: int
    hold_bytes: int
    max_pixels: int
    may_change: bool = False
    initial: bytes | None = None
    vgg19: bytes | None = None


def work(
    run: Run,
    *,
    device: torch.device | str,
    rank: int = 0,
    count: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Do a worker's part of a run, from its last checkpoint on.

    Args:
        run: What.
        device: Where it computes.
        rank: Of this worker; 0 is the one that writes.
        count: Workers in all; with more than one, torch.distributed connects them.
        should_stop: Asked after every step.

    Returns:
        Whether the recipe's last step is done.
    """
    # What is inverted, and what --precision fp32 means, must not be rounded to TF32.
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # its stub
    store = open_store(run.target)
    place = Place(rank, count, run.threads, run.cadence)
    place.rows(run.recipe.batch)
    phi = load_vgg19(run.vgg19) if run.vgg19 is not None else None
    trainer = Trainer(run.recipe, device=device, phi=phi)
    if run.initial is not None:
        trainer.begin_with(decode_weights({"weights.safetensors": run.initial}))
    done = resume(trainer, store, may_change=run.may_change)
    if done >= run.recipe.steps:
        return True
    photos = {name: _photo_set(run, one) for name, one in run.photos.items()}
    if rank:
        return train(trainer, photos, store, None, place=place, should_stop=should_stop)
    steps, skipped = run.recipe.steps, trainer.skipped
    with RunWatcher(store, steps=steps, done=done, skipped=skipped) as watcher:
        return train(trainer, photos, store, watcher, place=place, should_stop=should_stop)


def _photo_set(run: Run, place: PhotoPlace) -> PhotoSet:
    store = open_store(place.location)

    def complain(key: str, error: Exception) -> None:
        _log.warning("a photo is left out", key=key, place=store.url, message=str(error))

    read = partial(read_rgb, store, max_pixels=run.max_pixels)
    return PhotoSet(place.keys, read, complain=complain, hold_bytes=run.hold_bytes)
