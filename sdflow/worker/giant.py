"""One image that is done in parts: where its parts lie, in the source and in the result."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from sdflow.geometry import Region, Size
from sdflow.images.bands import Bands
from sdflow.images.orientation import stored_region
from sdflow.worker.photo import Within, lr_size, result_scale, source_scale

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.images.formats import Pixels
    from sdflow.tiling.parts import Part
    from sdflow.work.parameters import Task
    from sdflow.worker.scratch import GiantRecord, Scratch


def drawn_size(source: Size, task: Task, scale: int) -> Size:
    """Size of what is drawn of a source."""
    return lr_size(source, task, scale).scaled(result_scale(task, scale))


@dataclass(frozen=True, eq=False)
class Giant:
    """An image on its way through its parts.

    Attributes:
        scratch: What is kept of it.
        record: What it is.
        parts: All of them, by number.
        task: Direction.
        scale: HR pixels per LR pixel along an axis.
        is_deep: Whether it is drawn in 16 bits whatever its depth.
    """

    scratch: Scratch
    record: GiantRecord
    parts: tuple[Part, ...]
    task: Task
    scale: int
    is_deep: bool

    @cached_property
    def size(self) -> Size:
        """Size of what is drawn."""
        return drawn_size(self.record.size, self.task, self.scale)

    @cached_property
    def layout(self) -> str:
        """A name for where its parts lie: another version may cut in another way."""
        places = repr([(part.core, self.window(part)) for part in self.parts])
        return hashlib.sha256(places.encode()).hexdigest()[:16]

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Type of what is drawn."""
        return np.dtype(np.uint16) if self.is_deep else self.record.dtype

    def drawn(self, rows: Iterable[Pixels]) -> Bands:
        """What is drawn, from top to bottom."""
        return Bands(rows, self.size, self.record.num_bands, self.dtype)

    def within(self, part: Part) -> Within:
        """A part's place in the upright source."""
        return Within(self.record.size, part)

    def window(self, part: Part) -> Region:
        """Where the source pixels are stored that a part needs."""
        upright = self.within(part).source(self.task, self.scale)
        return stored_region(upright, self.record.stored, self.record.orientation)

    def core_px(self, part: Part) -> int:
        """Source pixels that are a part's alone."""
        whole = Region(0, 0, self.record.size.height, self.record.size.width)
        core = part.core.scaled(source_scale(self.task, self.scale)).intersection(whole)
        return core.size.pixels if core else 0

    def result(self, part: Part) -> Region:
        """Where a part's result lies in what is drawn."""
        return self.within(part).result(self.task, self.scale)
