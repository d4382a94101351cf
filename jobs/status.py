"""``sdflow status``: how far a job is, from its destination alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdflow.driver.inspection import inspect_job
from sdflow.driver.places import target_place
from sdflow.storage.location import open_store
from sdflow.work.index import scratch_index

if TYPE_CHECKING:
    from sdflow.config import TargetSettings


def run(settings: TargetSettings) -> dict[str, Any]:
    """Look at the job in DST; nothing is written there.

    Raises:
        UsageError: If DST is no address.
        StorageError: If there is no job, or it cannot be read.
    """
    with scratch_index(knows_outputs=False) as index:
        return inspect_job(open_store(target_place(settings)), index)
