"""``sdflow upscale``: four times larger images of a whole archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.driver.run import run_job

if TYPE_CHECKING:
    from sdflow.config import JobSettings
    from sdflow.driver.summary import Summary


def run(settings: JobSettings) -> Summary:
    """Upscale every image of SRC into DST."""
    return run_job("upscale", settings)
