"""How likely photos are to the network, in bits for every number they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdflow.evaluation.pairs import middle
from sdflow.evaluation.planes import PEAK, levels
from sdflow.flows.distributions import bits_per_dim
from sdflow.noise import NoiseKey

if TYPE_CHECKING:
    from torch import Tensor

    from sdflow.evaluation.planes import Floats, Image
    from sdflow.images.formats import Pixels
    from sdflow.model.sdflow import SDFlow

SIDE_PX = 192
_HR_MULTIPLE, _LR_MULTIPLE = 4, 2
_LEAST_PX = {_HR_MULTIPLE: 8, _LR_MULTIPLE: 4}


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Measures the middle of photos, up to 192 px a side.

    Levels are whole and a density knows no whole numbers, so each is spread evenly over its width
    (Theis, van den Oord, Bethge: A note on the evaluation of generative models, 2016): the mean is
    an upper bound of what a lossless code would need. The noise depends on seed and key alone.

    Attributes:
        model: On any device.
        seed: Of the noise.
    """

    model: SDFlow
    seed: int

    @torch.inference_mode()
    def hr_bits(self, pixels: Pixels, key: str) -> float:
        """Bits per dimension of a sharp photo; NaN below 8 px."""
        image = self._spread(pixels, key, _HR_MULTIPLE)
        return math.nan if image is None else _bits(self.model.hr_log_prob(image), image)

    @torch.inference_mode()
    def lr_bits(self, pixels: Pixels, key: str) -> float:
        """Bits per dimension of a real small photo; NaN below 4 px and for young networks."""
        known = self.model.has_degradation
        image = self._spread(pixels, key, _LR_MULTIPLE) if known else None
        return math.nan if image is None else _bits(self.model.lr_log_prob(image), image)

    def _spread(self, pixels: Pixels, key: str, multiple_of: int) -> Tensor | None:
        window = middle(pixels, SIDE_PX, multiple_of=multiple_of)
        if min(window.shape[:2]) < _LEAST_PX[multiple_of]:
            return None
        words = NoiseKey(self.seed, key, 0).words("dequantise")
        parameter = next(self.model.parameters())
        values = torch.from_numpy(dequantised(window, np.random.default_rng(words)))
        return values.permute(2, 0, 1)[None].to(parameter.device, parameter.dtype)


def dequantised(image: Image, rng: np.random.Generator) -> Floats:
    """8-bit levels spread over their width, on the network's scale: 2 (v + u) / 255 - 1.

    Args:
        image: Deeper pixels are rounded to 8 bits first.
        rng: Gives u in [-1/2, 1/2).

    Returns:
        (H, W, 3) float64.
    """
    whole = np.rint(levels(image))
    spread: Floats = 2 * (whole + rng.random(whole.shape) - 0.5) / PEAK - 1
    return spread


def _bits(log_prob: Tensor, image: Tensor) -> float:
    return float(bits_per_dim(log_prob, image.shape))
