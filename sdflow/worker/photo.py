"""What goes into an engine and what comes out: pixels and numbers, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdflow.work.parameters import Task


@dataclass(frozen=True, slots=True)
class Drawing:
    """How outputs are drawn: whose noise, how much, and which of them.

    Attributes:
        task: Direction.
        seed: Seed of the job.
        tau: Temperature, 0 to 1.
        samples: 0-based numbers of the outputs.
    """

    task: Task
    seed: int
    tau: float
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Photo:
    """A source.

    Attributes:
        key: Relative to the job's prefix; part of the noise's identity.
        pixels: RGB (H, W, 3), uint8 or uint16, sides from 1 up.
    """

    key: str
    pixels: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was made of a photo.

    Attributes:
        samples: One output for each sample asked for, of the source's depth.
        note: What had to be given up for memory; "" if nothing.
    """

    samples: tuple[NDArray[Any], ...]
    note: str = ""
