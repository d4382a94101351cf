"""What several samples of one image say together."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sdflow.evaluation.fidelity import BORDER_PX, psnr
from sdflow.evaluation.planes import levels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdflow.evaluation.fidelity import Channel
    from sdflow.evaluation.planes import Floats, Image

Samples: TypeAlias = "Sequence[Image] | Image"
"""S images of one size, or an array (S, H, W, 3)."""


def spread_map(samples: Samples) -> Floats:
    """Where samples differ: their standard deviation (of S - 1), the mean of the channels.

    Args:
        samples: Of one image.

    Returns:
        (H, W) float64, 8-bit levels; NaN for fewer than two samples.
    """
    stack = np.stack([levels(sample) for sample in samples])
    if len(stack) < 2:
        return np.full(stack.shape[1:3], np.nan)
    spread: Floats = stack.std(axis=0, ddof=1).mean(axis=2)
    return spread


def diversity(samples: Samples) -> float:
    """The mean of ``spread_map``: 8-bit levels, NaN for fewer than two samples."""
    return float(spread_map(samples).mean())


def mean_gain(
    samples: Samples,
    reference: Image,
    *,
    channel: Channel = "y",
    border_px: int = BORDER_PX,
) -> float:
    """How much closer the mean of the samples is than they are.

    0 dB where samples do not differ; 3 dB, which is 10 log10(2), where they are many and drawn as
    the truth was. Below 0 only where some samples are much closer than others.

    Args:
        samples: At least one.
        reference: The truth.
        channel: As of ``psnr``.
        border_px: As of ``psnr``.

    Returns:
        dB: the PSNR of the unrounded mean, less the mean PSNR of the samples.

    Raises:
        UsageError: The sizes differ.
    """
    mean = np.mean([levels(sample) for sample in samples], axis=0)
    each = [psnr(sample, reference, channel=channel, border_px=border_px) for sample in samples]
    return psnr(mean, reference, channel=channel, border_px=border_px) - float(np.mean(each))
