"""How far a job is, from what lies in its destination; nothing is written there."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sdflow.driver.history import read_ledger
from sdflow.driver.manifest import read_manifest
from sdflow.driver.presence import living_owner
from sdflow.driver.record import require_record
from sdflow.errors import NotFoundError
from sdflow.storage import keys
from sdflow.work.pairs import pair_by_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdflow.driver.observer import Sighting
    from sdflow.storage.store import ObjectInfo, Store
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine

_RECENT = timedelta(minutes=10)
_ENDED = (0, 3)  # exit statuses of runs that went through the whole listing


class RecentTimes:
    """Counts times within ten minutes of the latest one, to the second, in flat memory.

    Attributes:
        latest: The latest time, ISO 8601 in UTC; "" before there is any.
    """

    def __init__(self) -> None:
        self.latest = ""
        self._seconds: Counter[str] = Counter()

    def add(self, time: str, *, counts: bool) -> None:
        """Learn of a time; it may be one that only says how late it is."""
        self.latest = max(self.latest, time)
        if counts:
            self._seconds[time[:19]] += 1
            if len(self._seconds) > 4 * _RECENT.seconds:
                self._forget()

    @property
    def count(self) -> int:
        """How many were counted and are recent."""
        self._forget()
        return self._seconds.total()

    def _forget(self) -> None:
        if not self.latest:
            return
        since = (datetime.fromisoformat(self.latest) - _RECENT).isoformat()[:19]
        self._seconds = Counter({at: n for at, n in self._seconds.items() if at > since})


@dataclass
class Progress:
    """What the ledger says of the images of a listing: ``listed + unlisted`` are all of them.

    An image whose source has changed counts as it ended, until a run does it again: a retry may
    have done it since the listing, and the listing may have come since it was done.

    Attributes:
        listed: Images of the last listing, or of so much of it as is written.
        unlisted: Images that ended and are not in it: removed since, or not listed yet.
        done: Images that are done, with the job's present settings.
        failed: Dead letters.
        waiting: Listed images that have yet to be done.
        errors: Dead letters by code.
        tried_again: Images that took more than one attempt.
        times: When images ended.
    """

    listed: int = 0
    unlisted: int = 0
    done: int = 0
    failed: int = 0
    waiting: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    tried_again: int = 0
    times: RecentTimes = field(default_factory=RecentTimes)

    def add(self, info: ObjectInfo | None, line: LedgerLine | None, parameters: str) -> None:
        """Count an image that is listed, in the ledger or both."""
        ended = line is not None and line.status != "missing" and line.parameters == parameters
        if line is not None:
            self.times.add(line.time, counts=ended and line.status == "done")
        self.listed += info is not None
        if line is None or not ended:
            self.waiting += info is not None
            return
        self.unlisted += info is None
        self.tried_again += line.attempts > 1
        if line.status == "done":
            self.done += 1
        else:
            self.failed += 1
            self.errors[line.error] += 1


def count_progress(
    manifest: Iterable[ObjectInfo], lines: Iterable[LedgerLine], parameters: str
) -> Progress:
    """Lay the listing and the ledger side by side.

    Args:
        manifest: In the order of UTF-8 bytes.
        lines: The newest of every image, in the same order.
        parameters: Hash of the job's present ones: what was done with others waits.
    """
    progress = Progress()
    listed = ((info.key, info) for info in manifest)
    for _, info, line in pair_by_key(listed, ((line.key, line) for line in lines)):
        progress.add(info, line, parameters)
    return progress


def inspect_job(target: Store, index: LedgerIndex) -> dict[str, Any]:
    """What ``sdflow status`` prints.

    Args:
        target: The job's destination.
        index: An empty one.

    Raises:
        NotFoundError: If there is no job.
        StorageError: If its files cannot be read.
    """
    record = require_record(target)
    owner = living_owner(target)
    parameters = record.pixel_parameters()
    parts = read_ledger(target, index)
    progress = count_progress(read_manifest(target), index.lines(), parameters.hash)
    summary = _read_summary(target)
    ended = summary is not None and summary.get("exit_status") in _ENDED and not progress.waiting
    return {
        "task": parameters.task,
        "source": record.source,
        "state": "running" if owner else "finished" if ended else "stopped",
        "driver": None if owner is None else _describe(owner),
        "listed": progress.listed,
        "unlisted": progress.unlisted,
        "done": progress.done,
        "failed": progress.failed,
        "waiting": progress.waiting,
        "dead_letters": dict(sorted(progress.errors.items())),
        "tried_again": progress.tried_again,
        "ledger_parts": len(parts),
        "last_ledger_time": progress.times.latest or None,
        "done_in_last_10_minutes": progress.times.count,
        "summary": summary,
    }


def _describe(owner: Sighting) -> dict[str, Any]:
    return {
        "host": owner.driver.host,
        "pid": owner.driver.pid,
        "started": owner.driver.started,
        "heartbeat_age_s": round(owner.silent_s, 1),
    }


def _read_summary(target: Store) -> dict[str, Any] | None:
    """The last run's summary; None where it left none, or has yet to."""
    try:
        summary = json.loads(target.get(keys.SUMMARY_KEY))
    except (NotFoundError, ValueError):
        return None
    return summary if isinstance(summary, dict) else None
