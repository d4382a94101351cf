"""Whether the results that the ledger speaks of are what lies in the destination."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sdflow.storage import keys
from sdflow.telemetry import utc_now
from sdflow.work.pairs import pair_by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdflow.driver.recorder import Recorder
    from sdflow.storage.store import ObjectInfo, Store
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine

_LINES = 10_000  # of the ledger that are gathered before they are written

Verdict = Literal["whole", "missing", "changed", "orphan", "superseded"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One object of the destination, or one that should be there.

    Attributes:
        output: Its key.
        verdict: ``whole`` as it was written; ``missing``; ``changed`` since; ``orphan`` that no
            line of the ledger names; ``superseded`` by results of a newer source or settings.
        line: Newest line of its image; None for an orphan.
    """

    output: str
    verdict: Verdict
    line: LedgerLine | None

    @property
    def breaks_image(self) -> LedgerLine | None:
        """The line of an image whose result this is, if it must be made again."""
        return self.line if self.verdict in ("missing", "changed") else None


def compare_outputs(
    listing: Iterable[ObjectInfo], outputs: Iterable[tuple[str, LedgerLine]]
) -> Iterator[Finding]:
    """Lay a listing and the ledger side by side.

    Args:
        listing: Of the destination, in the order of UTF-8 bytes.
        outputs: Names that results were ever given with the newest line of their image, in the
            same order.

    Yields:
        Every object but a job's own, and every result that should be there.
    """
    objects = (
        (info.key, info)
        for info in listing
        if not keys.is_job_key(info.key) and not info.is_placeholder
    )
    for name, info, line in pair_by_key(objects, outputs):
        verdict = _judge(name, info, line)
        if verdict is not None:
            yield Finding(name, verdict, line)


def verify_outputs(
    target: Store,
    index: LedgerIndex,
    *,
    report: Callable[[Finding], None],
    repair: Callable[[LedgerLine], None] | None,
) -> Counter[Verdict]:
    """Compare the destination with the ledger.

    Args:
        target: Where results are.
        index: The ledger, outputs included.
        report: Told every problem.
        repair: Given a line for every image that must be made again.

    Returns:
        Findings by verdict.

    Raises:
        StorageError: If the destination cannot be listed.
    """
    counts: Counter[Verdict] = Counter()
    last = ""
    for finding in compare_outputs(target.list(), index.outputs()):
        counts[finding.verdict] += 1
        broken = finding.breaks_image
        if broken is not None and repair is not None and broken.key != last:
            last = broken.key
            if broken.status != "missing":
                repair(replace(broken, status="missing", time=utc_now()))
        if finding.verdict not in ("whole", "superseded"):
            report(finding)
    return counts


class Repair:
    """Writes lines into the ledger that make the next run do images again.

    Args:
        recorder: Writes the ledger.
        check: Raises if the job is no longer held.

    Attributes:
        num_images: How many there were.
    """

    def __init__(self, recorder: Recorder, check: Callable[[], None]) -> None:
        self._recorder = recorder
        self._check = check
        self.num_images = 0

    def __call__(self, line: LedgerLine) -> None:
        """Take a line.

        Raises:
            StorageError: If the ledger cannot be written.
        """
        self._recorder.add(line)
        self.num_images += 1
        if self._recorder.num_waiting >= _LINES:
            self.finish()

    def finish(self) -> None:
        """Write what is left.

        Raises:
            StorageError: If the ledger cannot be written.
        """
        self._check()
        self._recorder.finish()


def _judge(name: str, info: ObjectInfo | None, line: LedgerLine | None) -> Verdict | None:
    if line is None:
        return "orphan"
    expected = next((output for output in line.outputs if output.key == name), None)
    if expected is None:
        return None if info is None else "superseded"
    if info is None:
        return "missing"
    is_same = (info.etag, info.size_bytes) == (expected.etag, expected.size_bytes)
    return "whole" if is_same else "changed"
