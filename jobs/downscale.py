"""``sdflow downscale``: realistic images of a quarter of the size of a whole archive."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from sdflow.driver.run import run_job

if TYPE_CHECKING:
    from sdflow.config import JobSettings
    from sdflow.driver.summary import Summary


def run(settings: JobSettings) -> Summary:
    """Downscale every image of SRC into DST."""
    with redirect_stdout(sys.stderr):  # data alone goes to stdout: Ray talks there too
        return run_job("downscale", settings)
