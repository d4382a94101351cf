"""An image whose results are on their way, and the one ending that they lead to."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from sdflow.errors import SdflowError
from sdflow.telemetry import utc_now
from sdflow.work.ledger import LedgerLine, dead_letter_line
from sdflow.work.shard import ASSEMBLY
from sdflow.worker.report import PartDone, Retry, Totals
from sdflow.worker.results import Written

if TYPE_CHECKING:
    from sdflow.work.parameters import PixelParameters
    from sdflow.work.shard import WorkItem

NotDone = LedgerLine | Retry


def failure(item: WorkItem, parameters: PixelParameters, error: Exception, attempt: int) -> NotDone:
    """What becomes of an image that failed: a dead letter, or another try."""
    if not isinstance(error, SdflowError):
        return Retry(item, "internal", f"{type(error).__name__}: {error}")
    if error.transient:
        return Retry(item, error.code, str(error))
    return dead_letter_line(
        item, parameters, error=error.code, message=str(error), attempts=attempt
    )


class Upload:
    """Gathers what becomes of an image's samples; safe to call from several threads.

    Args:
        item: The image.
        attempt: Number of the attempt.
        totals: What is known of the image already.
        count: How many times something of it will be written.
        note: What of the source is left out; "" if nothing.
    """

    def __init__(
        self, item: WorkItem, attempt: int, totals: Totals, *, count: int, note: str = ""
    ) -> None:
        self.item = item
        self._attempt = attempt
        self._totals = totals
        self._missing = count
        self._notes = {note: None}
        self._note = ""
        self._written: dict[int, Written] = {}
        self._failure: NotDone | None = None
        self._lock = Lock()

    @property
    def note(self) -> str:
        """What is left out of the results, and what had to be given up for them so far."""
        return "; ".join(filter(None, (*self._notes, self._note)))

    def add_drawn(self, totals: Totals, note: str) -> None:
        """Count the work on some samples; the latest note holds what the earlier ones said."""
        with self._lock:
            self._totals += totals
            self._note = note or self._note

    def add_note(self, note: str) -> None:
        """Note what is left out of a result; the same is noted once."""
        with self._lock:
            self._notes[note] = None

    def add_written(self, sample: int, result: Written | NotDone) -> bool:
        """Take in what became of one sample, or of all from that on; True if it was the last."""
        with self._lock:
            self._missing -= 1
            if isinstance(result, Written):
                self._written[sample] = result
                self._notes[result.note] = None
            else:
                self._failure = result
            return self._missing == 0

    def ending(self, parameters: PixelParameters) -> tuple[NotDone | PartDone, Totals]:
        """How the image or part ended, once all samples are written."""
        if self._failure is not None:
            return self._failure, Totals()
        if self.item.part not in (None, ASSEMBLY):
            return PartDone(), self._totals
        written = [result for _, result in sorted(self._written.items())]
        outputs = tuple(output for result in written for output in result.outputs)
        line = LedgerLine(
            key=self.item.key,
            etag=self.item.etag,
            parameters=parameters.hash,
            status="done",
            time=utc_now(),
            attempts=self._attempt,
            outputs=outputs,
            note=self.note,
            weights=parameters.short_weights,
            pairs=written[0].pairs,
            shape=written[0].shape,
            identity=written[0].identity,
        )
        work = Totals(
            done=1,
            bytes_written=sum(output.size_bytes for output in outputs),
            encode_s=sum(result.encode_s for result in written),
            upload_s=sum(result.upload_s for result in written),
        )
        return line, self._totals + work
