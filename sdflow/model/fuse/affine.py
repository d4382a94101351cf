"""Folding what is affine in a flow: ActNorm and 1x1 convolutions become one matrix and one bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdflow.model.fuse.conv import Conv, make_conv

if TYPE_CHECKING:
    from torch import Tensor

    from sdflow.flows.actnorm import ActNorm
    from sdflow.flows.conv1x1 import InvertibleConv1x1


@dataclass(frozen=True, slots=True)
class Affine:
    """y = matrix x + bias on the channels of every pixel; float64, (C_out, C_in) and (C_out,)."""

    matrix: Tensor
    bias: Tensor

    @classmethod
    def of_actnorm(cls, layer: ActNorm) -> Affine:
        """The forward map of an ActNorm."""
        scale = layer.log_scale.double().exp().flatten()
        return cls(scale.diag(), scale * layer.loc.double().flatten())

    @classmethod
    def of_conv1x1(cls, layer: InvertibleConv1x1) -> Affine:
        """The forward map of an invertible 1x1 convolution, its factors multiplied out."""
        matrix = layer.weight(torch.float64)
        return cls(matrix, matrix.new_zeros(len(matrix)))

    def then(self, after: Affine) -> Affine:
        """This map, and ``after`` applied to its result."""
        return Affine(after.matrix @ self.matrix, after.matrix @ self.bias + after.bias)

    def inverse(self) -> Affine:
        """The map back."""
        matrix = torch.linalg.inv(self.matrix)
        return Affine(matrix, -(matrix @ self.bias))

    def rows(self, count: int) -> Affine:
        """The map to the first ``count`` channels alone."""
        return Affine(self.matrix[:count], self.bias[:count])

    @property
    def log_det(self) -> float:
        """Logarithm of the absolute determinant: what one pixel adds to a flow's."""
        return float(torch.linalg.slogdet(self.matrix).logabsdet)

    def to_conv(self, dtype: torch.dtype) -> Conv:
        """As a 1x1 convolution."""
        return make_conv(self.matrix[:, :, None, None], self.bias, dtype)
