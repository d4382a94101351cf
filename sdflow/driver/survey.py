"""Listing the sources: what is new, what is done, what failed before; and the manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.work.ledger import dead_letter_line
from sdflow.work.names import claimed_key, result_key
from sdflow.work.plan import plan_blocks, plan_names
from sdflow.work.shard import WorkItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdflow.driver.manifest import Manifest
    from sdflow.storage.store import ObjectInfo
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine
    from sdflow.work.parameters import PixelParameters


class Survey:
    """Streams the images that are to be done, and counts the others, in flat memory.

    Args:
        images: All that belong to the job, in the order of UTF-8 bytes.
        manifest: Told about every one of them; None where another driver does that.
        index: The ledger so far; dead letters of this run are noted there.
        parameters: The job's.
        claim: Whether a block of the listing is this driver's to do.
        record: Told about images that are given up at once.

    Attributes:
        listed: Images that belong to the job.
        skipped: Of those, done before and unchanged.
        failed: Of those, given up before and unchanged, or without a free name.
        elsewhere: Of those, another driver's to do.
    """

    def __init__(
        self,
        images: Iterable[ObjectInfo],
        manifest: Manifest | None,
        index: LedgerIndex,
        parameters: PixelParameters,
        *,
        claim: Callable[[str], bool] = bool,
        record: Callable[[LedgerLine], None] = lambda line: None,
    ) -> None:
        self._images = images
        self._manifest = manifest
        self._index = index
        self._parameters = parameters
        self._claim = claim
        self._record = record
        self.listed = self.skipped = self.failed = self.elsewhere = 0

    def items(self) -> Iterator[WorkItem]:
        """Yield what is to be done, while the listing runs.

        Raises:
            StorageError: If the listing or the manifest fails.
        """
        named = plan_names(self._noted(), natural_name=self._natural_name)
        claimed: tuple[str, bool] = ("", False)
        for info, keeps_full_name, block in plan_blocks(named):
            self.listed += 1
            line = self._index.find(info.key)
            if line and line.settles(info.etag, self._parameters.hash):
                self._count_settled(line)
                continue
            if claimed[0] != block:
                claimed = (block, self._claim(block))
            if not claimed[1]:
                self.elsewhere += 1
                continue
            item = WorkItem(info.key, info.etag, info.size_bytes, keeps_full_name)
            if found := self._with_free_name(item):
                yield found
        if self._manifest is not None:
            self._manifest.finish()

    def _noted(self) -> Iterator[ObjectInfo]:
        for info in self._images:
            if self._manifest is not None:
                self._manifest.add(info)
            yield info

    def _natural_name(self, key: str) -> str:
        return result_key(WorkItem(key, "", 0), wanted=self._parameters.format, sample=None)

    def _count_settled(self, line: LedgerLine) -> None:
        if line.status == "done":
            self.skipped += 1
        else:
            self.failed += 1
            self._index.bury(line)

    def _with_free_name(self, item: WorkItem) -> WorkItem | None:
        """Make sure that no other source's result has the name, whenever it was made."""
        for candidate in (item, replace(item, keeps_full_name=True)):
            name = claimed_key(candidate, self._parameters)
            if name is None or self._index.claim(name, item.key):
                return candidate
        line = dead_letter_line(
            item,
            self._parameters,
            error="name.taken",
            message=f"{name} is the result of another source: rename one of the two",
            attempts=1,
        )
        self.failed += 1
        self._index.bury(line)
        self._record(line)
        return None
