"""What ``sdflow degrade`` can be told."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sdflow.config import JobSettings


class DegradeSettings(JobSettings):
    """What a job that makes training pairs can be told."""

    weights: str = Field(
        "default",
        description="folder with the four official .pth, one .safetensors (path or s3://), or "
        "'bicubic' for plain interpolation",
    )
    tau: float = Field(
        0.6,
        ge=0,
        le=1,
        description="sampling temperature; MIN:MAX draws one for every image and sample",
    )
    tau_to: float | None = Field(1.0, ge=0, le=1)
    samples: int = Field(1, ge=1, le=64, description="LR images drawn per HR image")
    outscale: Literal[4] = 4
    format: Literal["png"] = "png"
    metadata: Literal["strip"] = "strip"
    quality: Literal[95] = 95
    tiff_pyramid: Literal[False] = False
    layout: Literal["webdataset", "folders"] = Field(
        "webdataset", description="tar shards, or HR/ and LRx4/ with names alike"
    )
    crop: int | None = Field(
        None, ge=32, multiple_of=8, description="cut HR images into squares of this side"
    )
    stride: int | None = Field(
        None,
        ge=8,
        multiple_of=8,
        description="HR pixels from one square to the next; default: --crop",
    )
    min_texture: float = Field(
        0,
        ge=0,
        description="leave HR images out whose mean step from pixel to pixel has fewer levels; "
        "2 is sky",
    )
    depth: Literal["keep", "8"] = Field(
        "keep", description="bits of the pairs; 8 for loaders that know no 16-bit PNG"
    )
    shard_mb: int = Field(
        256, ge=1, le=100_000, description="size of a shard, in millions of bytes"
    )
    since: date | None = Field(
        None, description="only photos last written on this day or later (UTC), such as 2026-11-01"
    )
    limit: int | None = Field(None, ge=1, description="begin with so many photos, and no more")
    budget_gpu_hours: float | None = Field(
        None, gt=0, description="begin no more photos after so many hours of all workers' GPUs"
    )

    accept_vanished: bool = Field(
        False, description="go on although most photos of the dataset are gone from SRC"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_range(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take ``--tau MIN:MAX`` apart; a single temperature is a range of its own."""
        tau = values.get("tau")
        if tau is None or values.get("tau_to") is not None:
            return values
        low, _, high = str(tau).partition(":")
        return {**values, "tau": low, "tau_to": high or low}

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.tau_to is not None and self.tau_to < self.tau:
            raise ValueError(f"--tau {self.tau}:{self.tau_to}: MIN may not be above MAX")
        if self.stride is not None and self.crop is None:
            raise ValueError("--stride needs --crop")
        return self

    @property
    def since_s(self) -> float:
        """From when on sources count, in seconds since 1970."""
        if self.since is None:
            return 0.0
        return datetime.combine(self.since, time(), UTC).timestamp()

    def is_enough(self, begun: int, gpu_hours: float) -> bool:
        """Whether a run that began with so many images leaves the others for the next one."""
        is_spent = self.budget_gpu_hours is not None and gpu_hours >= self.budget_gpu_hours
        return is_spent or begun == self.limit
