"""What is measured, by the name it has in ``evaluation.json``."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Measure:
    """How a measure is shown.

    Attributes:
        label: In the table.
        unit: "" where it has none.
        better: Which values are; "" where neither is.
        digits: After the decimal point.
        compared: Whether the table has a line with its difference to bicubic.
    """

    label: str
    unit: str
    better: Literal["higher", "lower", ""]
    digits: int
    compared: bool = False


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "psnr_y": Measure("PSNR-Y", "dB", "higher", 2, compared=True),
        "ssim_y": Measure("SSIM-Y", "", "higher", 4),
        "psnr_rgb": Measure("PSNR-RGB", "dB", "higher", 2),
        "ssim_rgb": Measure("SSIM-RGB", "", "higher", 4),
        "ms_ssim_y": Measure("MS-SSIM-Y", "", "higher", 4),
        "haarpsi": Measure("HaarPSI", "", "higher", 4),
        "lpips": Measure("LPIPS", "", "lower", 4, compared=True),
        "niqe": Measure("NIQE", "", "lower", 3, compared=True),
        "lr_psnr": Measure("LR consistency, bicubic", "dB", "higher", 2),
        "lr_psnr_own": Measure("LR consistency, own", "dB", "higher", 2),
        "diversity": Measure("diversity", "levels", "", 2),
        "mean_gain": Measure("gain of the samples' mean", "dB", "", 2),
        "noise_db": Measure("noise spectrum", "dB", "lower", 2),
        "patch": Measure("patch statistics", "std", "lower", 3),
        "frechet": Measure("Fréchet distance", "", "lower", 2, compared=True),
    }
)
"""In the order of the table."""
