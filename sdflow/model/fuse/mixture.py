"""The mixture prior's density in its inference form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from sdflow.flows.distributions import GaussianMixture


class FusedMixture:
    """Log-density of every element of a latent, in nats, all components together.

    Equal to what ``GaussianMixture.log_prob`` sums. Component by component, with operations that
    round alike wherever a value lies in a tensor: no bit depends on the batch.

    Args:
        prior: The mixture.
    """

    def __init__(self, prior: GaussianMixture) -> None:
        means, sharpnesses, heights = (part.tolist() for part in prior.quadratics())
        self._components = list(zip(means, sharpnesses, heights, strict=True))

    def __call__(self, x: Tensor) -> Tensor:
        """Any shape to the same one."""
        terms = [
            (x - mean).square_().mul_(-sharpness).add_(height)
            for mean, sharpness, height in self._components
        ]
        highest = terms[0].clone()
        for term in terms[1:]:
            torch.maximum(highest, term, out=highest)
        total = torch.zeros_like(highest)
        for term in terms:
            total.add_(term.sub_(highest).exp_())
        return total.log_().add_(highest)
