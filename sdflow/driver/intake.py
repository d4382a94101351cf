"""What of a listing belongs to the job; the rest is counted by reason."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sdflow.storage import keys
from sdflow.work.plan import is_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdflow.storage.store import ObjectInfo


class Intake:
    """Iterates once over the images of a listing that are to be looked at.

    Args:
        listing: All objects of the source.
        include: Globs of keys wanted.
        exclude: Globs of keys not wanted.
        since_s: Images last written before are ignored, in seconds since 1970.
        is_stopping: Asked before every object; True ends the iteration.

    Attributes:
        ignored: Objects that are no part of the job: ``placeholder`` of a folder, ``own`` files of
            a job, ``empty`` images, ``archived`` ones that must be restored first, those ``older``
            than was asked for.
        is_whole: Whether the listing has been gone through to its end.
    """

    def __init__(
        self,
        listing: Iterable[ObjectInfo],
        *,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        since_s: float = 0.0,
        is_stopping: Callable[[], bool] = bool,
    ) -> None:
        self._listing = listing
        self._include = include
        self._exclude = exclude
        self._since_s = since_s
        self._is_stopping = is_stopping
        self.ignored: Counter[str] = Counter()
        self.is_whole = False

    def __iter__(self) -> Iterator[ObjectInfo]:
        for info in self._listing:
            if self._is_stopping():
                return
            reason = self._reason_against(info)
            if reason is None:
                yield info
            elif reason:
                self.ignored[reason] += 1
        self.is_whole = True

    def _reason_against(self, info: ObjectInfo) -> str | None:
        """Why an object is ignored; "" where it is none of the images asked for."""
        if info.is_placeholder:
            return "placeholder"
        if keys.is_job_key(info.key):
            return "own"
        if not is_wanted(info.key, include=self._include, exclude=self._exclude):
            return ""
        if info.size_bytes == 0:
            return "empty"
        if info.modified_s < self._since_s:
            return "older"
        return "archived" if info.archived else None
