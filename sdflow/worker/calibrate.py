"""Measuring what one set of weights needs: the halo, and whether bf16 is good enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sdflow.errors import WeightsError
from sdflow.geometry import Region, Size
from sdflow.model.calibration import Calibration, DirectionCalibration, widest_halo
from sdflow.tiling.grid import halo_overhead
from sdflow.worker.engine import DEFAULT_TILE_PX
from sdflow.worker.network import Network, TileWork
from sdflow.worker.photo import SCALE, Drawing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sdflow.model.config import SizeRequirement
    from sdflow.model.sdflow import SDFlow
    from sdflow.work.parameters import Task

MAX_SEAM = 0.25
"""Levels of 255 that a halo may change: the law says 1, photos not tried take the rest."""

_CORE_PX = 48
_FIRST_HALO_PX = 8
_MAX_DB = 200.0
_HALF_PEAK = 127.5


@dataclass(frozen=True, slots=True)
class _Probe:
    """A core amid an image, and what it is with the whole reach around it."""

    work: TileWork
    expected: NDArray[np.float32]

    def seam(self, result: NDArray[np.float32]) -> float:
        """Levels of 255 by which a result differs; 255 where it has no number."""
        levels = float(np.abs(result - self.expected).max()) * _HALF_PEAK
        return levels if np.isfinite(levels) else 2 * _HALF_PEAK


def measure(
    model: SDFlow, images: Sequence[NDArray[Any]], *, report: Callable[[str], None]
) -> Calibration:
    """Find the smallest halos without seams, and what bf16 does, at temperature 0.8.

    A core of every image runs with the network's whole reach around it in float32, then with
    growing halos, until none differs by more than ``MAX_SEAM`` anywhere. Tiles then show no seam,
    whatever the tile.

    Args:
        model: On the device where to measure.
        images: RGB pixels (H, W, 3), uint8 or uint16; small ones are continued by reflection.
        report: Told a line for every step.

    Raises:
        WeightsError: If the network gives NaN or infinity in float32.
    """
    network = Network(model)
    return Calibration(
        _measure_direction(network, "upscale", model.config.upscale, images, report),
        _measure_direction(network, "downscale", model.config.downscale, images, report),
    )


def candidate_halos(requirement: SizeRequirement) -> list[int]:
    """Halos to try in LR pixels, growing by a quarter or so, the last one the whole reach."""
    step, widest = requirement.multiple_of, widest_halo(requirement)
    halos, halo = [], _FIRST_HALO_PX
    while halo < widest:
        halos.append(halo)
        halo = -(-max(halo + 8, halo * 5 // 4) // (4 * step)) * 4 * step
    return [*halos, widest]


def _measure_direction(
    network: Network,
    task: Task,
    requirement: SizeRequirement,
    images: Sequence[NDArray[Any]],
    report: Callable[[str], None],
) -> DirectionCalibration:
    probes = [
        _probe(network, task, requirement, image, number) for number, image in enumerate(images)
    ]
    widest = widest_halo(requirement)
    found = widest
    for halo in candidate_halos(requirement):
        seam = 0.0
        if halo < widest:
            works = [_with_halo(probe.work, halo) for probe in probes]
            results = [_run(network, task, work, "fp32") for work in works]
            seam = max(map(_Probe.seam, probes, results))
        report(f"{task}: halo {halo} changes {seam:.3f} levels of 255")
        if seam <= MAX_SEAM:
            found = halo
            break
    overhead = ", ".join(
        f"{halo_overhead(tile, found):.2f} x the pixels on {kind} (tile {tile})"
        for kind, tile in DEFAULT_TILE_PX.items()
    )
    report(f"{task}: with a halo of {found} tiles compute {overhead}")
    works = [_with_halo(probe.work, found) for probe in probes]
    halved = [_run(network, task, work, "bf16") for work in works]
    bf16_db = min(
        _psnr_db(_run(network, task, work, "fp32"), half)
        for work, half in zip(works, halved, strict=True)
    )
    wholes = [_Probe(probe.work, _run(network, task, probe.work, "bf16")) for probe in probes]
    bf16_seam = max(map(_Probe.seam, wholes, halved))
    report(
        f"{task}: bf16 is within {bf16_db:.1f} dB of float32, and this halo changes "
        f"{bf16_seam:.3f} levels in it"
    )
    return DirectionCalibration(found, bf16_db, bf16_seam)


def _probe(
    network: Network,
    task: Task,
    requirement: SizeRequirement,
    image: NDArray[Any],
    number: int,
) -> _Probe:
    scale = 1 if task == "upscale" else SCALE
    reach, step = widest_halo(requirement), requirement.multiple_of
    size = Size(image.shape[0] // scale, image.shape[1] // scale)
    # Windows may reach beyond an image: it is continued by reflection, in both runs alike.
    top, left = (max(reach, side // (2 * step) * step) for side in (size.height, size.width))
    core = Region(top, left, _CORE_PX, _CORE_PX)
    work = TileWork(image, f"probe {number}", _grown(core, reach), core)
    return _Probe(work, _run(network, task, work, "fp32"))


def _psnr_db(exact: NDArray[np.float32], half: NDArray[np.float32]) -> float:
    error = float(np.square(exact.astype(np.float64) - half).mean())
    if not np.isfinite(error):
        return 0.0
    return _MAX_DB if error == 0 else min(_MAX_DB, float(10 * np.log10(4 / error)))


def _run(network: Network, task: Task, work: TileWork, precision: str) -> NDArray[np.float32]:
    drawing = Drawing(task, seed=0, tau=0.8, samples=(0,))
    (result,) = network.run([work], drawing, precision=precision, as_pixels=False)
    if not all(result.are_finite):
        if precision == "fp32":
            raise WeightsError(f"these weights give NaN or infinity when they {task} a photo")
        return np.full_like(result.cores[0], np.nan)
    clipped: NDArray[np.float32] = np.clip(result.cores[0], -1, 1)
    return clipped


def _with_halo(work: TileWork, halo: int) -> TileWork:
    return TileWork(work.image, work.key, _grown(work.core, halo), work.core)


def _grown(core: Region, halo: int) -> Region:
    return Region(core.y - halo, core.x - halo, core.height + 2 * halo, core.width + 2 * halo)
