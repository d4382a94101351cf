"""Batches of patches, made ahead by threads and the same however many workers share them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdflow.training.patches import PhotoSetName, draw_patch, stream

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from sdflow.training.photos import PhotoSet
    from sdflow.training.recipe import Recipe

_AHEAD = 3  # batches made while one is computed
_HF_CHANNELS = 45
_CELL_CHANNELS = 12


@dataclass(frozen=True, slots=True)
class Batch:
    """What one worker sees in one step; all draws of the step are in it.

    Attributes:
        hr: Clean photos (B, 3, P, P), float32 in [-1, 1], dequantised.
        lr: Real LR photos (B, 3, P/4, P/4), unpaired with them, alike.
        hf_noise: Unit-variance noise of the HF flow (B, 45, P/4, P/4).
        deg_noise: That of the degradation flow (B, 12, P/8, P/8).
        grain: Unit-variance noise (B, 3, P/4, P/4) that hardens the anchor.
        share: Uniform numbers (B, 3) in [0, 1): for component, temperature and grain's strength.
        is_anchor: (B,) 1 in every second row, which is upscaled from its bicubic LR image, else 0.
    """

    hr: Tensor
    lr: Tensor
    hf_noise: Tensor
    deg_noise: Tensor
    grain: Tensor
    share: Tensor
    is_anchor: Tensor

    def component(self, count: int) -> Tensor:
        """A component of each sample, int64 (B,), of so many."""
        return (self.share[:, 0] * count).long().clamp(max=count - 1)

    def rows(self, count: int) -> Batch:
        """The first rows alone."""
        return Batch(**{item.name: getattr(self, item.name)[:count] for item in fields(self)})

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The same on another device, in another floating type; channels last."""
        moved = {}
        for item in fields(self):
            tensor = getattr(self, item.name).to(device, dtype, non_blocking=True)
            images = tensor.ndim == 4
            moved[item.name] = (
                tensor.contiguous(memory_format=torch.channels_last) if images else tensor
            )
        return Batch(**moved)


def batches(
    recipe: Recipe,
    hr: PhotoSet,
    lr: PhotoSet,
    *,
    first_step: int,
    rows: range,
    threads: int,
) -> Generator[Batch]:
    """The batches of the steps from ``first_step`` on, one after the other, made ahead.

    Args:
        recipe: Seed, batch and patches.
        hr: Clean photos.
        lr: Real LR photos.
        first_step: Where to begin, counted from 0.
        rows: Rows of the global batch that this worker sees.
        threads: That make patches.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="patches") as pool:
        ahead: deque[list[Future[dict[str, NDArray[Any]]]]] = deque()
        for step in range(first_step, recipe.steps):
            indices = [step * recipe.batch + row for row in rows]
            ahead.append([pool.submit(_row, recipe, hr, lr, index) for index in indices])
            if len(ahead) > _AHEAD:
                yield _collated([future.result() for future in ahead.popleft()])
        while ahead:
            yield _collated([future.result() for future in ahead.popleft()])


def _row(recipe: Recipe, hr: PhotoSet, lr: PhotoSet, index: int) -> dict[str, NDArray[Any]]:
    side = recipe.patch_lr
    rng = stream(recipe.seed, "noise", index)

    def patch(photos: PhotoSet, name: PhotoSetName, size: int) -> NDArray[np.float32]:
        draw = draw_patch(seed=recipe.seed, name=name, count=len(photos), index=index)
        return photos.patch(draw, size).transpose(2, 0, 1)

    return {
        "hr": patch(hr, "hr", recipe.patch),
        "lr": patch(lr, "lr", side),
        "hf_noise": rng.standard_normal((_HF_CHANNELS, side, side), np.float32),
        "deg_noise": rng.standard_normal((_CELL_CHANNELS, side // 2, side // 2), np.float32),
        "grain": rng.standard_normal((3, side, side), np.float32),
        "share": rng.random(3, np.float32),
        "is_anchor": np.array(index % 2 == 0, np.float32),
    }


def _collated(rows: Sequence[dict[str, NDArray[Any]]]) -> Batch:
    return Batch(
        **{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
    )
