"""What an invertible layer is (Papamakarios et al., "Normalizing Flows", JMLR 22, 2021)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

from torch import Tensor, nn


class Transform(nn.Module, ABC):
    """An invertible map of (B, C, H, W) tensors, perhaps conditioned on context features.

    ``forward`` runs from the image towards the latent, ``inverse`` back. Both return the value and
    ``log_det``: for each sample the natural logarithm of the absolute Jacobian determinant of the
    map just applied, shape (B,), so the two cancel.
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map towards the latent: (value, log_det)."""

    @abstractmethod
    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map towards the image: (value, log_det)."""


class Sequence(Transform):
    """Transforms one after another, all given the same context.

    Args:
        transforms: In forward order, numbered from 0 as in ``nn.Sequential``.
        named: In forward order after those, under names of their own.
    """

    def __init__(self, *transforms: Transform, **named: Transform) -> None:
        super().__init__()
        for index, transform in enumerate(transforms):
            self.add_module(str(index), transform)
        for name, transform in named.items():
            self.add_module(name, transform)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply every transform in order."""
        total = no_log_det(x)
        for step in self.children():
            x, log_det = step(x, context)
            total = total + log_det
        return x, total

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo every transform, last first."""
        total = no_log_det(y)
        for step in reversed(list(self.children())):
            y, log_det = cast("Transform", step).inverse(y, context)
            total = total + log_det
        return y, total


def no_log_det(x: Tensor) -> Tensor:
    """Zeros of shape (B,), the log-determinant of a map that keeps volume."""
    return x.new_zeros(x.shape[0])
