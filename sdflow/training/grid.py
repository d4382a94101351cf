"""A picture of what a model makes of a few training patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.images.tensor import quantise
from sdflow.training.losses import bicubic_quarter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sdflow.model.sdflow import SDFlow
    from sdflow.training.dataset import Batch
    from sdflow.training.recipe import Recipe

_ROWS = 4
_TAU = 0.8


@torch.no_grad()
def sample_grid(model: SDFlow, batch: Batch, recipe: Recipe) -> NDArray[np.uint8]:
    """Rows of patches, side by side with what becomes of them.

    Columns: the bicubic LR image, its upscaling at temperature 0 and at 0.8, the HR photo, the LR
    image generated from it, a real LR photo. LR images are enlarged to whole pixels.

    Args:
        model: In evaluation mode; its degradation flow may not have begun.
        batch: Where the patches come from.
        recipe: Sizes of the mixture.

    Returns:
        (rows * P, 6 P, 3) uint8.
    """
    parameter = next(model.parameters())
    batch = batch.rows(min(_ROWS, len(batch.hr))).to(parameter.device, parameter.dtype)
    reduced = bicubic_quarter(batch.hr)
    component = batch.component(recipe.model.mixture_components)
    columns = [
        _enlarged(reduced),
        model.upscale(reduced, tau=0.0, noise=batch.hf_noise),
        model.upscale(reduced, tau=_TAU, noise=batch.hf_noise),
        batch.hr,
    ]
    if model.has_degradation:
        drawn = model.downscale(batch.hr, tau=_TAU, noise=batch.deg_noise, component=component)
        columns.append(_enlarged(drawn))
    columns.append(_enlarged(batch.lr))
    picture = torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)
    pixels: NDArray[np.uint8] = quantise(picture, "uint8").permute(1, 2, 0).cpu().numpy()
    return pixels


def _enlarged(images: torch.Tensor) -> torch.Tensor:
    return F.interpolate(images, scale_factor=4.0, mode="nearest")
