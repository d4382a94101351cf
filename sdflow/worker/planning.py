"""How images are cut: tiles for the network, parts for images that are too large for memory."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.tiling.grid import Grid, blend_overlap, plan_grid
from sdflow.tiling.parts import Part, plan_parts
from sdflow.worker.photo import lr_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdflow.geometry import Region, Size
    from sdflow.model.config import SizeRequirement
    from sdflow.model.sdflow import SDFlow
    from sdflow.work.parameters import Task
    from sdflow.worker.photo import Photo

PART_PX = MappingProxyType({"upscale": 1 << 20, "downscale": 1 << 19})
"""Most LR pixels of a part: its window and its result together stay below 100 MB in 8-bit RGB."""

BAND_PX = MappingProxyType({"upscale": 1 << 25, "downscale": 1 << 21})
"""Most LR pixels of the full-width band around a part: 100 MB of source in 8-bit RGB."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one photo is drawn.

    Attributes:
        grid: Its tiles, on the LR grid.
        result: What is made of it, in pixels of the whole result.
    """

    grid: Grid
    result: Region

    @property
    def window_shape(self) -> tuple[int, int]:
        """Height and width of every tile's window, in LR pixels."""
        row, column = self.grid.rows[0], self.grid.columns[0]
        return row.stop - row.start, column.stop - column.start


class Planner:
    """Plans what a model's networks can take.

    Args:
        model: Whose size requirements and calibration hold.
        tile: Side of a tile's core in LR pixels.
        halo: Neighbouring LR pixels around a core; None: as many as the weights need.
        overlap: LR pixels over which neighbours are blended; None: some where ``halo`` is smaller
            than the weights need, else none.
    """

    def __init__(self, model: SDFlow, *, tile: int, halo: int | None, overlap: int | None) -> None:
        self._model = model
        self._tile = tile
        self._halo = halo
        self._overlap = overlap

    def plan(self, photo: Photo, task: Task) -> Plan:
        """Plan a photo, whole or part.

        Raises:
            ValueError: If its pixels are not what an engine takes.
        """
        _check(photo.pixels)
        region = photo.source(task)
        if photo.pixels.shape[:2] != (region.height, region.width):
            raise ValueError(f"the pixels {photo.pixels.shape} are not those of {region}")
        grid = photo.within.part.grid if photo.within else self._grid(photo.size, task)
        return Plan(grid, photo.result(task))

    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]:
        """The parts of a source of ``size``, of pixels of so many bytes."""
        grid = self._grid(size, task)
        return image_parts(grid, lr_size(size, task), task, pixel_bytes=pixel_bytes)

    def pieces(self, task: Task, window: Size, tile: int) -> Grid:
        """Plan smaller tiles inside a window that did not fit; its rim is halo already."""
        requirement = self._requirement(task)
        halo = self._needed_halo(task) if self._halo is None else self._halo
        step = requirement.multiple_of
        return plan_grid(
            window,
            tile=_round_up(max(tile, requirement.minimum), step),
            halo=_round_up(halo, step),
            overlap=0,
            multiple_of=step,
        )

    def _grid(self, size: Size, task: Task) -> Grid:
        """Plan tiles on the LR grid, of the size padded to what the network can take."""
        requirement = self._requirement(task)
        step, needed = requirement.multiple_of, self._needed_halo(task)
        halo = needed if self._halo is None else self._halo
        overlap = blend_overlap(halo, needed) if self._overlap is None else self._overlap
        return plan_grid(
            lr_size(size, task).padded_to(multiple_of=step, minimum=requirement.minimum),
            tile=_round_up(max(self._tile, requirement.minimum, 4 * overlap), step),
            halo=_round_up(halo, step),
            overlap=overlap,
            multiple_of=step,
        )

    def _requirement(self, task: Task) -> SizeRequirement:
        config = self._model.config
        return config.upscale if task == "upscale" else config.downscale

    def _needed_halo(self, task: Task) -> int:
        calibration = self._model.calibration
        if calibration is None:
            return self._requirement(task).reach
        return calibration.of(task).halo


def image_parts(grid: Grid, size: Size, task: Task, *, pixel_bytes: int) -> tuple[Part, ...]:
    """Cut a grid into parts of the size that suits a direction.

    Args:
        grid: The tiles of the whole image.
        size: Of the image on the LR grid.
        task: Direction.
        pixel_bytes: Of a source pixel; deeper ones make smaller parts.
    """
    max_px, max_band_px = (3 * most[task] // pixel_bytes for most in (PART_PX, BAND_PX))
    return plan_parts(grid, size, max_px=max_px, max_band_px=max_band_px)


def _check(pixels: NDArray[Any]) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"expected RGB pixels (H, W, 3) of uint8 or uint16, got {pixels.shape} {pixels.dtype}"
        )
    if 0 in pixels.shape:
        raise ValueError(f"the image has no pixels: {pixels.shape}")


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
