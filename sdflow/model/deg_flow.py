"""The degradation flow f_Deg: what distinguishes a real LR photo from its content."""

from __future__ import annotations

from torch import Tensor, nn

from sdflow.flows.base import Sequence
from sdflow.flows.distributions import GaussianMixture
from sdflow.flows.squeeze import Squeeze
from sdflow.flows.steps import conditional_flow_steps, transition_block
from sdflow.model.config import ModelConfig
from sdflow.model.layers import CellCondition


class DegFlow(nn.Module):
    """Degradation latent z_d (B, 3, h, w) given content z_c, to a mixture of Gaussians and back.

    h and w are even and at least 4.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.condition_width
        self.prior = GaussianMixture(config.mixture_components)
        self.condition = CellCondition(3, config.deg_rrdbs, width, config.condition_growth)
        self.flow = Sequence(
            squeeze=Squeeze(),
            transition=transition_block(12),
            steps=conditional_flow_steps(12, config.coupling_width, width, config.deg_steps),
        )

    def log_prob(self, degradation: Tensor, content: Tensor) -> Tensor:
        """Log p(z_d | z_c) in nats, (B,)."""
        latent, log_det = self.flow(degradation, self.condition(content))
        log_prob: Tensor = self.prior.log_prob(latent) + log_det
        return log_prob

    def sample(self, content: Tensor, noise: Tensor, component: Tensor, tau: float) -> Tensor:
        """Draw z_d (B, 3, h, w).

        Args:
            content: z_c (B, 3, h, w).
            noise: Unit-variance noise (B, 12, h/2, w/2).
            component: 0-based mixture component of each image, int64 (B,).
            tau: Temperature.
        """
        latent = self.prior.sample(noise, component, tau)
        degradation, _ = self.flow.inverse(latent, self.condition(content))
        return degradation
