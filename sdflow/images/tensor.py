"""Between pixel arrays (H, W, C) and network tensors (B, C, H, W) in [-1, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray
    from torch import Tensor

    from sdflow.geometry import Region


def read_window(image: NDArray[Any], region: Region) -> NDArray[Any]:
    """Cut a window out of (H, W, C) pixels; beyond the border the image is reflected.

    Reflection does not repeat the border pixel; a side of one pixel is replicated. The window may
    be larger than the image.
    """
    rows = _reflected(region.y, region.bottom, image.shape[0])
    columns = _reflected(region.x, region.right, image.shape[1])
    return image[rows[:, None], columns]


def to_network(pixels: NDArray[Any], *, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Unsigned (H, W, C) pixels to a tensor (1, C, H, W) in [-1, 1] by 2 (v / max) - 1."""
    peak = np.iinfo(pixels.dtype).max
    values = torch.from_numpy(pixels.astype(np.float32)).to(device=device, dtype=dtype)
    return (2 * (values / peak) - 1).permute(2, 0, 1)[None].contiguous()


def from_network(values: Tensor) -> NDArray[np.float32]:
    """A tensor (1, C, H, W) to float32 (H, W, C) on the same scale."""
    result: NDArray[np.float32] = values[0].permute(1, 2, 0).float().cpu().numpy()
    return result


def to_pixels(values: NDArray[np.float32], dtype: DTypeLike) -> NDArray[Any]:
    """Values in [-1, 1] to unsigned pixels of the given depth: clipped, and rounded to nearest."""
    peak = np.iinfo(np.dtype(dtype)).max
    scaled = (values.astype(np.float64) + 1) * (peak / 2)
    pixels: NDArray[Any] = np.rint(np.clip(scaled, 0, peak)).astype(dtype)
    return pixels


def _reflected(start: int, stop: int, length: int) -> NDArray[np.intp]:
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (length - 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded)
