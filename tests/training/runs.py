"""Runs so small that a test can afford some."""

from __future__ import annotations

import dataclasses
from typing import Any

from sdflow.training.dataset import Batch, batches
from sdflow.training.photos import PhotoSet
from sdflow.training.recipe import RECIPES, Recipe
from tests.training.pictures import drawn_photo


def small_recipe(**changes: Any) -> Recipe:  # noqa: ANN401  # fields of a recipe
    """Every phase within six steps."""
    phases = {"warmup": 2, "degradation_from": 1, "backward_from": 2, "gan_from": 3}
    sizes = {"steps": 6, "batch": 2, "patch": 32}
    return dataclasses.replace(RECIPES["tiny-test"], **{**phases, **sizes, **changes})


def photo_sets(count: int = 6) -> dict[str, PhotoSet]:
    """Clean photos, and noisier small ones of other things."""

    def complain(name: str, error: Exception) -> None:
        raise AssertionError((name, error))

    names = [str(index) for index in range(count)]
    return {
        "hr": PhotoSet(names, lambda name: drawn_photo(int(name), 64), complain=complain),
        "lr": PhotoSet(
            names, lambda name: drawn_photo(100 + int(name), 24, grain=8), complain=complain
        ),
    }


def some_batches(recipe: Recipe, *, first_step: int = 0, rows: range | None = None) -> list[Batch]:
    """All batches of a run from a step on."""
    sets = photo_sets()
    rows = rows or range(recipe.batch)
    return list(
        batches(recipe, sets["hr"], sets["lr"], first_step=first_step, rows=rows, threads=2)
    )
