"""One step after another."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from sdflow.errors import TrainingError, UsageError
from sdflow.model.config import PRESETS
from sdflow.model.sdflow import SDFlow
from sdflow.training.step import Trainer
from tests.training.runs import small_recipe, some_batches


def _tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    state = trainer.state_dict()
    parts = {name: state[name] for name in ("model", "ema", "discriminators")}
    return {
        f"{part}.{name}": tensor.clone()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def _broken(batch: object) -> object:
    return dataclasses.replace(batch, hr=torch.full_like(batch.hr, math.nan))  # type: ignore[type-var, attr-defined]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("start", ["haar", "random"])
def test_likelihood_falls(start: str, precision: str) -> None:
    recipe = small_recipe(
        steps=24, patch=64, degradation_from=0, backward_from=99, start=start, precision=precision
    )
    trainer = Trainer(recipe)
    reports = [trainer.run_step(batch) for batch in some_batches(recipe)]
    for name in ("bits_hr", "bits_lr"):
        bits = [report.losses[name] for report in reports]
        assert sum(bits[-6:]) < sum(bits[:6])


def test_in_the_last_phase_all_that_can_learn_does() -> None:
    recipe = small_recipe()
    trainer = Trainer(recipe)
    before = _tensors(trainer)
    reports = [trainer.run_step(batch) for batch in some_batches(recipe)]
    after = _tensors(trainer)
    names = [name for name, _ in trainer.model.named_parameters()]
    still = [name for name in names if torch.equal(before[f"model.{name}"], after[f"model.{name}"])]
    assert not still
    judged = [name for name in after if name.startswith("discriminators.")]
    assert all(
        not torch.equal(before[name], after[name]) for name in judged if name.endswith("bias")
    )
    assert {"gan_lr", "gan_hr", "gan_content", "bits_lr", "down_pixel"} <= set(reports[-1].losses)
    assert not any(report.skipped for report in reports)


def test_the_papers_losses_train_too() -> None:
    from sdflow.training.recipe import LossWeights

    recipe = small_recipe(losses=LossWeights(), degradation_from=0)
    trainer = Trainer(recipe)
    reports = [trainer.run_step(batch) for batch in some_batches(recipe)]
    assert "up_pixel" not in reports[0].losses  # no anchor: the backward loss comes later
    assert "up_pixel" in reports[-1].losses
    assert not any(report.skipped for report in reports)


def test_frozen_parts_do_not_move_and_others_do() -> None:
    frozen = ("hr_flow.blocks", "content_flow", "deg_flow")
    recipe = small_recipe()
    trainer = Trainer(recipe)
    batches = some_batches(recipe)
    for batch in batches[:3]:
        trainer.run_step(batch)
    second = Trainer(small_recipe(frozen=frozen))
    second.load_state_dict(trainer.state_dict())
    before = _tensors(second)
    for batch in batches[3:]:
        assert not second.run_step(batch).skipped
    after = _tensors(second)
    for name, _ in second.model.named_parameters():
        is_still = torch.equal(before[f"model.{name}"], after[f"model.{name}"])
        assert is_still == name.startswith(frozen), name


def test_where_nothing_learns_to_upscale_nothing_is_upscaled() -> None:
    names = []
    for frozen in ((), ("hr_flow", "encoder"), ("encoder",)):
        recipe = small_recipe(frozen=frozen)
        trainer = Trainer(recipe)
        reports = [trainer.run_step(batch) for batch in some_batches(recipe)]
        names.append({name for name in reports[-1].losses if name.startswith("up_")})
    assert names[0] == names[2] == {"up_pixel", "up_feature"}
    assert names[1] == set()


def test_a_step_with_nan_changes_nothing_and_is_counted() -> None:
    recipe = small_recipe()
    trainer = Trainer(recipe)
    batches = some_batches(recipe)
    for batch in batches[:4]:
        trainer.run_step(batch)
    before = _tensors(trainer)
    report = trainer.run_step(_broken(batches[4]))  # type: ignore[arg-type]  # a batch
    assert report.skipped
    assert (trainer.step, trainer.skipped) == (5, 1)
    after = _tensors(trainer)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    # The judges' power iterations know weights alone; nothing that learns has moved.
    assert all(name.startswith("discriminators.") and "._" in name for name in changed)
    assert not trainer.run_step(batches[5]).skipped


def test_too_many_in_a_row_end_the_run_with_advice() -> None:
    recipe = small_recipe(max_skipped=2)
    trainer = Trainer(recipe)
    batch = some_batches(recipe)[0]
    trainer.run_step(batch)
    broken = _broken(batch)
    for _ in range(2):
        trainer.run_step(broken)  # type: ignore[arg-type]  # a batch
    with pytest.raises(TrainingError, match=r"3 steps in a row .* resume an earlier checkpoint"):
        trainer.run_step(broken)  # type: ignore[arg-type]  # a batch


def test_an_exploding_log_determinant_is_skipped() -> None:
    recipe = small_recipe()
    trainer = Trainer(recipe)
    batches = some_batches(recipe)
    trainer.run_step(batches[0])
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if name.startswith("hr_flow.blocks") and name.endswith("actnorm.log_scale"):
                parameter.fill_(-20)
    assert trainer.run_step(batches[1]).skipped


def test_the_average_follows_the_weights_by_its_decay() -> None:
    recipe = small_recipe(ema=0.9)
    trainer = Trainer(recipe)
    batches = some_batches(recipe)
    trainer.run_step(batches[0])
    before = _tensors(trainer)
    trainer.run_step(batches[1])
    after = _tensors(trainer)
    decay = recipe.ema_decay(1)
    name = "encoder.conv_in.weight"
    wanted = decay * before[f"ema.{name}"] + (1 - decay) * after[f"model.{name}"]
    torch.testing.assert_close(after[f"ema.{name}"], wanted)
    assert trainer.ema.has_degradation


def test_a_run_begins_with_weights_of_the_same_sizes_alone() -> None:
    recipe = small_recipe()
    first = Trainer(recipe)
    for batch in some_batches(recipe)[:3]:
        first.run_step(batch)
    second = Trainer(recipe)
    second.begin_with(first.ema)
    assert torch.equal(second.model.encoder.conv_in.weight, first.ema.encoder.conv_in.weight)
    with torch.random.fork_rng(devices=()), pytest.raises(UsageError, match="other sizes"):
        second.begin_with(SDFlow(PRESETS["small"]))
    assert not second.run_step(some_batches(recipe)[3]).skipped
