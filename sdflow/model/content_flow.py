"""The LR flow f_LR."""

from __future__ import annotations

from sdflow.flows.base import Sequence
from sdflow.flows.squeeze import Squeeze, Unsqueeze
from sdflow.flows.steps import flow_steps, transition_block
from sdflow.model.config import ModelConfig


class ContentFlow(Sequence):
    """LR image (B, 3, h, w) to latent z_LR (B, 3, h, w); h and w even and at least 4."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            squeeze=Squeeze(),
            transition=transition_block(12),
            steps=flow_steps(12, config.coupling_width, config.flow_steps),
            expand=transition_block(12),
            unsqueeze=Unsqueeze(),
        )
