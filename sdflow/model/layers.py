"""Feature networks that the flows are conditioned on."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own convention

_RESIDUAL_SCALE = 0.2


def reflect_conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size by reflecting at the border."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="reflect")


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each over all that came before (Huang et al., DenseNet, 2017)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for index in range(5):
            out_channels = growth if index < 4 else width
            conv = nn.Conv2d(width + index * growth, out_channels, 3, padding=1)
            self.add_module(f"conv{index + 1}", conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        *inner, last = self.children()
        seen = x
        for conv in inner:
            seen = torch.cat([seen, F.leaky_relu(conv(seen), 0.2)], dim=1)
        return x + _RESIDUAL_SCALE * cast("Tensor", last(seen))


class RRDB(nn.Module):
    """Residual in residual dense block (Wang et al., ESRGAN, 2018, sec. 3.1)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.block1 = DenseBlock(width, growth)
        self.block2 = DenseBlock(width, growth)
        self.block3 = DenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        out: Tensor = self.block3(self.block2(self.block1(x)))
        return x + _RESIDUAL_SCALE * out


class ConditionNet(nn.Module):
    """Features of an image-like condition: (B, in_channels, H, W) to (B, width, H, W).

    Args:
        in_channels: Channels of the condition.
        num_rrdbs: Length of the trunk.
        width: Channels inside and out.
        growth: Channels each dense convolution adds.
    """

    def __init__(self, in_channels: int, num_rrdbs: int, width: int, growth: int) -> None:
        super().__init__()
        self.conv_in = reflect_conv3x3(in_channels, width)
        self.trunk = nn.Sequential(*(RRDB(width, growth) for _ in range(num_rrdbs)))
        self.conv_trunk = reflect_conv3x3(width, width)
        self.conv_out1 = reflect_conv3x3(width, width)
        self.conv_out2 = reflect_conv3x3(width, width)
        for module in self.modules():
            start_small(module)

    def forward(self, condition: Tensor) -> Tensor:
        """Compute the features."""
        shallow = self.conv_in(condition)
        features = shallow + self.conv_trunk(self.trunk(shallow))
        features = F.leaky_relu(self.conv_out1(features), 0.2)
        out: Tensor = self.conv_out2(features)
        return out.to(condition.dtype)


class CellCondition(nn.Module):
    """A condition net with its features gathered into 2x2 cells.

    (B, in_channels, H, W) to (B, width, H/2, W/2); the arguments are those of ``ConditionNet``.
    """

    def __init__(self, in_channels: int, num_rrdbs: int, width: int, growth: int) -> None:
        super().__init__()
        self.net = ConditionNet(in_channels, num_rrdbs, width, growth)
        self.conv = nn.Conv2d(4 * width, width, 1)
        start_small(self.conv)

    def forward(self, condition: Tensor) -> Tensor:
        """Compute the features of every cell."""
        cells = F.pixel_unshuffle(self.net(condition), 2)
        return F.leaky_relu(self.conv(cells), 0.2).to(condition.dtype)


def start_small(module: nn.Module) -> None:
    """Give a convolution Xavier-normal weights times 0.1 and no bias; leave others alone."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_normal_(module.weight, gain=0.1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
