"""One night of a dataset: what was drawn becomes part of it, what has vanished is marked."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from sdflow.driver.card import write_card
from sdflow.driver.listings import write_listings
from sdflow.driver.packing import remove_others, write_shards
from sdflow.driver.published import index_keys, read_dataset, read_index
from sdflow.storage import keys
from sdflow.telemetry import utc_now
from sdflow.work.dataset import (
    Census,
    DatasetRecord,
    NightRecord,
    encode_dataset,
    plan_packs,
)
from sdflow.work.index import scratch_index
from sdflow.work.ledger import decode_lines, encode_line, encode_part
from sdflow.work.pairs import pair_by_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from sdflow.storage.store import ObjectInfo, Store
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine
    from sdflow.work.parameters import PixelParameters

_LINES = 10_000  # of a part of the index
_SHOWN = 4  # photos on the card


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of the run whose pairs are to be published.

    Attributes:
        parameters: What its pairs depend on.
        source: Address of its sources.
        shard_bytes: Size from which on a shard is full.
        failed: Dead letters.
        done: Images done.
        seconds: From its start on.
        mp_per_s: Megapixels drawn by second.
        gpu_hours: Of all workers.
        worker_seconds: Of their threads, by what they did.
    """

    parameters: PixelParameters
    source: str
    shard_bytes: int
    failed: int
    done: int
    seconds: float
    mp_per_s: float
    gpu_hours: float
    worker_seconds: dict[str, float]


@dataclass(slots=True)
class _Changes:
    """How the sources differ from those of the nights before."""

    new: int = 0
    changed: int = 0
    vanished: int = 0
    returned: int = 0
    pairs: int = 0
    bytes: int = 0
    index_parts: int = 0


class Night:
    """The dataset in a destination, and what one run of a job changes of it.

    Args:
        target: The destination.
        published: What earlier nights have made, by source.
        record: ``dataset.json``; None before the first night.
        moved: Empty file, for sources that have vanished or come back.
        added: Empty file, for what this night adds to the index.
    """

    def __init__(
        self,
        target: Store,
        published: LedgerIndex,
        record: DatasetRecord | None,
        moved: IO[bytes],
        added: IO[bytes],
    ) -> None:
        self._target = target
        self._published = published
        self._record = record
        self._moved = moved
        self._added = added
        self._number = record.nights[-1].night + 1 if record else 1
        self._shown: list[LedgerLine] = []

    def watched(self, listing: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
        """Pass a listing on, noting which sources of the dataset are gone, and which are back.

        Args:
            listing: All of SRC, in the order of UTF-8 bytes. What is noted holds once it has been
                gone through to its end.
        """
        _empty(self._moved)
        objects = ((info.key, info) for info in listing)
        known = ((line.key, line) for line in self._published.lines())
        for key, info, line in pair_by_key(objects, known):
            if line is not None and (status := _moved_to(line, info)):
                self._moved.write(json.dumps([key, status]).encode() + b"\n")
            if info is not None:
                yield info

    def publish(self, ledger: LedgerIndex, run: Run, *, knows_all: bool) -> NightRecord | None:
        """Make what was drawn part of the dataset; ``dataset.json`` is written last.

        Killed at any point and run again, it ends in the same objects.

        Args:
            ledger: Newest line of every source.
            run: That has drawn.
            knows_all: Whether the listing was gone through to its end.

        Returns:
            What the night added; None where there was nothing.

        Raises:
            StorageError: If the store refuses.
        """
        changes = _Changes()
        shards: list[dict[str, Any]] = []
        _empty(self._added)
        plans = plan_packs(
            self._with_pieces(self._fresh(ledger, changes)),
            night=self._number,
            target_bytes=run.shard_bytes,
        )
        for plan in write_shards(self._target, plans):
            shards.append({"key": plan.key, "bytes": plan.size_bytes, "pairs": plan.num_pairs})
            for line in plan.published():
                self._keep(line)
        remove_others(self._target, self._number, {str(one["key"]) for one in shards})
        if knows_all:
            for line in self._moves(ledger, changes):
                self._keep(line)
        if not self._added.tell():
            return None
        self._write_index(changes)
        record = self._new_record(run, changes, shards)
        write_listings(self._target, self._published, index_keys(record))
        write_card(self._target, record, self._shown[-_SHOWN:])
        self._target.put(keys.DATASET_KEY, encode_dataset(record))
        return record.nights[-1]

    def _fresh(self, ledger: LedgerIndex, changes: _Changes) -> Iterator[LedgerLine]:
        """What the ledger has and the index has not."""
        done = ((line.key, line) for line in ledger.lines() if line.status == "done")
        known = ((line.key, line) for line in self._published.lines())
        for _, line, before in pair_by_key(done, known):
            if line is None or (before is not None and before.time == line.time):
                continue
            num = changes.new + changes.changed
            if line.pairs and not num & (num - 1):  # some from here and there
                self._shown.append(line)
            changes.pairs += line.pairs
            changes.bytes += sum(output.size_bytes for output in line.outputs)
            changes.new += before is None
            changes.changed += before is not None
            is_other = before is not None and before.identity != line.identity
            yield replace(line, replaces=before.identity) if before and is_other else line

    def _moves(self, ledger: LedgerIndex, changes: _Changes) -> Iterator[LedgerLine]:
        """Sources that are gone or back, but for those that were drawn anew meanwhile."""
        self._moved.seek(0)
        for text in self._moved:
            key, status = json.loads(text)
            before, now = self._published.find(key), ledger.find(key)
            is_newer = now and before and (now.status, now.time != before.time) == ("done", True)
            if before is None or is_newer:
                continue
            changes.vanished += status == "vanished"
            changes.returned += status == "done"
            yield replace(before, status=status, replaces="")

    def _with_pieces(self, lines: Iterable[LedgerLine]) -> Iterator[LedgerLine]:
        """Sources with pairs that are to be packed; the others need no shard."""
        for line in lines:
            if line.outputs and line.outputs[0].key.startswith(keys.PIECES_PREFIX):
                yield line
            else:
                self._keep(line)

    def _keep(self, line: LedgerLine) -> None:
        self._added.write(encode_line(line))

    def _write_index(self, changes: _Changes) -> None:
        """Put this night's lines into the store, and among those of the nights before."""
        self._added.seek(0)
        while lines := b"".join(islice(self._added, _LINES)):
            key = keys.index_key(self._number, changes.index_parts)
            self._target.put(key, encode_part(lines))
            self._published.add(decode_lines(lines, source=key))
            changes.index_parts += 1

    def _new_record(
        self, run: Run, changes: _Changes, shards: list[dict[str, Any]]
    ) -> DatasetRecord:
        census = Census()
        for line in self._published.lines():
            census.add(line)
        before = self._record
        given = run.parameters
        night = NightRecord(
            night=self._number,
            time=utc_now(),
            parameters=given.hash,
            weights=given.weights,
            new=changes.new,
            changed=changes.changed,
            vanished=changes.vanished,
            returned=changes.returned,
            failed=run.failed,
            pairs=changes.pairs,
            samples=changes.pairs * given.samples,
            bytes=changes.bytes,
            shards=tuple(shards),
            index_parts=changes.index_parts,
            seconds=run.seconds,
            images_per_s=round(run.done / run.seconds, 3),
            mp_per_s=run.mp_per_s,
            gpu_hours=round(run.gpu_hours, 4),
            worker_seconds=run.worker_seconds,
        )
        nights = (*(before.nights if before else ()), night)
        known = (shard for one in nights for shard in one.shards)
        return DatasetRecord(
            layout=given.pairs.layout if given.pairs else "",
            source=run.source,
            parameters=asdict(given),
            counts={
                "sources": census.sources,
                "without_pairs": census.without_pairs,
                "vanished": census.vanished,
                "pairs": census.pairs,
                "samples": sum(one.samples for one in nights),
            },
            bytes=sum(one.bytes for one in nights),
            shards=tuple(
                {**one, "stale": one["pairs"] - in_use}
                for one in known
                if (in_use := census.shards[one["key"]])
            ),
            nights=nights,
        )


@contextmanager
def open_night(target: Store) -> Iterator[Night]:
    """The dataset in a destination, read for the length of a block.

    Raises:
        StorageError: If it cannot be read, or is damaged.
    """
    record = read_dataset(target)
    with (
        scratch_index(knows_outputs=False) as published,
        tempfile.TemporaryFile() as moved,
        tempfile.TemporaryFile() as added,
    ):
        for lines in read_index(target, record):
            published.add(lines)
        yield Night(target, published, record, moved, added)


def _moved_to(line: LedgerLine, info: ObjectInfo | None) -> str:
    """What a source's pairs are now, if they were something else; "" if not."""
    if info is None:
        return "vanished" if line.status == "done" else ""
    is_back = line.status == "vanished" and line.etag == info.etag
    return "done" if is_back else ""


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
