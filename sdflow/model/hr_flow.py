"""The HR flow f_HR with the high-frequency flow f_HF inside its split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdflow.flows.base import Sequence
from sdflow.flows.distributions import standard_normal_log_prob
from sdflow.flows.squeeze import Squeeze
from sdflow.flows.steps import conditional_flow_steps, flow_steps, transition_block
from sdflow.model.config import ModelConfig
from sdflow.model.layers import ConditionNet

_CONTENT = 3  # channels of z_c


class HRFlow(nn.Module):
    """HR image (B, 3, 4h, 4w) to content latent (B, 3, h, w) and noise (B, 45, h, w), and back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = Sequence(
            *(
                Sequence(
                    squeeze=Squeeze(),
                    transition=transition_block(channels),
                    steps=flow_steps(channels, config.coupling_width, config.flow_steps),
                )
                for channels in (12, 48)
            )
        )
        width = config.condition_width
        self.condition = ConditionNet(_CONTENT, config.hf_rrdbs, width, config.condition_growth)
        self.hf_flow = conditional_flow_steps(45, config.coupling_width, width, config.hf_steps)

    def content(self, hr: Tensor) -> Tensor:
        """The content latent alone: the high-frequency flow is not run."""
        latent, _ = self.blocks(hr)
        content: Tensor = latent[:, :_CONTENT]
        return content

    def encode(self, hr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (content (B, 3, h, w), noise (B, 45, h, w), log_det (B,) in nats)."""
        latent, body_log_det = self.blocks(hr)
        content, high_frequency = latent.tensor_split([_CONTENT], dim=1)
        noise, log_det = self.hf_flow(high_frequency, self.condition(content.detach()))
        return content, noise, body_log_det + log_det

    def decode(self, content: Tensor, noise: Tensor) -> Tensor:
        """Rebuild the HR image (B, 3, 4h, 4w) from content and already scaled noise."""
        high_frequency, _ = self.hf_flow.inverse(noise, self.condition(content.detach()))
        hr, _ = self.blocks.inverse(torch.cat([content, high_frequency], dim=1))
        return hr

    def log_prob(self, hr: Tensor) -> Tensor:
        """Log p(HR) in nats on the [-1, 1] scale, (B,)."""
        _, noise, log_det = self.encode(hr)
        return standard_normal_log_prob(noise) + log_det
