"""Which sources of a dataset are gone, and which are back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from sdflow.errors import StorageError
from sdflow.work.pairs import pair_by_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from sdflow.storage.store import ObjectInfo
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine

_MANY = 20  # sources; fewer may all vanish in a night


class SourceWatch:
    """Compares a listing with the sources of a dataset, while it passes.

    Args:
        published: Newest line of every source of the dataset.
        moved: Empty file, for what is found.
        may_shrink: Whether most of the sources may have vanished.
    """

    def __init__(self, published: LedgerIndex, moved: IO[bytes], *, may_shrink: bool) -> None:
        self._published = published
        self._moved = moved
        self._may_shrink = may_shrink

    def watched(self, listing: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
        """Pass a listing on, noting which sources of the dataset are gone, and which are back.

        Args:
            listing: All of SRC, in the order of UTF-8 bytes. What is noted holds once it has been
                gone through to its end.

        Raises:
            StorageError: At the end, if most sources are gone and nobody said that they may be.
        """
        self._moved.seek(0)
        self._moved.truncate()
        num_known = num_gone = 0
        objects = ((info.key, info) for info in listing)
        known = ((line.key, line) for line in self._published.lines())
        for key, info, line in pair_by_key(objects, known):
            num_known += line is not None and line.status == "done"
            num_gone += line is not None and line.status == "done" and info is None
            if line is not None and (status := _moved_to(line, info)):
                self._moved.write(json.dumps([key, status]).encode() + b"\n")
            if info is not None:
                yield info
        if num_known >= _MANY and num_gone > num_known / 2 and not self._may_shrink:
            raise StorageError(
                f"{num_gone} of the {num_known} photos that the dataset is made of are gone from "
                "SRC: if that is meant, give --accept-vanished; if not, see what has become of SRC",
                item="SRC",
            )

    def moves(self, ledger: LedgerIndex) -> Iterator[LedgerLine]:
        """Lines of sources that are gone or back, but for those that were drawn anew meanwhile."""
        self._moved.seek(0)
        for text in self._moved:
            key, status = json.loads(text)
            before, now = self._published.find(key), ledger.find(key)
            is_newer = now and before and (now.status, now.time != before.time) == ("done", True)
            if before is not None and not is_newer:
                yield replace(before, status=status, replaces="")


def _moved_to(line: LedgerLine, info: ObjectInfo | None) -> str:
    """What a source's pairs are now, if they were something else; "" if not."""
    is_there = info is not None and info.etag == line.etag
    if line.status == "done":
        return "" if is_there else "vanished"
    return "done" if is_there else ""
