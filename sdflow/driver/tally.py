"""What a run has come to: sums over the workers' reports, and its dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdflow.driver.summary import Summary, exit_status
from sdflow.errors import AccessDeniedError
from sdflow.telemetry import peak_rss_bytes
from sdflow.work.ledger import LedgerLine, dead_letter_line
from sdflow.work.names import parts_prefix
from sdflow.worker.report import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.driver.events import RecordDeadLetter
    from sdflow.driver.intake import Intake
    from sdflow.driver.recorder import Recorder
    from sdflow.driver.survey import Survey
    from sdflow.work.estimate import PixelEstimate
    from sdflow.work.index import LedgerIndex
    from sdflow.work.parameters import PixelParameters
    from sdflow.work.shard import WorkItem
    from sdflow.worker.report import Ending


_MAX_DENIED = 1000  # in a row
_MAX_WAITING = 200_000  # ledger lines that are not durable yet, before no more is begun


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through the listing.

    Attributes:
        intake: What was listed and what of it was ignored.
        survey: What was done before and what was not.
    """

    intake: Intake
    survey: Survey


class Tally:
    """Adds up what the workers report, and hands it to the ledger.

    Args:
        recorder: Writes the ledger.
        index: Where this run's dead letters are noted.
        parameters: The job's.
        estimate: Learns from the images that were read.

    Attributes:
        retries: Images that were tried again.
        begun: Images that this run has begun with.
        deferred: Images left for the next run.
        is_unpublished: Whether a stop came before what was drawn was part of the dataset.
        worker_s: Seconds that workers were there, added up over workers.
        peak_rss_worker: Largest memory of any worker's process, in bytes.
        devices: Kinds of device that worked.
    """

    def __init__(
        self,
        recorder: Recorder,
        index: LedgerIndex,
        parameters: PixelParameters,
        estimate: PixelEstimate,
    ) -> None:
        self._recorder = recorder
        self._index = index
        self._parameters = parameters
        self._estimate = estimate
        self._totals = Totals()
        self._listed: Pass | None = None
        self._failed = 0
        self._done_before = 0
        self._denied = 0
        self.retries = 0
        self.begun = 0
        self.deferred = 0
        self.is_unpublished = False
        self.worker_s = 0.0
        self.peak_rss_worker = 0
        self.devices: set[str] = set()

    @property
    def keeps_up(self) -> bool:
        """Whether the ledger takes lines as fast as they come."""
        return self._recorder.num_waiting < _MAX_WAITING

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to say."""
        return self._listed is not None

    def gpu_hours(self, per_worker: float | None) -> float:
        """Hours of all workers' GPUs; of their processors where they have none."""
        return self.worker_s / 3600 * (per_worker or 1.0)

    def begin_pass(self, listed: Pass) -> None:
        """The listing is gone through (once more): what was done so far will count as settled."""
        self._listed = listed
        self._done_before = self._totals.done
        self._failed = 0
        self.deferred = 0

    def work(self, now: float) -> None:
        """Let the ledger be written if it is time."""
        self._recorder.work(now)

    def record(self, line: LedgerLine) -> None:
        """Hand a line to the ledger that is counted elsewhere; from any thread."""
        self._recorder.add(line)

    def add_endings(self, endings: Iterable[Ending]) -> None:
        """Count images that are done or given up, and parts that are done.

        Raises:
            AccessDeniedError: If nothing but denials comes any more.
        """
        for ending in endings:
            line, totals = ending.outcome, ending.totals
            if isinstance(line, LedgerLine) and line.status == "failed":
                self._give_up(line)
                self._check_rights(line)
                continue
            self._denied = 0
            self._totals += totals
            if isinstance(line, LedgerLine):
                self._recorder.add(line)
                self._estimate.observe(line.key, totals.bytes_read, totals.pixels_in)

    def remove_parts(self, item: WorkItem) -> None:
        """What an image was put together from is not needed once its line is durable."""
        self._recorder.remove_later(parts_prefix(item, self._parameters))

    def add_dead_letter(self, given_up: RecordDeadLetter) -> None:
        """Count an image that the driver gives up."""
        self._give_up(
            dead_letter_line(
                given_up.item,
                self._parameters,
                error=given_up.error,
                message=given_up.message,
                attempts=given_up.attempts,
            )
        )

    def _check_rights(self, line: LedgerLine) -> None:
        """Credentials that have run out must not make dead letters of a whole archive."""
        self._denied = self._denied + 1 if line.error == AccessDeniedError.code else 0
        if self._denied >= _MAX_DENIED:
            raise AccessDeniedError(
                f"{_MAX_DENIED} images in a row were denied ({line.message}): mend the "
                "credentials; the same command tries these images again",
                item=line.key,
            )

    def _give_up(self, line: LedgerLine) -> None:
        line = self._index.with_first_seen(line)
        self._failed += 1
        self._recorder.add(line)
        self._index.bury(line)

    def summary(
        self, *, seconds: float, stopped: bool, max_failure_rate: float, broken: bool = False
    ) -> Summary:
        """The numbers of the run as they stand, after at least one pass began.

        Args:
            seconds: From start to end.
            stopped: Whether a stop was requested.
            max_failure_rate: Share of images that may fail.
            broken: Whether the run ends because it could not go on.
        """
        if self._listed is None:
            raise ValueError("nothing was listed")
        intake, survey = self._listed.intake, self._listed.survey
        totals, task = self._totals, self._parameters.task
        failed = self._failed + survey.failed
        skipped = survey.skipped - self._done_before
        unfinished = survey.listed - totals.done - skipped - failed
        pixels = totals.pixels_in if task == "upscale" else totals.pixels_out
        left = unfinished - self.deferred
        return Summary(
            task=task,
            listed=survey.listed,
            done=totals.done,
            skipped=skipped,
            failed=failed,
            unfinished=unfinished,
            deferred=self.deferred,
            ignored=dict(intake.ignored),
            retries=self.retries,
            megapixels_in=totals.pixels_in / 1e6,
            megapixels_out=totals.pixels_out / 1e6,
            bytes_read=totals.bytes_read,
            bytes_written=totals.bytes_written,
            seconds=round(seconds, 3),
            mp_per_s=round(pixels / 1e6 / seconds, 6),
            worker_seconds={
                "fetch": round(totals.fetch_s, 3),
                "compute": round(totals.busy_s, 3),
                "encode": round(totals.encode_s, 3),
                "upload": round(totals.upload_s, 3),
            },
            worker_busy_fraction=round(min(1.0, totals.busy_s / (self.worker_s or seconds)), 4),
            peak_rss_driver_mb=round(peak_rss_bytes() / 1e6, 1),
            peak_rss_worker_mb=round(self.peak_rss_worker / 1e6, 1),
            devices=tuple(sorted(self.devices)),
            exit_status=1
            if broken
            else exit_status(
                listed=survey.listed,
                failed=failed,
                stopped=left > 0 or self.is_unpublished or (stopped and not intake.is_whole),
                max_failure_rate=max_failure_rate,
            ),
        )
