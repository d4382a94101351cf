"""Batches of patches, made ahead by threads and the same however many workers share them."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdflow.errors import UsageError
from sdflow.training.patches import POOL, PatchDraw, PhotoSetName, draw_patch, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

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


class PhotoSet:
    """Photos by name, the last used of them held in memory.

    Args:
        names: In a fixed order: it decides what a seed means.
        read: Gives RGB pixels (H, W, 3) uint8 of a name; called from several threads.
        hold: How many to hold.

    Raises:
        UsageError: If there are none.
    """

    def __init__(
        self,
        names: Sequence[str],
        read: Callable[[str], NDArray[np.uint8]],
        *,
        hold: int = 2 * POOL,
    ) -> None:
        if not names:
            raise UsageError("no photos to train on")
        self._names = tuple(names)
        self._read = read
        self._hold = hold
        self._held: OrderedDict[int, Future[NDArray[np.uint8]]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """How many photos there are."""
        return len(self._names)

    def patch(self, draw: PatchDraw, side: int) -> NDArray[np.float32]:
        """A patch (side, side, 3) in [-1, 1], each level spread over its width.

        Dequantised values are 2 (v + u) / 255 - 1 with u uniform in [-1/2, 1/2). Photos smaller
        than the patch are continued by reflection.
        """
        pixels = self._photo(draw.photo)
        room = [max(length - side, 0) for length in pixels.shape[:2]]
        top, left = (
            int(share * (r + 1)) for share, r in zip((draw.top, draw.left), room, strict=True)
        )
        patch = pixels[top : top + side, left : left + side]
        missing = [side - length for length in patch.shape[:2]]
        if any(missing):
            patch = np.pad(patch, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
        patch = np.rot90(patch[:, ::-1] if draw.flip else patch, draw.turns)
        noise = np.random.default_rng(draw.grain).random(patch.shape, np.float32)
        return (patch + noise - np.float32(0.5)) * np.float32(2 / 255) - np.float32(1)

    def _photo(self, index: int) -> NDArray[np.uint8]:
        with self._lock:
            held = self._held.get(index)
            if held is not None:
                self._held.move_to_end(index)
            else:
                mine: Future[NDArray[np.uint8]] = Future()
                self._held[index] = mine
                if len(self._held) > self._hold:
                    self._held.popitem(last=False)
        if held is not None:
            return held.result()
        try:
            mine.set_result(self._read(self._names[index]))
        except BaseException as error:
            mine.set_exception(error)
            raise
        return mine.result()


def batches(
    recipe: Recipe,
    hr: PhotoSet,
    lr: PhotoSet,
    *,
    first_step: int,
    rows: range,
    threads: int,
) -> Iterator[Batch]:
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
        waiting: list[list[Future[dict[str, NDArray[Any]]]]] = []
        for step in range(first_step, recipe.steps + _AHEAD):
            if step < recipe.steps:
                indices = [step * recipe.batch + row for row in rows]
                waiting.append([pool.submit(_row, recipe, hr, lr, index) for index in indices])
            if step >= first_step + _AHEAD or step >= recipe.steps:
                if not waiting:
                    return
                yield _collated([future.result() for future in waiting.pop(0)])


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
        "share": rng.random(3),
        "is_anchor": np.float32(index % 2 == 0),
    }


def _collated(rows: Sequence[dict[str, NDArray[Any]]]) -> Batch:
    return Batch(
        **{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}
    )
