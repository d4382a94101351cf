"""Which operations mixed precision must leave alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def unrounded(x: Tensor) -> torch.autocast:
    """Autocast switched off where ``x`` is: for maps to be inverted, and filters that measure."""
    return torch.autocast(x.device.type, enabled=False)
