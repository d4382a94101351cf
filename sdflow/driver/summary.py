"""The numbers a job ends with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from sdflow.work.parameters import JobTask


@dataclass(frozen=True, slots=True)
class Summary:
    """``summary.json``. Every listed image is done, skipped, failed or, if stopped, unfinished.

    Attributes:
        task: What the job did.
        listed: Images that belong to the job.
        done: Done by this run.
        skipped: Done by an earlier run and unchanged since.
        failed: Dead letters, of this run or unchanged since an earlier one.
        unfinished: Listed and not ended: of a run that was stopped, or with another driver.
        deferred: Of those, left for the next run because of ``--limit`` or ``--budget-gpu-hours``.
        ignored: Objects that are no part of the job, by reason: ``placeholder`` of a folder,
            ``empty``, ``archived`` (must be restored first), ``own`` (a job's own files),
            ``older`` than ``--since``.
        retries: Images that were tried again.
        megapixels_in: Source megapixels done by this run.
        megapixels_out: Result megapixels made by this run.
        bytes_read: Of sources done by this run.
        bytes_written: Of results made by this run.
        seconds: From start to end.
        mp_per_s: Source megapixels per second for upscale, result megapixels for others.
        worker_seconds: Seconds of all workers' threads, by what they did: ``fetch`` (decoding
            included), ``compute`` (one thread of each worker), ``encode``, ``upload``.
        worker_busy_fraction: Share of the time in which a worker computed, mean over workers.
        peak_rss_driver_mb: Largest memory of the driver's process.
        peak_rss_worker_mb: Largest memory of any worker's process.
        devices: Kinds of device that worked.
        exit_status: 0 done, 1 could not go on, 3 too many failed, 4 stopped and resumable.
        night: What a run of ``degrade`` added to its dataset; absent where it added nothing.
    """

    task: JobTask
    listed: int
    done: int
    skipped: int
    failed: int
    unfinished: int
    deferred: int
    ignored: dict[str, int]
    retries: int
    megapixels_in: float
    megapixels_out: float
    bytes_read: int
    bytes_written: int
    seconds: float
    mp_per_s: float
    worker_seconds: dict[str, float]
    worker_busy_fraction: float
    peak_rss_driver_mb: float
    peak_rss_worker_mb: float
    devices: tuple[str, ...]
    exit_status: int
    night: dict[str, Any] | None = None

    def to_json(self) -> str:
        """Indented JSON."""
        given = asdict(self)
        if self.night is None:
            del given["night"]
        return json.dumps(given, indent=2)


def exit_status(*, listed: int, failed: int, stopped: bool, max_failure_rate: float) -> int:
    """0 when the job ended well, 3 when more images failed than allowed, 4 when it was stopped."""
    if stopped:
        return 4
    return 3 if failed and failed / listed > max_failure_rate else 0
