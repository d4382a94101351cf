"""The latents' densities, with the small constants the published weights were trained with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_EPS = 1e-6
_LOG_2PI = math.log(2 * math.pi)
_BITS_OF_SCALE = math.log2(127.5)  # 8-bit levels are 127.5 times finer than [-1, 1]


def gaussian_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """-1/2 (2 log s + (x - m)^2 / (s^2 + 1e-6) + log 2 pi), element by element, in nats."""
    variance = (2 * log_std).exp() + _EPS
    return -0.5 * (2 * log_std + (x - mean).square() / variance + _LOG_2PI)


def gaussian_sample(mean: Tensor, log_std: Tensor, noise: Tensor, tau: float | Tensor) -> Tensor:
    """Mean + (s + 1e-6) tau noise; the mean alone where tau < 1e-6.

    A tensor of temperatures broadcasts against the noise: (B, 1, 1, 1) for one per image.
    """
    if isinstance(tau, Tensor):
        return torch.where(tau < _EPS, mean, mean + (log_std.exp() + _EPS) * tau * noise)
    if tau < _EPS:
        return mean.expand_as(noise)
    return mean + (log_std.exp() + _EPS) * tau * noise


def standard_normal_log_prob(x: Tensor) -> Tensor:
    """Log-density of N(0, I) summed over all but the batch: (B, ...) to (B,), nats."""
    zero = x.new_zeros(())
    return gaussian_log_density(x, zero, zero).flatten(1).sum(dim=1)


def bits_per_dim(log_prob: Tensor, shape: torch.Size) -> Tensor:
    """Negative log-likelihood in bits per dimension of 8-bit levels.

    Args:
        log_prob: (B,) nats on the [-1, 1] scale.
        shape: (B, C, H, W) of the images.

    Returns:
        (B,) bits; 8 is what a uniform density over all levels has.
    """
    dimensions = math.prod(shape[1:])
    return -log_prob / (dimensions * math.log(2)) + _BITS_OF_SCALE


class GaussianMixture(nn.Module):
    """An equal mixture of scalar Gaussians, applied to every element of a latent.

    A sample draws ONE component for all elements of an image: the component is a kind of
    degradation, the noise around its mean one instance of it.

    Args:
        num_components: How many Gaussians.
    """

    def __init__(self, num_components: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.randn(num_components))
        self.log_stds = nn.Parameter(torch.zeros(num_components))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density summed over all but the batch: (B, C, H, W) to (B,), nats."""
        terms = gaussian_log_density(x.unsqueeze(-1), self.means, self.log_stds)
        density = terms.logsumexp(dim=-1) - math.log(self.means.numel())
        return density.flatten(1).sum(dim=1)

    def quadratics(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every component's log-density, its weight included, as height - sharpness (x - mean)^2.

        Returns:
            (means, sharpnesses, heights), each (K,) in float64, heights in nats.
        """
        means, log_stds = self.means.double(), self.log_stds.double()
        heights = gaussian_log_density(means, means, log_stds) - math.log(means.numel())
        return means, 0.5 / ((2 * log_stds).exp() + _EPS), heights

    def sample(self, noise: Tensor, component: Tensor, tau: float | Tensor) -> Tensor:
        """Draw from one component per image.

        Args:
            noise: Unit-variance noise (B, C, H, W).
            component: 0-based component of each image, int64 (B,).
            tau: Temperature, 0 gives the component's mean; a tensor (B, 1, 1, 1) for one per image.

        Returns:
            Latents (B, C, H, W).
        """
        mean = self.means[component].view(-1, 1, 1, 1)
        log_std = self.log_stds[component].view(-1, 1, 1, 1)
        return gaussian_sample(mean, log_std, noise, tau)
