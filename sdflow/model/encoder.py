"""The LR content feature extractor (arXiv:2310.04964, sec. III)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.model.config import ModelConfig
from sdflow.model.layers import reflect_conv3x3

_EPS = 1e-6
_BLOCK_SCALE = 0.1


class Modulation(nn.Module):
    """Scale and shift features by what the modulation features say; the scale is soft-bounded.

    s becomes tanh(s / (e^a + 1e-6)) e^a with learnt a, so that |s| stays under e^a.

    Args:
        width: Channels of both inputs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.affine = nn.Conv2d(width, 2 * width, 1)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Modulate (B, width, H, W)."""
        scale, shift = self.affine(modulation).chunk(2, dim=1)
        bound = self.log_scale.exp()
        out: Tensor = x * (torch.tanh(scale / (bound + _EPS)) * bound) + shift
        return out


class ModulatedBlock(nn.Module):
    """Residual block x + 0.1 conv(mod2(lrelu(conv(mod1(x)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation1 = Modulation(width)
        self.conv1 = reflect_conv3x3(width, width)
        self.modulation2 = Modulation(width)
        self.conv2 = reflect_conv3x3(width, width)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        h = F.leaky_relu(self.conv1(self.modulation1(x, modulation)), 0.2)
        out: Tensor = self.conv2(self.modulation2(h, modulation))
        return x + _BLOCK_SCALE * out


class Encoder(nn.Module):
    """LR image (B, 3, h, w) to content latent z_c (B, 3, h, w); h and w at least 2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.conv_in = reflect_conv3x3(3, width)
        self.modulations = nn.ModuleList(
            reflect_conv3x3(width, width) for _ in range(config.encoder_modulations)
        )
        self.trunk = nn.ModuleList(ModulatedBlock(width) for _ in range(config.encoder_blocks))
        self.conv_out1 = reflect_conv3x3(width, width)
        self.conv_out2 = nn.Conv2d(width, 3, 1)

    def forward(self, lr: Tensor) -> Tensor:
        """Extract the content."""
        shallow = F.leaky_relu(self.conv_in(lr), 0.2)
        modulation = shallow
        for conv in self.modulations:
            modulation = F.leaky_relu(conv(modulation), 0.2)
        deep = shallow
        for block in self.trunk:
            deep = block(deep, modulation)
        out: Tensor = self.conv_out2(F.leaky_relu(self.conv_out1(shallow + deep), 0.2))
        return out.to(lr.dtype)
