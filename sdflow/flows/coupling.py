"""Affine couplings and injectors (Dinh et al. 2017; Lugmayr et al., SRFlow, 2020, sec. 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.flows.base import Transform

_SCALE_BOUND = 0.318  # times pi/2: |log scale| stays under one half


class ZeroConv(nn.Module):
    """3x3 convolution with zero padding whose output is multiplied by exp(3 logs).

    Starts at zero, so that a coupling starts as the identity (Glow, sec. 3.3).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.logs = nn.Parameter(torch.zeros(1, out_channels, 1, 1))
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]  # the layer has a bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        out: Tensor = self.conv(x) * (3 * self.logs).exp()
        return out


class CouplingNet(nn.Module):
    """The network inside couplings and injectors: raw scale and shift for ``num_changed`` channels.

    Args:
        in_channels: Channels it sees.
        num_changed: Channels whose scale and shift it makes.
        hidden: Width of the two inner layers.
    """

    def __init__(self, in_channels: int, num_changed: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, hidden, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(hidden, hidden, 1)
        self.conv3 = ZeroConv(hidden, 2 * num_changed)
        for conv in (self.conv1, self.conv2):
            nn.init.xavier_normal_(conv.weight, gain=0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # the layer has a bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (log scale in (-0.5, 0.5), shift), each (B, num_changed, H, W)."""
        dtype = x.dtype  # under autocast the convolutions alone are rounded
        x = F.leaky_relu(self.conv1(x), 0.01)
        x = F.leaky_relu(self.conv2(x), 0.01)
        x = self.conv3(x).to(dtype)
        return _SCALE_BOUND * torch.atan(2 * x[:, 0::2]), x[:, 1::2]


class AffineCoupling(Transform):
    """Scale and shift the second part of the channels by what the first part (and context) say.

    The first floor(C/2) channels pass unchanged: x_b becomes (x_b + shift) exp(scale).

    Args:
        num_channels: C of the (B, C, H, W) input.
        hidden: Width of the inner network.
        context_channels: Channels of the context; 0 for an unconditional coupling, which ignores
            any context.
    """

    def __init__(self, num_channels: int, hidden: int, context_channels: int = 0) -> None:
        super().__init__()
        self.num_kept = num_channels // 2
        self.is_conditional = context_channels > 0
        self.net = CouplingNet(
            self.num_kept + context_channels, num_channels - self.num_kept, hidden
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Couple the second part to the first."""
        kept, changed = x.tensor_split([self.num_kept], dim=1)
        scale, shift = self._scale_and_shift(kept, context)
        return torch.cat([kept, (changed + shift) * scale.exp()], dim=1), scale.sum(dim=(1, 2, 3))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Uncouple."""
        kept, changed = y.tensor_split([self.num_kept], dim=1)
        scale, shift = self._scale_and_shift(kept, context)
        return torch.cat([kept, changed * (-scale).exp() - shift], dim=1), -scale.sum(dim=(1, 2, 3))

    def _scale_and_shift(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.is_conditional:
            if context is None:
                raise ValueError("a conditional coupling needs its context")
            kept = torch.cat([kept, context], dim=1)
        result: tuple[Tensor, Tensor] = self.net(kept)
        return result


class AffineInjector(Transform):
    """Scale and shift every channel by what the context alone says.

    Args:
        num_channels: C of the (B, C, H, W) input.
        hidden: Width of the inner network.
        context_channels: Channels of the context.
    """

    def __init__(self, num_channels: int, hidden: int, context_channels: int) -> None:
        super().__init__()
        self.net = CouplingNet(context_channels, num_channels, hidden)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inject the context."""
        scale, shift = self.net(context)
        return (x + shift) * scale.exp(), scale.sum(dim=(1, 2, 3))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take the context out again."""
        scale, shift = self.net(context)
        return y * (-scale).exp() - shift, -scale.sum(dim=(1, 2, 3))
