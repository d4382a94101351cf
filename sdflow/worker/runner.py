"""Batches of tiles through the network, whatever memory and numbers do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from sdflow.errors import NonFiniteError, OutOfMemoryError, SdflowError
from sdflow.worker.limits import Limits, step_back
from sdflow.worker.network import TileResult
from sdflow.worker.photo import joined, result_scale
from sdflow.worker.precision import has_bf16

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sdflow.geometry import Size
    from sdflow.tiling.grid import Grid
    from sdflow.work.parameters import Task
    from sdflow.worker.network import Network, TileWork
    from sdflow.worker.photo import Draw, Drawing

_Result: TypeAlias = TileResult | SdflowError

_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",  # of cuDNN and cuBLAS
    "could not create a primitive",  # oneDNN tells no reason
    "could not execute a primitive",
    "std::bad_alloc",
)


class TileRunner:
    """Runs batches of equal tiles; no result is ever left out or given twice.

    Where memory runs out, ``limits`` steps back for good and the tiles at hand run again under it.
    Where the network gives NaN or infinity in half precision, the tile runs again in float32.

    Args:
        network: The network on its device.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        limits: What is known to fit.
        pieces: Plans smaller tiles of a given side inside a window.
    """

    def __init__(
        self,
        network: Network,
        precision: str,
        limits: Limits,
        pieces: Callable[[Task, Size, int], Grid],
    ) -> None:
        self._network = network
        self._precision = precision
        self._pieces = pieces
        self.limits = limits

    def run(self, works: list[TileWork], drawing: Drawing, *, as_pixels: bool) -> list[_Result]:
        """Run tiles with windows of one size.

        Returns:
            For each tile its result, or the error that is its image's alone.
        """
        window_px = works[0].window.size.pixels
        core = max(max(work.core.height, work.core.width) for work in works)
        if len(works) > 1 and len(works) * window_px > self.limits.batch_px:
            half = (len(works) + 1) // 2
            parts = works[:half], works[half:]
            return [r for part in parts for r in self.run(part, drawing, as_pixels=as_pixels)]
        if self.limits.tile is not None:
            grid = self._pieces(drawing.task, works[0].window.size, self.limits.tile)
            if len(grid.rows) * len(grid.columns) > 1:
                return [self._in_pieces(grid, work, drawing, as_pixels) for work in works]
        try:
            return self._run_checked(works, drawing, as_pixels=as_pixels)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        # Outside of the handler: the exception's traceback would hold the failed batch's tensors.
        if not self._step_back(len(works), window_px, core):
            text = f"memory ran out on a single tile of {core} LR pixels"
            return [OutOfMemoryError(f"{text} of {work.key}", item=work.key) for work in works]
        return self.run(works, drawing, as_pixels=as_pixels)

    def _run_checked(
        self, works: list[TileWork], drawing: Drawing, *, as_pixels: bool
    ) -> list[_Result]:
        def run(some: list[TileWork], precision: str) -> list[TileResult]:
            on_cpu = self.limits.on_cpu
            return self._network.run(
                some, drawing, precision=precision, on_cpu=on_cpu, as_pixels=as_pixels
            )

        precision = "bf16" if self.limits.reduced else self._precision
        checked: list[_Result] = []
        for work, result in zip(works, run(works, precision), strict=True):
            exact = result
            if not all(result.are_finite) and precision != "fp32":
                exact = result.mended(run([work], "fp32")[0])
            text = f"the network gave NaN or infinity for {work.key!r}"
            checked.append(exact if all(exact.are_finite) else NonFiniteError(text, item=work.key))
        return checked

    def _step_back(self, tiles: int, tile_px: int, core: int) -> bool:
        lower = step_back(
            self.limits,
            tiles=tiles,
            tile_px=tile_px,
            core=min(core, self.limits.tile or core),
            can_reduce=self._precision == "fp32"
            and not self.limits.reduced
            and has_bf16(self._network.device),
            can_leave=self._network.device.type != "cpu" and not self.limits.on_cpu,
        )
        if self._network.device.type == "cuda":
            torch.cuda.empty_cache()
        self.limits = lower or self.limits
        return lower is not None

    def _in_pieces(self, grid: Grid, work: TileWork, drawing: Drawing, as_pixels: bool) -> _Result:
        """A tile that is too large for the memory, as smaller ones inside its window."""
        scale = result_scale(drawing.task)
        size = work.core.size.scaled(scale)
        wholes: list[NDArray[Any]] = []
        draws: tuple[Draw, ...] = ()
        for tile in grid.tiles():
            core = tile.core.moved_by(work.window).intersection(work.core)
            if core is None:
                continue
            counted = work.counted and core.intersection(work.counted)
            window = tile.window.moved_by(work.window)
            piece = replace(work, window=window, core=core, counted=counted)
            (result,) = self.run([piece], drawing, as_pixels=as_pixels)
            if isinstance(result, SdflowError):
                return result
            if not wholes:
                wholes = [
                    np.empty((size.height, size.width, 3), part.dtype) for part in result.cores
                ]
            rows, columns = core.relative_to(work.core).scaled(scale).slices
            for whole, part in zip(wholes, result.cores, strict=True):
                whole[rows, columns] = part
            draws = joined(draws, result.draws)
        return TileResult(tuple(wholes), (True,) * len(wholes), draws)


def _is_out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error) for words in _OUT_OF_MEMORY)
