"""What ``sdflow evaluate`` can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from sdflow.config import Globs, StorageSettings
from sdflow.errors import UsageError


class EvaluateSettings(StorageSettings):
    """Every field is a flag and a variable."""

    src: str = Field(description="photos to measure with: s3://bucket/prefix/, a folder, file://…")
    reference: str | None = Field(
        None, description="the true photos, four times as large and named like SRC's"
    )
    shrink: bool = Field(
        False, description="SRC are the true photos: make them small by bicubic first"
    )
    real_lr: str | None = Field(
        None, description="measure downscaling: real photos of the kind results shall look like"
    )
    weights: str = Field(
        "default",
        description="folder with the four official .pth, one .safetensors (path or s3://), or "
        "'bicubic' for the baselines alone",
    )
    taus: str = Field("0,0.8", description="temperatures, 0 to 1, each a column of the table")
    samples: int = Field(
        4, ge=1, le=1000, description="outputs drawn per image at temperatures above 0"
    )
    seed: int = Field(0, description="seed of what is drawn")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto = bf16 where device and calibrated weights allow it, else fp32"
    )
    include: Globs = Field((), description="only keys of SRC that match this glob; repeatable")
    exclude: Globs = Field((), description="no keys of SRC that match this glob; repeatable, wins")
    limit: int | None = Field(None, ge=1, description="measure the first N images alone")
    crop: int | None = Field(
        None, ge=32, multiple_of=4, description="measure the middle N full-size px of a side"
    )
    max_pixels: int = Field(
        16_000_000, ge=1, description="images with more full-size pixels are left out"
    )
    out: str | None = Field(
        None, description="where evaluation.json and sheet.png go: s3://…, a folder, file://…"
    )
    sheet: int = Field(6, ge=0, description="images on the contact sheet; 0 for no sheet")
    sheet_px: int = Field(
        256, ge=32, multiple_of=4, description="side of the windows on it, full-size px"
    )
    lpips_net: Literal["alex", "vgg"] = Field("alex", description="backbone of LPIPS")
    lpips_backbone: str | None = Field(
        None, description="file with torchvision's AlexNet or VGG-16: LPIPS is measured too"
    )
    lpips_heads: str | None = Field(None, description="file with the heads of LPIPS 0.1")

    @field_validator("taus")
    @classmethod
    def _as_temperatures(cls, value: str) -> str:
        try:
            numbers = [float(text) for text in value.split(",")]
        except ValueError:
            raise ValueError("expected numbers like 0,0.8") from None
        if not all(0 <= number <= 1 for number in numbers):
            raise ValueError("a temperature is from 0 to 1")
        return value

    @property
    def temperatures(self) -> tuple[float, ...]:
        """``taus``, each once, as they were given."""
        return tuple(dict.fromkeys(float(text) for text in self.taus.split(",")))

    @property
    def task(self) -> Literal["upscale", "downscale"]:
        """Direction: real small photos are only needed for one of them."""
        return "upscale" if self.real_lr is None else "downscale"

    @property
    def has_truth(self) -> bool:
        """Whether results can be compared with what they should be."""
        return self.shrink or self.reference is not None

    def check(self) -> None:
        """Refuse settings that do not go together.

        Raises:
            UsageError: Naming the flag.
        """
        if self.task == "downscale" and (self.has_truth or self.lpips_backbone):
            raise UsageError(
                "--shrink, --reference and LPIPS compare with a truth, and downscaling, which "
                "--real-lr stands for, has none: leave one or the other out",
                item="--real-lr",
            )
        if self.shrink and self.reference is not None:
            raise UsageError(
                "--shrink makes SRC its own reference: give it or --reference", item="--shrink"
            )
        if (self.lpips_backbone is None) != (self.lpips_heads is None):
            raise UsageError(
                "LPIPS needs both --lpips-backbone and --lpips-heads", item="--lpips-backbone"
            )
        if self.lpips_backbone is not None and not self.has_truth:
            raise UsageError(
                "LPIPS compares with a truth: give --reference or --shrink",
                item="--lpips-backbone",
            )
