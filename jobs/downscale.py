"""``sdflow downscale``: realistic images of a quarter of the size of a whole archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdflow.driver.run import run_job

if TYPE_CHECKING:
    from sdflow.config import JobSettings
    from sdflow.driver.summary import Summary


def run(settings: JobSettings) -> Summary:
    """Downscale every image of SRC into DST."""
    return run_job("downscale", settings)
