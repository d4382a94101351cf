"""Batches, whoever makes them."""

from __future__ import annotations

from dataclasses import fields

import torch

from sdflow.training.dataset import Batch
from tests.training.runs import small_recipe, some_batches


def _tensors(batch: Batch) -> list[torch.Tensor]:
    return [getattr(batch, item.name) for item in fields(batch)]


def test_there_is_a_batch_for_every_step_of_the_sizes_that_the_networks_want() -> None:
    recipe = small_recipe(steps=5, batch=3, patch=48)
    found = some_batches(recipe)
    assert len(found) == 5
    assert found[0].hr.shape == (3, 3, 48, 48)
    assert found[0].lr.shape == (3, 3, 12, 12)
    assert found[0].hf_noise.shape == (3, 45, 12, 12)
    assert found[0].deg_noise.shape == (3, 12, 6, 6)
    assert all(tensor.isfinite().all() for batch in found for tensor in _tensors(batch))


def test_two_workers_see_together_what_one_sees() -> None:
    recipe = small_recipe(batch=4, steps=3)
    whole = some_batches(recipe)
    halves = [some_batches(recipe, rows=rows) for rows in (range(2), range(2, 4))]
    for batch, *shares in zip(whole, *halves, strict=True):
        for tensor, *parts in zip(_tensors(batch), *map(_tensors, shares), strict=True):
            assert torch.equal(tensor, torch.cat(parts))


def test_a_resumed_run_sees_what_the_uninterrupted_one_sees() -> None:
    recipe = small_recipe()
    for batch, again in zip(
        some_batches(recipe)[4:], some_batches(recipe, first_step=4), strict=True
    ):
        assert all(map(torch.equal, _tensors(batch), _tensors(again)))


def test_steps_and_rows_differ() -> None:
    one, two = some_batches(small_recipe(steps=2))
    assert not torch.equal(one.hr, two.hr)
    assert not torch.equal(one.hf_noise[0], one.hf_noise[1])


def test_every_second_row_is_an_anchor() -> None:
    batch = some_batches(small_recipe(batch=4))[0]
    assert batch.is_anchor.tolist() == [1, 0, 1, 0]
