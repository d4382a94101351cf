"""The run of one worker: step after step, with checkpoints to go on from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sdflow.errors import UsageError, WeightsError
from sdflow.model.checkpoint import encode_safetensors, rounded_to_half
from sdflow.training.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from sdflow.training.dataset import batches
from sdflow.training.grid import sample_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sdflow.model.sdflow import SDFlow
    from sdflow.storage.store import Store
    from sdflow.training.photos import PhotoSet
    from sdflow.training.recipe import Recipe
    from sdflow.training.step import StepReport, Trainer

WEIGHTS_KEY = "weights.safetensors"
"""Where a run keeps the average of its weights, in half precision, as of its last checkpoint."""


class Watcher(Protocol):
    """Told what happens."""

    def stepped(self, report: StepReport) -> None:
        """After every step."""

    def sampled(self, step: int, grid: NDArray[np.uint8]) -> None:
        """With a picture (H, W, 3) of what the averaged weights make."""

    def saved(self, step: int) -> None:
        """After a checkpoint is durable."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often things happen, in steps.

    Attributes:
        checkpoint: Between checkpoints.
        keep: Checkpoints that are kept.
        sample: Between sample grids.
    """

    checkpoint: int = 500
    keep: int = 3
    sample: int = 500


@dataclass(frozen=True, slots=True)
class Place:
    """A worker among all, and how often it does what only the first does.

    Attributes:
        rank: Its number, from 0.
        count: How many there are.
        threads: That cut patches for it.
        cadence: How often to save and sample.
    """

    rank: int = 0
    count: int = 1
    threads: int = 2
    cadence: Cadence = Cadence()

    def rows(self, batch: int) -> range:
        """Its rows of the global batch.

        Raises:
            UsageError: If the batch cannot be shared equally.
        """
        if batch % self.count:
            raise UsageError(
                f"--batch {batch} cannot be shared by {self.count} workers", item="--batch"
            )
        share = batch // self.count
        return range(self.rank * share, (self.rank + 1) * share)


def resume(trainer: Trainer, store: Store, *, may_change: bool = False) -> int:
    """Go on from the newest checkpoint, if there is one; returns the steps done.

    Args:
        trainer: A fresh one.
        store: Of the run.
        may_change: Accept a recipe that differs from the one the run was begun with.

    Raises:
        UsageError: If it differs, naming what, or belongs to networks of other sizes.
        TrainingError: If the checkpoint is damaged.
    """
    state = find_state(trainer.recipe, store, may_change=may_change)
    if state is not None:
        trainer.load_state_dict(state)
    return trainer.step


def find_state(recipe: Recipe, store: Store, *, may_change: bool) -> dict[str, Any] | None:
    """The newest checkpoint, if there is one that this recipe can go on from.

    Raises:
        UsageError: As :func:`resume`.
        TrainingError: Likewise.
    """
    found = list_checkpoints(store)
    if not found:
        return None
    state = load_checkpoint(store, found[-1])
    _check_recipe(state["recipe"], recipe, may_change=may_change)
    return state


def train(
    trainer: Trainer,
    photos: Mapping[str, PhotoSet],
    store: Store,
    watcher: Watcher | None,
    *,
    place: Place,
    should_stop: Callable[[], bool],
) -> bool:
    """Train to the end of the recipe, or until told to stop; a checkpoint is left in both cases.

    Args:
        trainer: After :func:`resume`.
        photos: The sets ``hr`` and ``lr``.
        store: Of the run.
        watcher: Told what happens; None on all workers but that of rank 0, which writes.
        place: Of this worker among all.
        should_stop: Asked after every step; alike on all workers.

    Returns:
        Whether the recipe's last step is done.

    Raises:
        TrainingError: If too many steps in a row had no usable gradient.
        StorageError: If the store refuses a checkpoint.
    """
    recipe, cadence = trainer.recipe, place.cadence
    stream = batches(
        recipe,
        photos["hr"],
        photos["lr"],
        first_step=trainer.step,
        rows=place.rows(recipe.batch),
        threads=place.threads,
    )
    for batch in stream:
        report = trainer.run_step(batch)
        done, stops = trainer.step, should_stop() or trainer.step == recipe.steps
        if watcher is not None:
            watcher.stepped(report)
            is_due = done % cadence.sample == 0 or done == recipe.steps
            if is_due and done > trainer.skipped:
                watcher.sampled(done, sample_grid(trainer.ema, batch, recipe))
            if done % cadence.checkpoint == 0 or stops:
                save_checkpoint(store, trainer.state_dict(), keep=cadence.keep)
                store.put(WEIGHTS_KEY, _exported(trainer.ema))
                watcher.saved(done)
        if stops:
            break
    stream.close()
    return trainer.step >= recipe.steps


def _exported(model: SDFlow) -> bytes:
    """In half precision, but for weights that it cannot hold."""
    try:
        return encode_safetensors(rounded_to_half(model))
    except WeightsError:
        return encode_safetensors(model)


def _check_recipe(recorded: Mapping[str, Any], recipe: Recipe, *, may_change: bool) -> None:
    wanted = recipe.to_dict()
    if recorded["model"] != wanted["model"]:
        raise UsageError(
            "the run in DST is of networks of other sizes: use another DST", item="DST"
        )
    wanted, recorded = ({**one, **one["losses"]} for one in (wanted, recorded))
    odd = [name for name in wanted if name != "losses" and recorded.get(name) != wanted[name]]
    if odd and not may_change:
        named = ", ".join(f"{name} was {recorded.get(name)}" for name in sorted(odd))
        raise UsageError(
            f"the run in DST was begun with other settings ({named}): give those, or --change to "
            "go on with the new ones",
            item="--change",
        )
