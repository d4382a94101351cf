"""The model on a device: images of any size in, images out, tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdflow.errors import NonFiniteError, UsageError
from sdflow.geometry import Region, Size
from sdflow.images.tensor import from_network, read_window, to_network, to_pixels
from sdflow.noise import NoiseKey, component, gaussian_field
from sdflow.tiling.blend import merge_bands
from sdflow.tiling.grid import Grid, Tile, plan_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from sdflow.model.config import SizeRequirement
    from sdflow.model.sdflow import SDFlow

SCALE = 4
DEFAULT_TILE_PX = 512
_BLEND_PX = 8  # shared by neighbouring tiles whose halo is smaller than the network's reach
_PRECISIONS = ("auto", "fp32")


class TiledEngine:
    """Runs a model over images of any size; the network never sees more than a tile.

    An image is cut into tiles, each with a halo of real neighbouring pixels. With the default halo
    (the reach of the network) the result equals that of the whole image at once; with a smaller one
    neighbouring tiles are blended. Noise and degradation component depend on the seed, the key and
    the sample alone, so the same call gives the same pixels on any worker.

    Args:
        model: The model, on the device where it shall run.
        tile: Side of a tile's core in LR pixels; None chooses.
        halo: Neighbouring LR pixels around a core; None takes the network's reach.
        precision: ``fp32`` or ``auto`` (the same for now): the type the model has.

    Raises:
        UsageError: If tile, halo or precision cannot be used.
    """

    def __init__(
        self,
        model: SDFlow,
        tile: int | None = None,
        halo: int | None = None,
        precision: str = "fp32",
    ) -> None:
        if precision not in _PRECISIONS:
            raise UsageError(f"precision {precision!r} is not one of {', '.join(_PRECISIONS)}")
        if tile is not None and tile < 1:
            raise UsageError(f"tile must be at least 1 LR pixel, not {tile}", item="--tile")
        if halo is not None and halo < 0:
            raise UsageError(f"halo must not be negative, not {halo}", item="--halo")
        self._model = model
        self._tile = tile or DEFAULT_TILE_PX
        self._halo = halo
        parameter = next(model.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype

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
            ValueError: If ``image`` or ``tau`` is not as above.
        """
        size = _checked_size(image)
        owner = NoiseKey(seed, key, sample)

        def run(window: Region) -> Tensor:
            lr = self._read(image, window)
            noise = gaussian_field(owner, window, 45, device=self._device)
            return self._model.upscale(lr, tau=tau, noise=noise[None].to(self._dtype))

        grid = self._plan(size, self._model.config.upscale)
        return self._run(grid, run, image, size.scaled(SCALE), scale=SCALE, key=key)

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
            ValueError: If ``image`` or ``tau`` is not as above.
        """
        size = _checked_size(image).divided(SCALE)
        owner = NoiseKey(seed, key, sample)
        kind = component(owner, self._model.config.mixture_components)
        kinds = torch.tensor([kind], device=self._device)

        def run(window: Region) -> Tensor:
            hr = self._read(image, window.scaled(SCALE))
            noise = gaussian_field(owner, window.divided(2), 12, device=self._device)
            noise = noise[None].to(self._dtype)
            return self._model.downscale(hr, tau=tau, noise=noise, component=kinds)

        grid = self._plan(size, self._model.config.downscale)
        return self._run(grid, run, image, size, scale=1, key=key)

    def _plan(self, size_lr: Size, requirement: SizeRequirement) -> Grid:
        """Plan tiles on the LR grid, of the size padded to what the network can take."""
        step = requirement.multiple_of
        halo = requirement.reach if self._halo is None else self._halo
        overlap = 0 if halo >= requirement.reach else _BLEND_PX
        size = size_lr.padded_to(multiple_of=step, minimum=requirement.minimum)
        return plan_grid(
            size,
            tile=_round_up(max(self._tile, requirement.minimum, 2 * overlap), step),
            halo=_round_up(halo, step),
            overlap=overlap,
            multiple_of=step,
        )

    @torch.inference_mode()
    def _run(
        self,
        grid: Grid,
        run: Callable[[Region], Tensor],
        image: NDArray[Any],
        size_out: Size,
        *,
        scale: int,
        key: str,
    ) -> NDArray[Any]:
        def core_of(tile: Tile) -> NDArray[np.float32]:
            result = run(tile.window)
            if not bool(torch.isfinite(result).all()):
                raise NonFiniteError(f"the network gave NaN or infinity for {key!r}", item=key)
            rows, columns = tile.core.relative_to(tile.window).scaled(scale).slices
            return from_network(result[:, :, rows, columns])

        out = np.empty((size_out.height, size_out.width, 3), image.dtype)
        top = 0
        for band in merge_bands(map(core_of, grid.tiles()), grid, scale=scale):
            pixels = to_pixels(band[: size_out.height - top, : size_out.width], image.dtype)
            out[top : top + len(pixels)] = pixels
            top += len(pixels)
        return out

    def _read(self, image: NDArray[Any], window: Region) -> Tensor:
        pixels = read_window(image, window)
        return to_network(pixels, device=self._device, dtype=self._dtype)


def _checked_size(image: NDArray[Any]) -> Size:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"expected RGB pixels (H, W, 3) of uint8 or uint16, got {image.shape} {image.dtype}"
        )
    if 0 in image.shape:
        raise ValueError(f"the image has no pixels: {image.shape}")
    return Size(image.shape[0], image.shape[1])


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
