"""An archive that is never stored: every image is a function of the seed and its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdflow.work.shard import WorkItem

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTHY = "healthy"
POISON = "poison"  # etag of an image that kills whoever computes it
_BLOCK = 1 << 14  # images drawn at a time
_SIGMA_SIZE = 0.6  # of the logarithm of the pixels
_SIGMA_ESTIMATE = 0.2  # of the logarithm of estimated by true pixels


@dataclass(slots=True)
class Archive:
    """Images with lognormal sizes, some of them deadly.

    Attributes:
        images: How many.
        median_px: Median of their pixels.
        poison: Share of deadly ones.
        seed: Chooses the archive.
        num_poison: Deadly ones among those that were listed so far.
        healthy_px: True pixels of the others.
    """

    images: int
    median_px: float
    poison: float
    seed: int
    num_poison: int = 0
    healthy_px: int = 0

    def items(self) -> Iterator[WorkItem]:
        """List the archive: ``key`` is the number, ``size_bytes`` stands for the true pixels."""
        for first in range(0, self.images, _BLOCK):
            counter_based = np.random.Philox(key=self.seed, counter=[0, 0, 0, first // _BLOCK])
            draw = np.random.Generator(counter_based)
            count = min(_BLOCK, self.images - first)
            pixels = self.median_px * np.exp(_SIGMA_SIZE * draw.standard_normal(_BLOCK))
            errors = np.exp(_SIGMA_ESTIMATE * draw.standard_normal(_BLOCK))
            is_deadly = draw.random(_BLOCK)[:count] < self.poison
            true_px = np.maximum(1, pixels[:count]).astype(np.int64)
            estimates = np.maximum(1, true_px * errors[:count]).astype(np.int64)
            self.num_poison += int(is_deadly.sum())
            self.healthy_px += int(true_px[~is_deadly].sum())
            columns = zip(true_px.tolist(), estimates.tolist(), is_deadly.tolist(), strict=True)
            for number, (size, estimate, deadly) in enumerate(columns, first):
                etag = POISON if deadly else HEALTHY
                yield WorkItem(f"{number:09d}", etag, size, False, estimate)
