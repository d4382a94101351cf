"""What goes into an engine and what comes out: pixels and numbers, no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sdflow.geometry import Region, Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdflow.tiling.parts import Part
    from sdflow.work.parameters import Task

SCALE = 4
"""HR pixels per LR pixel along an axis."""


def source_scale(task: Task, scale: int = SCALE) -> int:
    """Source pixels per LR pixel along an axis, of an engine that scales by ``scale``."""
    return 1 if task == "upscale" else scale


def result_scale(task: Task, scale: int = SCALE) -> int:
    """Result pixels per LR pixel along an axis, of an engine that scales by ``scale``."""
    return scale if task == "upscale" else 1


def lr_size(size: Size, task: Task, scale: int = SCALE) -> Size:
    """Size on the LR grid of a source of ``size``; a cell that is not full counts."""
    return size.divided(source_scale(task, scale))


@dataclass(frozen=True, slots=True)
class Drawing:
    """How outputs are drawn: whose noise, how much, and which of them.

    Attributes:
        task: Direction.
        seed: Seed of the job.
        tau: Temperature, 0 to 1.
        samples: 0-based numbers of the outputs.
        deep: Whether outputs are uint16 whatever the source's depth; for ``Drawer`` alone.
        tau_to: Upper end of the range that every image and sample draws its own temperature from,
            ``tau`` being the lower one; None: ``tau`` for all.
        scores: Whether samples come with what they were drawn from; downscaling alone.
    """

    task: Task
    seed: int
    tau: float
    samples: tuple[int, ...]
    deep: bool = False
    tau_to: float | None = None
    scores: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """What pixels are that are not a whole source: the window of one of its parts.

    Attributes:
        size: Of the whole source, in its own pixels.
        part: Which part; one of the engine's ``parts(size, task)``.
    """

    size: Size
    part: Part

    def source(self, task: Task, scale: int = SCALE) -> Region:
        """The part's window in pixels of the source, cut at its border."""
        return _cut(self.part.window.scaled(source_scale(task, scale)), self.size)

    def result(self, task: Task, scale: int = SCALE) -> Region:
        """What is drawn of it: the part's core in pixels of the whole result, without padding."""
        factor = result_scale(task, scale)
        return _cut(self.part.core.scaled(factor), lr_size(self.size, task, scale).scaled(factor))

    def kept(self, task: Task, scale: int = SCALE) -> Region:
        """Where the part's result lies in that of its window."""
        window = self.part.window.scaled(result_scale(task, scale))
        return self.result(task, scale).relative_to(window)


@dataclass(frozen=True, slots=True)
class Photo:
    """A source, or a part's window of one that is too large to be whole in memory.

    Attributes:
        key: Relative to the job's prefix; part of the noise's identity.
        pixels: (H, W, 3) for an engine, 1 to 4 channels for ``Drawer``; uint8 or uint16, sides
            from 1 up.
        within: None where ``pixels`` is the whole source.
    """

    key: str
    pixels: NDArray[Any]
    within: Within | None = None

    @property
    def size(self) -> Size:
        """Of the whole source."""
        return self.within.size if self.within else Size(*self.pixels.shape[:2])

    def source(self, task: Task, scale: int = SCALE) -> Region:
        """Where ``pixels`` lies in the source."""
        return self.within.source(task, scale) if self.within else _all_of(self.size)

    def result(self, task: Task, scale: int = SCALE) -> Region:
        """Where what is drawn lies in the whole result."""
        if self.within:
            return self.within.result(task, scale)
        return _all_of(lr_size(self.size, task, scale).scaled(result_scale(task, scale)))


@dataclass(frozen=True, slots=True)
class Draw:
    """What a sample was drawn from.

    Attributes:
        tau: Its temperature.
        component: Its degradation component, from 0.
        log_prob: Log p(LR image | content of the HR image) in nats on the [-1, 1] scale, of the
            whole image, or a part's core, before it was rounded to levels.
    """

    tau: float
    component: int
    log_prob: float


def joined(draws: tuple[Draw, ...], more: tuple[Draw, ...]) -> tuple[Draw, ...]:
    """What samples were drawn from, of two areas of theirs together; either may be empty."""
    if not draws or not more:
        return draws or more
    return tuple(
        replace(one, log_prob=one.log_prob + other.log_prob)
        for one, other in zip(draws, more, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was made of a photo.

    Attributes:
        samples: One output for each sample asked for, of the source's depth.
        note: What had to be given up for memory; "" if nothing.
        draws: What each sample was drawn from, where that was asked for and there is a network.
    """

    samples: tuple[NDArray[Any], ...]
    note: str = ""
    draws: tuple[Draw, ...] = ()


def _all_of(size: Size) -> Region:
    return Region(0, 0, size.height, size.width)


def _cut(region: Region, size: Size) -> Region:
    """What of a region that begins inside a size lies inside."""
    height, width = size.height - region.y, size.width - region.x
    return Region(region.y, region.x, min(region.height, height), min(region.width, width))
