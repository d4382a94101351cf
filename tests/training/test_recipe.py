"""Recipes and the settings that make them."""

from __future__ import annotations

import dataclasses

import pytest

from sdflow.config import load_target_settings
from sdflow.errors import UsageError
from sdflow.model.config import PAPER
from sdflow.training.recipe import RECIPES, LossWeights, Recipe
from sdflow.training.settings import TrainSettings

_PLACES = {"dst": "run", "hr": "hr", "lr": "lr"}


def _settings(**flags: object) -> TrainSettings:
    return load_target_settings(TrainSettings, {**_PLACES, **flags})


def test_the_default_is_the_papers_recipe() -> None:
    recipe = _settings().recipe()
    assert recipe == Recipe() == RECIPES["paper"]
    assert recipe.model == PAPER
    assert (recipe.batch, recipe.patch, recipe.patch_lr) == (32, 192, 48)
    assert (recipe.learning_rate, recipe.backward_from, recipe.ema) == (1e-4, 50_000, 0.999)


def test_flags_replace_what_the_preset_says() -> None:
    recipe = _settings(preset="small", steps="700", loss=("gan_hr=0.5", "nll=1")).recipe()
    small = RECIPES["small"]
    losses = dataclasses.replace(small.losses, gan_hr=0.5, nll=1.0)
    assert recipe == dataclasses.replace(small, steps=700, losses=losses)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"loss": ("gan_hr",)}, "--loss gan_hr: expected NAME=FACTOR"),
        ({"loss": ("gann=1",)}, "--loss gann=1: the terms are nll, content"),
        ({"loss": ("nll=-1",)}, "loss weight nll is below 0"),
        ({"loss": ("nll=nan",)}, "loss weight nll is below 0 or infinite"),
        ({"frozen": ("decoder",)}, "--frozen: hr_flow, content_flow"),
        (
            {"frozen": ("hr_flow", "content_flow", "deg_flow", "encoder")},
            "--frozen: nothing is left to learn",
        ),
        ({"patch": "100"}, "--patch 100: multiples of 8"),
        ({"steps": "0"}, "--steps"),
        ({"preset": "huge"}, "--preset"),
        ({"learning_rate": "0"}, "--learning-rate"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(flags: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        _settings(**flags).recipe()


def test_the_environment_and_a_file_set_what_flags_do_not(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path_factory.mktemp("settings") / "train.yaml"
    path.write_text("preset: small\nbatch: 4\nseed: 7\n", encoding="utf-8")
    monkeypatch.setenv("SDFLOW_BATCH", "6")
    recipe = _settings(config=str(path), seed="8").recipe()
    assert (recipe.batch, recipe.seed, recipe.model) == (6, 8, RECIPES["small"].model)


def test_the_rate_is_halved_at_the_papers_shares_of_the_steps() -> None:
    recipe = Recipe(steps=1000)
    factors = [recipe.rate_factor(step) for step in (0, 499, 500, 749, 750, 900, 950, 999)]
    assert factors == [1, 1, 0.5, 0.5, 0.25, 0.125, 0.0625, 0.0625]


def test_the_rate_rises_during_the_warm_up() -> None:
    recipe = Recipe(steps=1000, warmup=4)
    assert [recipe.rate_factor(step) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1, 1]


def test_an_average_forgets_its_beginning() -> None:
    recipe = Recipe()
    decays = [recipe.ema_decay(step) for step in (0, 90, 10**6)]
    assert decays[0] == 0.1
    assert decays == sorted(decays)
    assert decays[-1] == recipe.ema


def test_a_recipe_is_stored_whole() -> None:
    stored = RECIPES["small"].to_dict()
    assert set(stored) == {item.name for item in dataclasses.fields(Recipe)}
    assert stored["losses"] == dataclasses.asdict(RECIPES["small"].losses)
    assert LossWeights(**stored["losses"]) == RECIPES["small"].losses
