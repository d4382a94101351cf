"""What ``sdflow verify`` can be told."""

from __future__ import annotations

from pydantic import Field

from sdflow.config import TargetSettings


class VerifySettings(TargetSettings):
    """What ``sdflow verify`` can be told."""

    repair: bool = Field(
        False, description="let the next run of the job make missing and changed results again"
    )
    clean: bool = Field(
        False, description="remove what killed runs have left: parts of images, begun uploads"
    )
    quick: bool = Field(
        False, description="datasets: compare names, sizes and ETags alone, read no contents"
    )
