"""Which tile pays, and that none of them shows: the engine with its automatic halo."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.bench.forms import ENGINE_FORMS, TAU
from sdflow.tiling.grid import halo_overhead
from sdflow.worker.charts import drawn_photos
from sdflow.worker.engine import TiledEngine
from sdflow.worker.photo import SCALE, Drawing, Drawn, Photo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdflow.model.calibration import Calibration
    from sdflow.model.sdflow import SDFlow
    from sdflow.work.parameters import Task


@dataclass(frozen=True, slots=True)
class TileRow:
    """One tile in one direction and precision.

    Attributes:
        task: Direction.
        precision: ``fp32`` or ``bf16``.
        tile: Side of a core in LR pixels.
        halo: LR pixels around it, as calibrated.
        overhead: Pixels that a tile amid an image computes for every one that is used.
        computed_px_per_s: LR pixels of windows a second, from pixels to pixels.
        px_per_s: LR pixels that are used, in an image of many tiles.
        seam: Largest difference to the whole image at once, in levels of 255.
    """

    task: Task
    precision: str
    tile: int
    halo: int
    overhead: float
    computed_px_per_s: float
    px_per_s: float
    seam: int


def measure_tiles(
    model: SDFlow, calibration: Calibration, task: Task, tiles: Sequence[int], *, runs: int
) -> list[TileRow]:
    """Draw an image of two by two tiles with every tile, and once whole.

    Args:
        model: On the device where to measure; its calibration is set.
        calibration: That of the model.
        task: Direction.
        tiles: Sides of cores in LR pixels.
        runs: Rounds, each with every tile and precision once.
    """
    halo = calibration.of(task).halo
    model.calibration = calibration
    photos = {tile: _photo(task, tile + tile // 2 + 2 * halo) for tile in tiles}
    engines = {
        (precision, tile): TiledEngine(model, tile=tile, precision=precision)
        for precision in ENGINE_FORMS
        for tile in tiles
    }
    drawn: dict[tuple[str, int], NDArray[Any]] = {}
    seconds: dict[tuple[str, int], list[float]] = {case: [] for case in engines}
    for _ in range(runs):
        for (precision, tile), engine in engines.items():
            started = perf_counter()
            drawn[precision, tile] = _draw(engine, task, photos[tile])
            seconds[precision, tile].append(perf_counter() - started)
    rows = []
    for (precision, tile), image in drawn.items():
        whole = TiledEngine(model, tile=len(photos[tile].pixels), precision=precision)
        seam = np.abs(_draw(whole, task, photos[tile]).astype(int) - image.astype(int)).max()
        rate = 4 * (tile + 2 * halo) ** 2 / median(seconds[precision, tile])
        overhead = halo_overhead(tile, halo)
        rows.append(
            TileRow(task, precision, tile, halo, overhead, rate, rate / overhead, int(seam))
        )
    return rows


def _photo(task: Task, side_lr: int) -> Photo:
    side = side_lr if task == "upscale" else SCALE * side_lr
    return Photo("tiles", drawn_photos(side)[0])


def _draw(engine: TiledEngine, task: Task, photo: Photo) -> NDArray[Any]:
    ((_, drawn),) = engine.draw(Drawing(task, seed=0, tau=TAU, samples=(0,)), [photo])
    if not isinstance(drawn, Drawn):
        raise drawn
    return drawn.samples[0]
