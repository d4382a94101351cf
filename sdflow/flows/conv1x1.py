"""Invertible 1x1 convolution in LU form (Kingma & Dhariwal, Glow, 2018, eq. 10-11)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.flows.base import Transform
from sdflow.flows.precision import unrounded


class InvertibleConv1x1(Transform):
    """Mix channels by W = P (L * l_mask + I) (U * u_mask + diag(s_sign * exp(w_s))).

    P is a fixed permutation; L, U and w_s are learnt, so log|det W| = sum(w_s) costs nothing and
    W can never become singular. Starts as a random rotation.

    Args:
        num_channels: C of the (B, C, H, W) input.
    """

    w_p: Tensor
    u_mask: Tensor
    l_mask: Tensor
    s_sign: Tensor
    l_eye: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.num_channels = num_channels
        square = torch.empty(num_channels, num_channels)
        self.w_l = nn.Parameter(square.clone())
        self.w_s = nn.Parameter(torch.empty(num_channels))
        self.w_u = nn.Parameter(square.clone())
        self.register_buffer("w_p", square)
        self.register_buffer("u_mask", torch.ones(num_channels, num_channels).triu(1))
        self.register_buffer("l_mask", torch.ones(num_channels, num_channels).tril(-1))
        self.register_buffer("s_sign", torch.empty(num_channels))
        self.register_buffer("l_eye", torch.eye(num_channels))
        rotation = torch.linalg.qr(torch.randn(num_channels, num_channels, dtype=torch.float64))[0]
        self.set_weight(rotation)

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        """Take on another W, regular and of shape (C, C)."""
        permutation, lower, upper = torch.linalg.lu(weight.double())
        diagonal = upper.diagonal()
        self.w_p.copy_(permutation)
        self.w_l.copy_(lower)
        self.w_s.copy_(diagonal.abs().log())
        self.w_u.copy_(upper.triu(1))
        self.s_sign.copy_(diagonal.sign())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply every pixel's channels by W."""
        del context
        with unrounded(x):
            return _mix(x, self.weight()), self._log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply every pixel's channels by the inverse of W."""
        del context
        with unrounded(y):
            return _mix(y, self.inverse_weight()), -self._log_det(y)

    def weight(self, dtype: torch.dtype | None = None) -> Tensor:
        """W, shape (C, C), multiplied out in ``dtype``; None for that of the parameters."""
        lower, upper = (factor.to(dtype) for factor in self._factors())
        weight: Tensor = self.w_p.to(dtype) @ lower @ upper
        return weight

    def inverse_weight(self) -> Tensor:
        """The inverse of W by two triangular solves, shape (C, C)."""
        lower, upper = self._factors()
        half = torch.linalg.solve_triangular(lower, self.w_p.T, upper=False, unitriangular=True)
        inverse: Tensor = torch.linalg.solve_triangular(upper, half, upper=True)
        return inverse

    def _factors(self) -> tuple[Tensor, Tensor]:
        lower = self.w_l * self.l_mask + self.l_eye
        upper = self.w_u * self.u_mask + torch.diag(self.s_sign * self.w_s.exp())
        return lower, upper

    def _log_det(self, x: Tensor) -> Tensor:
        pixels = x.shape[2] * x.shape[3]
        return (self.w_s.sum() * pixels).expand(x.shape[0])


def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    return F.conv2d(x, matrix[:, :, None, None])
