"""``sdflow degrade``: training pairs of a whole archive, of what is new every night."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from sdflow.driver.run import run_job

if TYPE_CHECKING:
    from sdflow.driver.degrade_settings import DegradeSettings
    from sdflow.driver.summary import Summary


def run(settings: DegradeSettings) -> Summary:
    """Draw LR images of every photo of SRC that is new or changed, and add the pairs to DST."""
    with redirect_stdout(sys.stderr):  # data alone goes to stdout: Ray talks there too
        return run_job("degrade", settings)
