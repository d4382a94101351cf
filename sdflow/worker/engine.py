"""Images of any size in, images out: tiles, batches, and what to do when memory or numbers fail."""

from __future__ import annotations

import os
from itertools import groupby, repeat
from typing import TYPE_CHECKING, Any

import torch

from sdflow.errors import SdflowError, UsageError
from sdflow.worker.assembly import Assembly
from sdflow.worker.limits import Limits
from sdflow.worker.network import Network, TileResult, TileWork
from sdflow.worker.photo import SCALE, Drawing, Drawn, Photo, joined, result_scale
from sdflow.worker.planning import Plan, Planner
from sdflow.worker.precision import PRECISIONS, resolve_precision
from sdflow.worker.runner import TileRunner
from sdflow.worker.scoring import plan_counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sdflow.geometry import Size
    from sdflow.model.sdflow import SDFlow
    from sdflow.tiling.parts import Part
    from sdflow.work.parameters import Task
    from sdflow.worker.photo import Draw

DEFAULT_TILE_PX = {"cpu": 256, "cuda": 512}
"""Side of a tile's core: on a CPU what ``sdflow bench --tiles`` shows to pay, halo included, at a
gigabyte or so of memory; on a GPU a guess until that has run there."""

BATCH_PX = {"cpu": 1 << 15, "cuda": 1 << 20}
"""LR pixels beyond which a batch gains nothing."""


class TiledEngine:
    """Runs a model over images of any size; the network never sees more than a batch of tiles.

    An image is cut into tiles of one size, each with a halo of real neighbouring pixels. With the
    default halo (the one the weights were calibrated with, else the network's reach) the result
    equals that of the whole image at once; with a smaller one neighbouring tiles are blended. Noise
    and degradation component depend on the seed, the key and the sample alone, and no bit on who
    shares a batch, so the same call gives the same pixels on any worker.

    Where memory runs out the engine steps back (``Limits``) and goes on with the tile at hand.
    Where the network gives NaN or infinity in half precision, the tile is done again in float32.

    Attributes:
        scale: HR pixels per LR pixel along an axis.

    Args:
        model: The model, on the device where it shall run.
        tile: Side of a tile's core in LR pixels; None chooses.
        halo: Neighbouring LR pixels around a core; None chooses.
        overlap: LR pixels over which neighbours are blended; None: some where ``halo`` is smaller
            than the weights need, else none.
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``: bf16 where the device has it and the
            weights were calibrated to lose less than 45 dB by it.
        limits: What is known to fit; None for no limits yet.

    Raises:
        UsageError: If tile, halo or precision cannot be used.
    """

    scale = SCALE

    def __init__(  # the settings of a job, all but one with a default
        self,
        model: SDFlow,
        tile: int | None = None,
        halo: int | None = None,
        precision: str = "fp32",
        *,
        overlap: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        if tile is not None and tile < 1:
            raise UsageError(f"tile must be at least 1 LR pixel, not {tile}", item="--tile")
        if halo is not None and halo < 0:
            raise UsageError(f"halo must not be negative, not {halo}", item="--halo")
        network = Network(model)
        self._planner = Planner(
            model,
            tile=tile or DEFAULT_TILE_PX.get(network.device.type, DEFAULT_TILE_PX["cpu"]),
            halo=halo,
            overlap=overlap,
        )
        self._runner = TileRunner(
            network,
            resolve_precision(precision, model.calibration, network.device),
            limits or Limits(_batch_px(model, network.device)),
            self._planner.pieces,
        )

    @property
    def limits(self) -> Limits:
        """What is known to fit by now."""
        return self._runner.limits

    @property
    def batch_px(self) -> int:
        """LR pixels that are worth computing together."""
        return self._runner.limits.batch_px

    def parts(self, size: Size, task: Task, *, pixel_bytes: int = 3) -> tuple[Part, ...]:
        """Cut a source that is too large for memory into parts that are drawn apart.

        The result of every part is, bit for bit, what it is in the result of the whole source.

        Args:
            size: Of the source, in its own pixels.
            task: Direction.
            pixel_bytes: Of a pixel; deeper ones make smaller parts.
        """
        return self._planner.parts(size, task, pixel_bytes=pixel_bytes)

    def upscale(
        self, image: NDArray[Any], *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> NDArray[Any]:
        """Draw a four times larger image.

        Args:
            image: RGB pixels (H, W, 3), uint8 or uint16, sides from 1 up.
            key: Source key relative to the job's prefix; part of the noise's identity.
            seed: Seed of the job.
            tau: Temperature, 0 to 1.
            sample: 0-based number of the output.

        Returns:
            RGB pixels (4H, 4W, 3) of the same depth.

        Raises:
            NonFiniteError: If the network gives NaN or infinity.
            OutOfMemoryError: If not even one small tile fits.
            ValueError: If ``image`` or ``tau`` is not as above.
        """
        return self._one(Drawing("upscale", seed, tau, (sample,)), Photo(key, image))

    def downscale(
        self, image: NDArray[Any], *, key: str, seed: int = 0, tau: float = 0.8, sample: int = 0
    ) -> NDArray[Any]:
        """Draw a realistic image of a quarter of the size.

        Args:
            image: RGB pixels (H, W, 3), uint8 or uint16, sides from 1 up.
            key: Source key relative to the job's prefix; part of the noise's identity.
            seed: Seed of the job.
            tau: Temperature, 0 to 1.
            sample: 0-based number of the output.

        Returns:
            RGB pixels (ceil(H / 4), ceil(W / 4), 3) of the same depth.

        Raises:
            NonFiniteError: If the network gives NaN or infinity.
            OutOfMemoryError: If not even one small tile fits.
            ValueError: If ``image`` or ``tau`` is not as above.
        """
        return self._one(Drawing("downscale", seed, tau, (sample,)), Photo(key, image))

    def draw(
        self, drawing: Drawing, photos: Sequence[Photo]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        """Draw outputs of several photos; tiles of equal size go through the network together.

        Args:
            drawing: Direction, temperature, and which samples of every photo.
            photos: The sources, whole or in parts.

        Yields:
            Index of a photo and its outputs, or the error that is its alone, in any order. Of a
            part the outputs are its core.

        Raises:
            ValueError: If a photo or the temperature is not as ``upscale`` asks, or likelihoods
                of upscaled photos are asked for.
        """
        _check(drawing)
        plans = [self._planner.plan(photo, drawing.task) for photo in photos]

        def batch_kind(index: int) -> tuple[int, ...]:
            depth = photos[index].pixels.dtype.itemsize  # pixels of one depth alone stack up
            return (*plans[index].window_shape, plans[index].grid.overlap, depth)

        order = sorted(range(len(photos)), key=batch_kind)
        for _, group in groupby(order, key=batch_kind):
            yield from self._draw_group(drawing, photos, plans, list(group))

    def _one(self, drawing: Drawing, photo: Photo) -> NDArray[Any]:
        ((_, drawn),) = self.draw(drawing, [photo])
        if isinstance(drawn, SdflowError):
            raise drawn
        return drawn.samples[0]

    def _draw_group(
        self, drawing: Drawing, photos: Sequence[Photo], plans: Sequence[Plan], indices: list[int]
    ) -> Iterator[tuple[int, Drawn | SdflowError]]:
        queue = [
            (index, work)
            for index in indices
            for work in _works(photos[index], plans[index], drawing)
        ]
        last = {index: number for number, (index, _) in enumerate(queue)}
        scale = result_scale(drawing.task)
        outputs: dict[int, list[Assembly]] = {}
        draws: dict[int, tuple[Draw, ...]] = {}
        failed: dict[int, SdflowError] = {}
        as_pixels = not plans[indices[0]].grid.overlap
        for number, (index, work, result) in enumerate(self._results(queue, drawing, as_pixels)):
            if index not in outputs:
                outputs[index] = [
                    Assembly(plans[index], work.image.dtype, scale=scale) for _ in drawing.samples
                ]
            if isinstance(result, SdflowError):
                failed[index] = result
            if index not in failed and isinstance(result, TileResult):
                for assembly, core in zip(outputs[index], result.cores, strict=True):
                    assembly.add(work.core, core)
                draws[index] = joined(draws.get(index, ()), result.draws)
            if number == last[index]:
                assemblies = outputs.pop(index)
                done = Drawn(
                    tuple(assembly.pixels for assembly in assemblies),
                    self._runner.limits.note,
                    draws.pop(index, ()),
                )
                yield index, failed.get(index, done)

    def _results(
        self, queue: list[tuple[int, TileWork]], drawing: Drawing, as_pixels: bool
    ) -> Iterator[tuple[int, TileWork, TileResult | SdflowError]]:
        """Results of tiles with equal windows, in order, batch by batch."""
        position = 0
        while position < len(queue):
            count = max(1, self._runner.limits.batch_px // queue[position][1].window.size.pixels)
            batch = queue[position : position + count]
            works = [work for _, work in batch]
            results = self._runner.run(works, drawing, as_pixels=as_pixels)
            for (index, work), result in zip(batch, results, strict=True):
                yield index, work, result
            position += count


def _check(drawing: Drawing) -> None:
    if not 0 <= drawing.tau <= 1:
        raise ValueError(f"tau is a temperature from 0 to 1, got {drawing.tau}")
    if drawing.tau_to is not None and not drawing.tau <= drawing.tau_to <= 1:
        raise ValueError(f"tau_to must be from tau ({drawing.tau}) to 1, got {drawing.tau_to}")
    if drawing.scores and drawing.task != "downscale":
        raise ValueError(f"only downscaling knows how likely its results are, not {drawing.task}")


def _works(photo: Photo, plan: Plan, drawing: Drawing) -> Iterator[TileWork]:
    """The tiles of a photo, in the grid's order."""
    counted = plan_counted(plan) if drawing.scores else repeat(None)
    for tile, region in zip(plan.grid.tiles(), counted, strict=False):  # ``repeat`` has no end
        yield TileWork(photo.pixels, photo.key, tile.window, tile.core, photo.within, region)


def _batch_px(model: SDFlow, device: torch.device) -> int:
    """LR pixels of a batch: as many as pay, and as fit into half of the free memory."""
    if device.type == "cuda":
        free_bytes, _ = torch.cuda.mem_get_info(device)
    else:
        free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fitting = free_bytes // 2 // (4 * model.config.peak_values_per_px)
    return max(1, min(fitting, BATCH_PX.get(device.type, BATCH_PX["cpu"])))
