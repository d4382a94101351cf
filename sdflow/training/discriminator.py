"""Patch discriminators (Isola et al., pix2pix, 2017, sec. 3.2.2), one for each domain."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from sdflow.model.config import ModelConfig


class PatchDiscriminator(nn.Sequential):
    """Scores (B, 1, H', W') of overlapping patches of (B, 3, H, W).

    Spectral normalisation keeps its slope bounded, so that small batches do not blow it up
    (Miyato et al., 2018).

    Args:
        width: Channels of the first layer; they double at every stride.
        num_strides: Layers that halve the sides.
    """

    def __init__(self, width: int, num_strides: int) -> None:
        channels = [3, *(width * 2 ** min(index, 3) for index in range(num_strides + 1))]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(channels)):
            stride = 2 if index else 1
            layers.append(_normalised(nn.Conv2d(before, after, 2 + stride, stride, padding=1)))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(_normalised(nn.Conv2d(channels[-1], 1, 3, padding=1)))
        super().__init__(*layers)


class Discriminators(nn.Module):
    """The three of the paper: content latents, LR images, HR images.

    Args:
        config: Sizes of the model that they judge; theirs follow from it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.content = PatchDiscriminator(width, 1)
        self.lr = PatchDiscriminator(width, 2)
        self.hr = PatchDiscriminator(width, 4)

    def forward(self, domain: str, images: Tensor) -> Tensor:
        """Scores of images, or latents, of one domain: ``content``, ``lr`` or ``hr``."""
        scores: Tensor = getattr(self, domain)(images)
        return scores.to(images.dtype)


def _normalised(conv: nn.Conv2d) -> nn.Module:
    module: nn.Module = nn.utils.parametrizations.spectral_norm(conv)
    return module
