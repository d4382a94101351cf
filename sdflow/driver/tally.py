"""What a run has come to: sums over the workers' reports, and its dead letters."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from sdflow.driver.summary import Summary, exit_status
from sdflow.storage import keys
from sdflow.work.ledger import dead_letter_line, encode_lines
from sdflow.worker.report import Totals

if TYPE_CHECKING:
    from sdflow.driver.events import RecordDeadLetter
    from sdflow.driver.survey import Survey
    from sdflow.storage.store import Store
    from sdflow.work.ledger import LedgerIndex
    from sdflow.work.parameters import PixelParameters
    from sdflow.worker.report import ShardReport


class Tally:
    """Adds up what the workers report.

    Args:
        target: Where the driver's own ledger parts go.
        index: Where this run's dead letters are noted.
        parameters: The job's.
        run_id: Beginning of the names of this run's ledger parts.

    Attributes:
        retries: Images that were tried again.
        devices: Kinds of device that worked.
    """

    def __init__(
        self, target: Store, index: LedgerIndex, parameters: PixelParameters, *, run_id: str
    ) -> None:
        self._target = target
        self._index = index
        self._parameters = parameters
        self._run_id = run_id
        self._totals = Totals()
        self._failed = 0
        self._peak_rss_worker = 0
        self.retries = 0
        self.devices: tuple[str, ...] = ()

    def add_report(self, report: ShardReport) -> None:
        """Count a finished shard; its images are in the ledger already."""
        self._totals += report.totals
        self._peak_rss_worker = max(self._peak_rss_worker, report.peak_rss_bytes)
        for line in report.failed:
            self._failed += 1
            self._index.bury(line)

    def add_dead_letter(self, given_up: RecordDeadLetter) -> None:
        """Write an image that the driver gives up into the ledger, and count it."""
        line = dead_letter_line(
            given_up.item,
            self._parameters.hash,
            error=given_up.error,
            message=given_up.message,
            attempts=given_up.attempts,
        )
        self._failed += 1
        name = f"{self._run_id}-dead-{self._failed:06d}"
        self._target.put(keys.ledger_key(name), encode_lines([line]))
        self._index.bury(line)

    def summary(
        self,
        survey: Survey,
        *,
        seconds: float,
        workers: int,
        stopped: bool,
        max_failure_rate: float,
    ) -> Summary:
        """The numbers of the run as they stand."""
        totals, task = self._totals, self._parameters.task
        failed = self._failed + survey.failed
        unfinished = survey.listed - totals.done - survey.skipped - failed
        pixels = totals.pixels_in if task == "upscale" else totals.pixels_out
        return Summary(
            task=task,
            listed=survey.listed,
            done=totals.done,
            skipped=survey.skipped,
            failed=failed,
            unfinished=unfinished,
            retries=self.retries,
            megapixels_in=totals.pixels_in / 1e6,
            megapixels_out=totals.pixels_out / 1e6,
            bytes_read=totals.bytes_read,
            bytes_written=totals.bytes_written,
            seconds=round(seconds, 3),
            mp_per_s=round(pixels / 1e6 / seconds, 6),
            worker_busy_fraction=round(totals.busy_s / (seconds * workers), 4),
            peak_rss_driver_mb=round(_peak_rss_mb(), 1),
            peak_rss_worker_mb=round(self._peak_rss_worker / 1e6, 1),
            devices=self.devices,
            exit_status=exit_status(
                listed=survey.listed,
                failed=failed,
                stopped=stopped and unfinished > 0,
                max_failure_rate=max_failure_rate,
            ),
        )


def _peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
