"""What ``--precision auto`` means on a device, for weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sdflow.model.calibration import Calibration

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

_LEAST_DB = 45.0  # of bf16 against float32, or the automatic choice refuses it
_MAX_SEAM = 0.75  # levels of 255 before rounding: whole levels then differ by one at the most


def resolve_precision(precision: str, calibration: Calibration | None, device: torch.device) -> str:
    """Turn ``auto`` into a precision; others stay as they are.

    bf16 is taken where the device computes in it and the weights' calibration says that both
    directions stay within 45 dB of float32 and show no seams with it. Weights that were never
    calibrated run in float32.

    Args:
        precision: One of ``PRECISIONS``.
        calibration: Of the weights.
        device: Where they shall run.
    """
    if precision != "auto":
        return precision
    if calibration is None or not has_bf16(device):
        return "fp32"
    directions = calibration.upscale, calibration.downscale
    good = all(one.bf16_db >= _LEAST_DB and one.bf16_seam <= _MAX_SEAM for one in directions)
    return "bf16" if good else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return True  # a GPU of another node: those that compute at all have had it since 2020
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags: tuple[bool, ...] = (
        torch.cpu._is_avx512_bf16_supported(),  # noqa: SLF001  # torch has no public name for it
        torch.cpu._is_amx_tile_supported(),  # noqa: SLF001  # likewise
    )
    return any(flags)
