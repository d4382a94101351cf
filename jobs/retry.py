"""``sdflow retry``: the dead letters of a job once more, and nothing else."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from sdflow.config import (
    JobSettings,
    TargetSettings,
    load_retry_settings,
    load_target_settings,
)
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.driver.places import target_place
from sdflow.driver.record import require_record
from sdflow.driver.run import run_job
from sdflow.storage.location import open_store

if TYPE_CHECKING:
    from sdflow.driver.summary import Summary
    from sdflow.work.parameters import JobTask


def settings_of(flags: dict[str, Any]) -> tuple[JobTask, JobSettings]:
    """The task and the settings of the job in DST, with what the command line changes of them.

    Raises:
        UsageError: Naming the flag or variable that is wrong.
        StorageError: If there is no job, or it cannot be read.
    """
    of_target = {name: flags[name] for name in TargetSettings.model_fields if name in flags}
    place = target_place(load_target_settings(TargetSettings, of_target))
    record = require_record(open_store(place))
    task = record.pixel_parameters().task
    model = DegradeSettings if task == "degrade" else JobSettings
    return task, load_retry_settings(model, flags, record.settings, source=record.source)


def run(task: JobTask, settings: JobSettings) -> Summary:
    """Do the job's dead letters again.

    Raises:
        SdflowError: What :func:`sdflow.driver.run.run_job` raises.
        KeyboardInterrupt: On a second signal.
    """
    with redirect_stdout(sys.stderr):  # data alone goes to stdout: Ray talks there too
        return run_job(task, settings, failed_only=True)
