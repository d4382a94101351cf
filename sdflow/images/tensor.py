"""Between pixel arrays (H, W, C) and network tensors (B, C, H, W) in [-1, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdflow.geometry import Region

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from torch import Tensor

    from sdflow.geometry import Size


def read_window(
    image: NDArray[Any],
    region: Region,
    *,
    held: Region | None = None,
    size: Size | None = None,
) -> NDArray[Any]:
    """Cut a window out of (H, W, C) pixels; beyond the border the image is reflected.

    Reflection does not repeat the border pixel; a side of one pixel is replicated. The window may
    be larger than the image.

    Args:
        image: The image, or ``held`` of it.
        region: The window, on the grid of the whole image.
        held: Where ``image`` lies in the whole image; None where it is the whole.
        size: Of the whole image, where ``image`` is not.

    Returns:
        (region.height, region.width, C); a view where nothing is reflected.

    Raises:
        ValueError: If the window needs pixels of the image that lie before those held.
        IndexError: If it needs some that lie behind them.
    """
    height, width = (size.height, size.width) if size else image.shape[:2]
    here = region.relative_to(held) if held else region
    if _holds(image, here):
        return image[here.slices]
    top, left = (held.y, held.x) if held else (0, 0)
    rows = _reflected(region.y, region.bottom, height) - top
    columns = _reflected(region.x, region.right, width) - left
    if min(rows.min(), columns.min()) < 0:  # numpy would count from the end
        raise ValueError(f"pixels {image.shape} of {held} lack some of the window {region}")
    return image[rows[:, None], columns]


def to_network(pixels: NDArray[Any], *, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Unsigned pixels (B, H, W, C) to a tensor (B, C, H, W) in [-1, 1] by 2 (v / max) - 1.

    To a GPU they travel as they are, from pinned memory and without waiting.
    """
    peak = np.iinfo(pixels.dtype).max
    raw = torch.from_numpy(np.ascontiguousarray(pixels))
    if torch.device(device).type == "cuda":
        raw = raw.pin_memory().to(device, non_blocking=True)
    return (2 * (raw.to(dtype) / peak) - 1).permute(0, 3, 1, 2)


def quantise(values: Tensor, dtype: DTypeLike) -> Tensor:
    """Values in [-1, 1] to whole levels of an unsigned depth: clipped, and rounded to nearest.

    Returns:
        uint8, or int32 for deeper pixels, on the device of the values.
    """
    peak = int(np.iinfo(np.dtype(dtype)).max)
    # float32 has no bits left to place 16-bit values to a hundredth of a level.
    exact = values.float() if peak == np.iinfo(np.uint8).max else values.double()
    levels = ((exact.clamp(-1, 1) + 1) * (peak / 2)).round()
    return levels.to(torch.uint8 if peak == np.iinfo(np.uint8).max else torch.int32)


def to_pixels(values: NDArray[np.float32], dtype: DTypeLike) -> NDArray[Any]:
    """Values in [-1, 1] to unsigned pixels of the given depth, as :func:`quantise`."""
    pixels: NDArray[Any] = quantise(torch.from_numpy(values), dtype).numpy()
    return pixels.astype(dtype, copy=False)


def _holds(image: NDArray[Any], region: Region) -> bool:
    return Region(0, 0, *image.shape[:2]).contains(region)


def _reflected(start: int, stop: int, length: int) -> NDArray[np.intp]:
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (length - 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded)
