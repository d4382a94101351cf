"""The terms of the training loss as pure functions (arXiv:2310.04964, eq. 14-19).

Images are (B, 3, H, W) in [-1, 1]. Every term is one number per sample, (B,): what is averaged over
equal shares of a batch is the average of the batch, however many workers hold the shares.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.flows.precision import unrounded

_SCALE = 4
_LOW_PASS_STD = 1.0
_LEAST_SQUARE = 1e-8  # a root has no slope at 0


def low_pass(images: Tensor) -> Tensor:
    """The 5x5 Gaussian low-pass of eq. 16, std 1 px, borders reflected; shape kept."""
    channels = images.shape[1]
    axis = torch.arange(-2, 3, dtype=images.dtype, device=images.device)
    weights = torch.softmax(-axis.square() / (2 * _LOW_PASS_STD**2), dim=0)
    kernel = torch.outer(weights, weights).expand(channels, 1, 5, 5)
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    with unrounded(images):
        return F.conv2d(padded, kernel, groups=channels)


def bicubic_quarter(images: Tensor) -> Tensor:
    """BD of the paper: antialiased bicubic (a = -0.5, as Pillow's), (B, 3, 4h, 4w) to (B, 3, h, w).

    Values stay in [-1, 1].
    """
    height, width = (side // _SCALE for side in images.shape[2:])
    small = F.interpolate(
        images, (height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return small.clamp(-1, 1)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference, (B,)."""
    return _mean((a - b).abs())


def centred(image: Tensor) -> Tensor:
    """An image (B, C, H, W) without its mean colour."""
    return image - image.mean(dim=(2, 3), keepdim=True)


def low_pass_l1(image: Tensor, reference: Tensor) -> Tensor:
    """L1 of what a low-pass leaves of both (eq. 16), (B,)."""
    return l1(low_pass(image), low_pass(reference))


def latent_distance(z_lr: Tensor, content: Tensor) -> Tensor:
    """Root mean square of z_LR - sg(z_c), (B,) (the last term of eq. 17).

    The content is not pulled: only the LR flow moves.
    """
    return (_mean((z_lr - content.detach()).square()) + _LEAST_SQUARE).sqrt()


def energy(latent: Tensor) -> Tensor:
    """Mean square of a latent, (B,) (beta_1's terms of eq. 17)."""
    return _mean(latent.square())


def generator_gan(fake: Tensor) -> Tensor:
    """Least-squares GAN, what the generator wants, (B,): scores of 1 (Mao et al., 2017)."""
    return _mean((fake - 1).square())


def discriminator_gan(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares GAN, what the discriminator wants: real scores 1, fake ones 0.

    Args:
        real: Scores of real images (B, 1, H, W).
        fake: Scores of as many generated ones.

    Returns:
        A scalar.
    """
    return (_mean((real - 1).square()).mean() + _mean(fake.square()).mean()) / 2


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)
