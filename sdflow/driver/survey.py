"""Listing the sources: what is new, what is done, what failed before; and the manifest."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.storage import keys
from sdflow.work.ledger import dead_letter_line
from sdflow.work.names import result_key
from sdflow.work.plan import is_wanted, plan_names
from sdflow.work.shard import WorkItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.storage.store import ObjectInfo, Store
    from sdflow.work.ledger import LedgerIndex, LedgerLine
    from sdflow.work.parameters import PixelParameters

_MANIFEST_LINES = 10_000  # a part


class Survey:
    """Streams the images that are to be done, and counts the others, in flat memory.

    Args:
        source: Where the sources are.
        target: Where the manifest goes.
        index: The ledger so far; dead letters of this run are noted there.
        parameters: The job's.
        include: Globs of keys wanted.
        exclude: Globs of keys not wanted.

    Attributes:
        listed: Images that belong to the job.
        skipped: Of those, done before and unchanged.
        failed: Of those, given up before and unchanged, or without a free name.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        index: LedgerIndex,
        parameters: PixelParameters,
        include: tuple[str, ...],
        exclude: tuple[str, ...],
    ) -> None:
        self._source = source
        self._target = target
        self._index = index
        self._parameters = parameters
        self._include = include
        self._exclude = exclude
        self._manifest: list[bytes] = []
        self._num_parts = 0
        self.listed = self.skipped = self.failed = 0

    def items(self) -> Iterator[WorkItem]:
        """Yield what is to be done, while the listing runs."""
        for info, keeps_full_name in plan_names(self._wanted(), natural_name=self._natural_name):
            self.listed += 1
            line = self._index.find(info.key)
            if line and line.settles(info.etag, self._parameters.hash):
                self._count_finished(line)
                continue
            item = WorkItem(info.key, info.etag, info.size_bytes, keeps_full_name)
            if named := self._with_free_name(item):
                yield named
        self._finish_manifest()

    def _wanted(self) -> Iterator[ObjectInfo]:
        for info in self._source.list():
            if keys.is_job_key(info.key):
                continue
            if is_wanted(info.key, include=self._include, exclude=self._exclude):
                self._note(info)
                yield info

    def _natural_name(self, key: str) -> str:
        return result_key(WorkItem(key, "", 0), wanted=self._parameters.format, sample=None)

    def _count_finished(self, line: LedgerLine) -> None:
        if line.status == "done":
            self.skipped += 1
        else:
            self.failed += 1
            self._index.bury(line)

    def _with_free_name(self, item: WorkItem) -> WorkItem | None:
        """Make sure that no other source's result has the name, whenever it was made."""
        wanted = self._parameters.format
        if wanted == "keep":
            return item  # results are called like their sources
        sample = 0 if self._parameters.samples > 1 else None
        for candidate in (item, replace(item, keeps_full_name=True)):
            if self._index.claim(result_key(candidate, wanted=wanted, sample=sample), item.key):
                return candidate
        name = result_key(item, wanted=wanted, sample=sample)
        line = dead_letter_line(
            item,
            self._parameters.hash,
            error="name.taken",
            message=f"{name} is the result of another source: rename one of the two",
            attempts=1,
        )
        self.failed += 1
        self._index.bury(line)
        return None

    def _note(self, info: ObjectInfo) -> None:
        fields = {"key": info.key, "etag": info.etag, "size_bytes": info.size_bytes}
        self._manifest.append(json.dumps(fields).encode() + b"\n")
        if len(self._manifest) == _MANIFEST_LINES:
            self._write_manifest_part()

    def _write_manifest_part(self) -> None:
        data = gzip.compress(b"".join(self._manifest), mtime=0)
        self._target.put(keys.manifest_key(self._num_parts), data)
        self._manifest.clear()
        self._num_parts += 1

    def _finish_manifest(self) -> None:
        if self._manifest:
            self._write_manifest_part()
        last = keys.manifest_key(self._num_parts)
        for info in self._target.list(keys.MANIFEST_PREFIX):
            if info.key >= last:  # of a longer listing before
                self._target.delete(info.key)
