"""A job's dead letters as work once more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from sdflow.driver.history import read_ledger
from sdflow.driver.survey import Survey
from sdflow.errors import AccessDeniedError, NotFoundError
from sdflow.storage.store import ObjectInfo
from sdflow.work.shard import WorkItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.storage.store import Store
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine
    from sdflow.work.parameters import PixelParameters

_AT_ONCE = 16


class RetrySurvey(Survey):
    """Streams dead letters as work, whatever has become of their sources.

    Args:
        images: Their sources, in the order of UTF-8 bytes.
        index: The ledger so far.
        parameters: The job's.
    """

    def __init__(
        self, images: Iterable[ObjectInfo], index: LedgerIndex, parameters: PixelParameters
    ) -> None:
        super().__init__(images, None, index, parameters)

    def items(self) -> Iterator[WorkItem]:
        """Yield what is to be done, while the sources are asked for.

        Raises:
            StorageError: If the source fails.
        """
        for info in self._images:
            self.listed += 1
            line = self._index.find(info.key)
            full_name = line is not None and line.full_name
            if item := self._with_free_name(
                WorkItem(info.key, info.etag, info.size_bytes, full_name)
            ):
                yield item


def dead_sources(source: Store, letters: Iterable[LedgerLine]) -> Iterator[ObjectInfo]:
    """Ask for the present version of dead letters' sources, several at once.

    One that is gone or denied is yielded as it was: whoever tries to read it finds out why not.

    Raises:
        StorageError: If the source fails.
    """
    remaining = iter(letters)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="head") as pool:
        while batch := list(islice(remaining, 4 * _AT_ONCE)):
            yield from pool.map(partial(_present, source), batch)


def bury_all_dead(target: Store, index: LedgerIndex, run_id: str) -> None:
    """Note every dead letter that is left, also what this run has not come to.

    Args:
        target: Where the ledger is.
        index: The ledger as it was before the run.
        run_id: Beginning of the names of the run's own parts of the ledger.

    Raises:
        StorageError: If these cannot be read.
    """
    read_ledger(target, index, run_id=run_id)
    for line in index.lines(failed_only=True):
        index.bury(line)


def _present(source: Store, letter: LedgerLine) -> ObjectInfo:
    try:
        return source.head(letter.key)
    except (NotFoundError, AccessDeniedError):
        return ObjectInfo(letter.key, max(1, letter.size_bytes), letter.etag)
