"""Activation normalisation with data-dependent start (Kingma & Dhariwal, Glow, 2018, sec. 3.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sdflow.flows.base import Transform
from sdflow.flows.ranks import average_over_ranks

_MIN_VARIANCE = 1e-4  # a channel flatter than this counts as having variance 1


class ActNorm(Transform):
    """Per-channel affine map y = exp(log_scale) * (x + loc).

    The first batch seen in training mode sets loc = -mean and log_scale = -log(std + 1e-6), over
    batch, space and all distributed ranks, so that every channel starts with mean 0 and variance
    1. Until then the layer is unusable otherwise and says so.

    Args:
        num_channels: C of the (B, C, H, W) input.

    Raises:
        RuntimeError: From ``inverse``, and from ``forward`` in evaluation mode, before the first
            training batch or a checkpoint has set the parameters.
    """

    initialized: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, num_channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, num_channels, 1, 1))
        self.register_buffer("initialized", torch.zeros((), dtype=torch.uint8))
        self._ready = False  # the flag as a Python value: reading the buffer would stall a GPU

    @property
    def is_ready(self) -> bool:
        """Whether a batch or a checkpoint has set the parameters."""
        return self._ready

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalise; in training, the first batch sets the parameters."""
        del context
        if not self._ready and self.training:
            self._start_from(x)
        return (x + self.loc) * self._checked().exp(), self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo the normalisation."""
        del context
        return y * (-self._checked()).exp() - self.loc, -self._log_det(y)

    def _checked(self) -> Tensor:
        if not self._ready:
            raise RuntimeError(
                "ActNorm has no parameters yet: load weights or train on a first batch"
            )
        return self.log_scale

    def _log_det(self, x: Tensor) -> Tensor:
        pixels = x.shape[2] * x.shape[3]
        return (self.log_scale.sum() * pixels).expand(x.shape[0])

    @torch.no_grad()
    def _start_from(self, x: Tensor) -> None:
        moments = torch.stack([x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))]).double()
        average_over_ranks(moments)
        if not bool(moments.isfinite().all()):
            raise FloatingPointError("ActNorm cannot start from values that are no numbers")
        mean, variance = moments[0], moments[1] - moments[0].square()
        variance = torch.where(variance < _MIN_VARIANCE, torch.ones_like(variance), variance)
        self.start(loc=-mean, scale=1 / (variance.sqrt() + 1e-6))

    @torch.no_grad()
    def start(self, *, loc: Tensor, scale: Tensor) -> None:
        """Set the map, y = scale * (x + loc) with positive scales; each (C,)."""
        self.loc.copy_(loc.view_as(self.loc))
        self.log_scale.copy_(scale.log().view_as(self.log_scale))
        self.initialized.fill_(1)
        self._ready = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], *args: Any) -> None:  # noqa: ANN401  # torch's hook
        super()._load_from_state_dict(state_dict, *args)
        self._ready = bool(self.initialized)
