"""Trading space for channels (Dinh et al., Real NVP, 2017, sec. 3.6)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # torch's own convention

from sdflow.flows.base import Transform, no_log_det


class Squeeze(Transform):
    """(B, C, H, W) to (B, 4C, H/2, W/2); the channel index is 4c + 2dy + dx. H and W even."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move every 2x2 cell into channels."""
        del context
        return F.pixel_unshuffle(x, 2), no_log_det(x)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spread channels back over 2x2 cells."""
        del context
        return F.pixel_shuffle(y, 2), no_log_det(y)


class Unsqueeze(Squeeze):
    """The inverse of :class:`Squeeze` as a layer of its own."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Spread channels over 2x2 cells."""
        return super().inverse(x, context)

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Move every 2x2 cell back into channels."""
        return super().forward(y, context)
