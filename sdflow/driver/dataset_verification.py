"""Whether the pairs that a dataset speaks of are what lies in the destination."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Literal, TypeVar

from sdflow.driver.history import read_ledger
from sdflow.driver.pair_contents import Problem, read_source
from sdflow.driver.published import read_dataset, read_index
from sdflow.driver.shard_contents import read_shard
from sdflow.driver.shard_places import scratch_places
from sdflow.driver.verification import compare_outputs
from sdflow.storage import keys
from sdflow.storage.store import key_order
from sdflow.telemetry import utc_now
from sdflow.work.index import scratch_index
from sdflow.work.pairs import pair_by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdflow.driver.shard_contents import ShardContents
    from sdflow.driver.shard_places import ShardPlaces
    from sdflow.storage.store import ObjectInfo, Store
    from sdflow.work.dataset import DatasetRecord
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine

_SHARDS_AT_ONCE = 4
_SOURCES_AT_ONCE = 16
_UNKNOWN = -1  # size
_FOLDERS = (keys.HR_PREFIX, keys.LR_PREFIX, keys.PAIRS_PREFIX)
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class DatasetVerification:
    """A dataset, and what its index and the ledger say of it.

    Args:
        target: Where it is.
        record: ``dataset.json``; None before the first night.
        published: What nights have made, by source.
        ledger: The index's lines, with those of the ledger as the newer ones, outputs included.
        places: Pairs in use by shard.

    Attributes:
        counts: What was found, by verdict and more.
    """

    def __init__(
        self,
        target: Store,
        record: DatasetRecord | None,
        published: LedgerIndex,
        ledger: LedgerIndex,
        places: ShardPlaces,
    ) -> None:
        self._target = target
        self._record = record
        self._published = published
        self._ledger = ledger
        self._places = places
        self._repair: Callable[[LedgerLine], None] | None = None
        self.counts: Counter[str] = Counter()

    def problems(
        self, *, repair: Callable[[LedgerLine], None] | None, quick: bool
    ) -> Iterator[Problem]:
        """Compare the destination with what is said of it, once.

        Args:
            repair: Given a line of the ledger for every source that must be drawn again.
            quick: Whether to compare names, sizes and ETags alone.

        Raises:
            StorageError: If the destination cannot be read.
        """
        self._repair = repair
        found = chain(self._shards(quick=quick), self._files(), self._pieces())
        if not quick:
            found = chain(found, self._contents_of_files())
        for problem in found:
            self.counts[problem.verdict] += 1
            yield problem

    def remove_pieces(self) -> int:
        """Remove pieces that are in shards or that nothing names; returns how many there were.

        Raises:
            StorageError: If the store refuses.
        """
        num_removed = 0

        def useless() -> Iterator[str]:
            nonlocal num_removed
            for name, info, line in self._listed_pieces():
                if info is not None and line is None:
                    num_removed += 1
                    yield name

        self._target.delete_many(useless())
        return num_removed

    def _shards(self, *, quick: bool) -> Iterator[Problem]:
        whole: list[ObjectInfo] = []
        used = set(self._places.shards())
        for key, info, size_bytes in pair_by_key(
            self._listed(keys.SHARDS_PREFIX), self._shards_by_key(used)
        ):
            if size_bytes is None:
                yield Problem("orphan", key)
            elif key not in used:
                self.counts["unused"] += 1
            elif info is None:
                yield self._broken_shard(key, "missing")
            elif size_bytes not in (_UNKNOWN, info.size_bytes):
                reason = f"{info.size_bytes} bytes, not {size_bytes}"
                yield self._broken_shard(key, "changed", reason)
            else:
                whole.append(info)
        if quick:
            self.counts["whole"] += len(whole)
        else:
            for info, contents in _at_once(_SHARDS_AT_ONCE, self._contents, whole):
                yield from self._shard_problems(info.key, contents)

    def _shards_by_key(self, used: set[str]) -> Iterator[tuple[str, int]]:
        """Shards that belong to the dataset, and what they should weigh."""
        record = self._record
        nights = record.nights if record else ()
        sizes = {one["key"]: int(one["bytes"]) for night in nights for one in night.shards}
        for key in sorted(used | sizes.keys(), key=key_order):
            yield key, sizes.get(key, _UNKNOWN)

    def _broken_shard(
        self, shard: str, verdict: Literal["missing", "changed"], reason: str = ""
    ) -> Problem:
        heals = [self._heals(self._published.find(key)) for key in self._places.sources(shard)]
        return Problem(verdict, shard, None, reason, all(heals))

    def _contents(self, shard: ObjectInfo) -> ShardContents:
        return read_shard(self._target, shard, published=self._published, places=self._places)

    def _shard_problems(self, shard: str, contents: ShardContents) -> Iterator[Problem]:
        self.counts["pairs_read"] += contents.num_pairs
        self.counts["stale_pairs"] += contents.num_stale
        if contents.damage:
            yield self._broken_shard(shard, "changed", contents.damage)
            return
        is_whole = not contents.faults
        for line, fault in contents.faults:
            yield Problem(fault.verdict, shard, line.key, fault.reason, self._heals(line))
        for key in self._places.sources(shard, unticked_only=True):
            is_whole = False
            owner = self._published.find(key)
            if owner is not None:
                fault = contents.incomplete(owner)
                yield Problem(fault.verdict, shard, key, fault.reason, self._heals(owner))
        if not is_whole:  # all move to another shard: this one would keep the broken pairs
            for key in self._places.sources(shard):
                self._heals(self._published.find(key))
        self.counts["whole"] += is_whole

    def _files(self) -> Iterator[Problem]:
        """Pairs in folders: what is listed, against what lines name."""
        listing = chain.from_iterable(map(self._target.list, _FOLDERS))
        outputs = (
            (name, self._current(line))
            for name, line in self._ledger.outputs()
            if name.startswith(_FOLDERS)
        )
        for finding in compare_outputs(listing, outputs):
            line, verdict = finding.line, finding.verdict
            if line is None:
                yield Problem("orphan", finding.output)
            elif verdict == "missing" or verdict == "changed":
                if line.status != "vanished":
                    yield Problem(verdict, finding.output, line.key, "", self._heals(line))
            else:
                self.counts[verdict] += 1

    def _contents_of_files(self) -> Iterator[Problem]:
        lines = (self._current(line) for line in self._ledger.lines())
        in_folders = (
            line
            for line in lines
            if line.status == "done" and line.outputs and line.outputs[-1].key.startswith(_FOLDERS)
        )
        for line, (num_pairs, faults) in _at_once(
            _SOURCES_AT_ONCE, partial(read_source, self._target), in_folders
        ):
            self.counts["pairs_read"] += num_pairs
            for fault in faults:
                output = line.outputs[-1].key
                yield Problem(fault.verdict, output, line.key, fault.reason, self._heals(line))

    def _pieces(self) -> Iterator[Problem]:
        """Pairs that were drawn and not yet packed."""
        for name, info, line in self._listed_pieces():
            if line is None:
                self.counts["leftovers"] += 1
                continue
            self.counts["unpublished"] += 1
            (piece,) = line.outputs
            if info is None:
                yield Problem("missing", name, line.key, "", self._heals(line))
            elif (info.etag, info.size_bytes) != (piece.etag, piece.size_bytes):
                yield Problem("changed", name, line.key, "", self._heals(line))
            else:
                self.counts["whole"] += 1

    def _listed_pieces(self) -> Iterator[tuple[str, ObjectInfo | None, LedgerLine | None]]:
        """Pieces that there are, and those that the next night needs, with their lines."""
        needed = (
            (name, line)
            for name, line in self._ledger.outputs()
            if name.startswith(keys.PIECES_PREFIX)
            and self._is_unpublished(line)
            and any(output.key == name for output in line.outputs)
        )
        return pair_by_key(self._listed(keys.PIECES_PREFIX), needed)

    def _listed(self, prefix: str) -> Iterator[tuple[str, ObjectInfo]]:
        return ((info.key, info) for info in self._target.list(prefix) if not info.is_placeholder)

    def _is_unpublished(self, line: LedgerLine) -> bool:
        """Whether the next night makes this line of the ledger part of the dataset."""
        before = self._published.find(line.key)
        return line.status == "done" and (before is None or before.time != line.time)

    def _current(self, line: LedgerLine) -> LedgerLine:
        """What counts for files of a source, of which this is the newest line."""
        return line if self._is_unpublished(line) else self._published.find(line.key) or line

    def _heals(self, broken: LedgerLine | None) -> bool:
        """Whether the next night draws this source's pairs again; if so asked, see to it."""
        if broken is None:
            return False
        newest = self._ledger.find(broken.key) or broken
        is_newer = newest.time != broken.time and self._is_unpublished(newest)
        if newest.status == "missing" or is_newer:
            return True
        if self._repair is None:
            return False
        if self._places.is_first(broken.key):
            self._repair(replace(newest, status="missing", time=utc_now()))
        return True


@contextmanager
def open_dataset(target: Store) -> Iterator[DatasetVerification]:
    """The dataset in a destination, its index and the ledger, read for the length of a block.

    Raises:
        StorageError: If they cannot be read, or are damaged.
    """
    record = read_dataset(target)
    with (
        scratch_index(knows_outputs=False) as published,
        scratch_index(knows_outputs=True) as ledger,
        scratch_places() as places,
    ):
        for part in read_index(target, record):
            lines = list(part)
            published.add(lines)
            ledger.add(lines)
        read_ledger(target, ledger)
        places.add(
            (output.key, line.key)
            for line in published.lines()
            if line.status == "done"
            for output in line.outputs
            if output.key.startswith(keys.SHARDS_PREFIX)
        )
        yield DatasetVerification(target, record, published, ledger, places)


def _at_once(
    num: int, work: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[tuple[_Item, _Result]]:
    """Items with what work makes of them, in order; all threads rest while they are handed out."""
    remaining = iter(items)
    with ThreadPoolExecutor(num, thread_name_prefix="verify") as pool:
        while batch := list(islice(remaining, 4 * num)):
            yield from zip(batch, list(pool.map(work, batch)), strict=True)
