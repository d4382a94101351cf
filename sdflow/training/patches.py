"""Which patches a step sees: a pure function of (seed, set, step, row), whatever the workers.

A row of the global batch is drawn alone, so two workers with half of the rows each see together
what one worker sees, and a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PhotoSetName = Literal["hr", "lr"]

POOL = 256
"""Photos that patches are cut from at a time: a loader that holds them reads none twice."""

_VISITS = 8  # patches cut from a photo before another takes its place in the pool
_STREAMS = {"hr": 1, "lr": 2, "noise": 3, "order-hr": 4, "order-lr": 5}


@dataclass(frozen=True, slots=True)
class PatchDraw:
    """One patch.

    Attributes:
        photo: Index in the set.
        top: Where it begins, as a share of the room there is, in [0, 1).
        left: The same across.
        flip: Whether it is mirrored.
        turns: Quarter turns after that.
        grain: Seed of its dequantisation noise.
    """

    photo: int
    top: float
    left: float
    flip: bool
    turns: int
    grain: int


def draw_patch(*, seed: int, name: PhotoSetName, count: int, index: int) -> PatchDraw:
    """Draw the patch number ``index`` of a run, counted over all steps and rows.

    The photo comes from a pool that slides over an endless shuffled order of the set: every photo
    is read once for several patches, and comes again only after all others.

    Args:
        seed: Of the run.
        name: Which set.
        count: Photos in it.
        index: step * batch + row.
    """
    rng = stream(seed, name, index)
    slot = int(rng.integers(min(POOL, count)))
    position = slot if count <= POOL else index // _VISITS + slot
    epoch, place = divmod(position, count)
    return PatchDraw(
        photo=int(_order(seed, name, count, epoch)[place]),
        top=float(rng.random()),
        left=float(rng.random()),
        flip=bool(rng.integers(2)),
        turns=int(rng.integers(4)),
        grain=int(rng.integers(2**63)),
    )


def stream(seed: int, name: str, index: int) -> np.random.Generator:
    """Random numbers of one row of one step, independent of all others."""
    key = np.array([seed % 2**64, _STREAMS[name]], np.uint64)
    counter = np.array([0, 0, index, 0], np.uint64)  # each row has 2**128 numbers to itself
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@lru_cache(maxsize=4)
def _order(seed: int, name: PhotoSetName, count: int, epoch: int) -> NDArray[np.int64]:
    return stream(seed, f"order-{name}", epoch).permutation(count)
