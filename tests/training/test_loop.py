"""A run that stops and goes on."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load as load_safetensors

from sdflow.errors import TrainingError, UsageError
from sdflow.model.checkpoint import decode_weights, rounded_to_half
from sdflow.storage.memory import MemoryStore
from sdflow.training.checkpoints import list_checkpoints, load_checkpoint
from sdflow.training.loop import WEIGHTS_KEY, Cadence, Place, resume, train
from sdflow.training.step import StepReport, Trainer
from tests.training.runs import photo_sets, small_recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdflow.training.recipe import Recipe


@dataclass
class _Seen:
    """What a run told."""

    reports: list[StepReport] = field(default_factory=list)
    grids: dict[int, tuple[int, ...]] = field(default_factory=dict)
    saves: list[int] = field(default_factory=list)

    def stepped(self, report: StepReport) -> None:
        self.reports.append(report)

    def sampled(self, step: int, grid: NDArray[np.uint8]) -> None:
        self.grids[step] = grid.shape

    def saved(self, step: int) -> None:
        self.saves.append(step)


def _leg(
    recipe: Recipe, store: MemoryStore, *, stop_at: int | None = None, may_change: bool = False
) -> tuple[bool, Trainer, _Seen]:
    trainer, seen = Trainer(recipe), _Seen()
    resume(trainer, store, may_change=may_change)
    done = train(
        trainer,
        photo_sets(),
        store,
        seen,
        place=Place(cadence=Cadence(checkpoint=2, keep=2, sample=3)),
        should_stop=lambda: trainer.step == stop_at,
    )
    return done, trainer, seen


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401  # a state's parts
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_stopped_and_resumed_is_bit_for_bit_the_uninterrupted_run(stop_at: int) -> None:
    recipe = small_recipe(precision="bf16")
    done, whole, told = _leg(recipe, MemoryStore())
    assert done
    store = MemoryStore()
    done, _, first = _leg(recipe, store, stop_at=stop_at)
    assert not done
    done, resumed, second = _leg(recipe, store)
    assert done
    assert _same(resumed.state_dict(), whole.state_dict())
    assert first.reports + second.reports == told.reports


def test_checkpoints_are_kept_few_and_samples_are_drawn() -> None:
    recipe, store = small_recipe(), MemoryStore()
    _, trainer, seen = _leg(recipe, store)
    assert seen.saves == [2, 4, 6]
    assert list_checkpoints(store) == [
        "checkpoints/step-00000004.pt",
        "checkpoints/step-00000006.pt",
    ]
    # Bicubic, two temperatures, truth and real LR; a generated LR image as soon as there are such.
    assert seen.grids == {3: (2 * 32, 6 * 32, 3), 6: (2 * 32, 6 * 32, 3)}
    assert _same(load_checkpoint(store, list_checkpoints(store)[-1]), trainer.state_dict())


def test_nothing_is_done_after_the_last_step() -> None:
    recipe, store = small_recipe(), MemoryStore()
    _leg(recipe, store)
    done, _, seen = _leg(recipe, store)
    assert done
    assert not seen.reports


def test_weights_are_the_average_in_half_precision() -> None:
    recipe, store = small_recipe(), MemoryStore()
    _, trainer, _ = _leg(recipe, store)
    data = store.get(WEIGHTS_KEY)
    kinds = {tensor.dtype for tensor in load_safetensors(data).values()}
    assert kinds == {torch.float16, torch.uint8}
    model = decode_weights({WEIGHTS_KEY: data})
    wanted = rounded_to_half(trainer.ema).state_dict()
    assert _same(dict(model.state_dict()), dict(wanted))
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_another_recipe_is_refused_by_name_unless_it_may_change() -> None:
    store = MemoryStore()
    _leg(small_recipe(), store, stop_at=2)
    other = small_recipe(learning_rate=0.5, seed=3)
    with pytest.raises(UsageError, match=r"learning_rate was 0\.001, seed was 0.*--change"):
        _leg(other, store)
    done, trainer, _ = _leg(other, store, may_change=True)
    assert done
    assert trainer.step == 6
    bigger = small_recipe()
    model = type(bigger.model)(**{**bigger.model.to_dict(), "flow_steps": 3})
    with pytest.raises(UsageError, match="other sizes"):
        _leg(small_recipe(model=model), store, may_change=True)


@pytest.mark.parametrize("data", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_named(data: bytes) -> None:
    store = MemoryStore()
    store.put("checkpoints/step-00000002.pt", data)
    with pytest.raises(TrainingError, match=r"step-00000002\.pt .* is damaged: remove it"):
        _leg(small_recipe(), store)


def test_a_file_of_other_tensors_is_no_checkpoint() -> None:
    buffer, store = io.BytesIO(), MemoryStore()
    torch.save({"weight": torch.zeros(1)}, buffer)
    store.put("checkpoints/step-00000002.pt", buffer.getvalue())
    with pytest.raises(TrainingError, match="no checkpoint of a training run"):
        _leg(small_recipe(), store)


def test_rows_are_shared_equally_or_refused() -> None:
    assert [list(Place(rank, 2).rows(4)) for rank in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(UsageError, match="--batch 4 cannot be shared by 3 workers"):
        Place(0, 3).rows(4)
