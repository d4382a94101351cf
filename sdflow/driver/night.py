"""One night of a dataset: what was drawn becomes part of it, what has vanished is marked."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from sdflow.driver.card import write_card
from sdflow.driver.listings import place_of, write_listings
from sdflow.driver.packing import LostPieceError, remove_others, write_shards
from sdflow.driver.published import index_keys, read_dataset, read_index
from sdflow.driver.sources import SourceWatch
from sdflow.storage import keys
from sdflow.telemetry import utc_now
from sdflow.work.dataset import (
    Census,
    DatasetRecord,
    NightRecord,
    encode_dataset,
    grown,
    plan_packs,
)
from sdflow.work.index import scratch_index
from sdflow.work.ledger import decode_lines, encode_line, encode_part
from sdflow.work.pairs import pair_by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import IO

    from sdflow.storage.store import Store
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine
    from sdflow.work.parameters import PixelParameters

_PART_BYTES = 16_000_000  # of the index, before it is compressed
_SHOWN = 4  # photos on the card
_log = structlog.get_logger()


class StoppedError(Exception):
    """Raised by a run's ``check``: the run is to end."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of the run whose pairs are to be published.

    Attributes:
        parameters: What its pairs depend on.
        check: Raises if the job is no longer this driver's, or is to end: asked before every write.
        forget: Takes a ledger line of a source that must be drawn again.
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
    check: Callable[[], None]
    forget: Callable[[LedgerLine], None]
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

    Attributes:
        sources: Watches them.

    Args:
        target: The destination.
        published: What earlier nights have made, by source.
        record: ``dataset.json``; None before the first night.
        sources: Becomes the attribute.
        added: Empty file, for what this night adds to the index.
        replaced: Empty file, for keys of files that nothing needs after this night.
    """

    def __init__(
        self,
        target: Store,
        published: LedgerIndex,
        record: DatasetRecord | None,
        sources: SourceWatch,
        added: IO[bytes],
        replaced: IO[bytes],
    ) -> None:
        self.sources = sources
        self._target = target
        self._published = published
        self._record = record
        self._added = added
        self._replaced = replaced
        self._number = record.nights[-1].night + 1 if record else 1
        self._shown: list[LedgerLine] = []

    def publish(self, ledger: LedgerIndex, run: Run, *, knows_all: bool) -> NightRecord | None:
        """Make what was drawn part of the dataset; ``dataset.json`` is written last.

        Killed at any point and run again, it ends in the same objects. A source whose pairs are
        lost before they are in a shard is left out, to be drawn again the next night.

        Args:
            ledger: Newest line of every source.
            run: That has drawn.
            knows_all: Whether the listing was gone through to its end.

        Returns:
            What the night added; None where there was nothing.

        Raises:
            StorageError: If the store refuses.
        """
        while True:
            try:
                return self._publish(ledger, run, knows_all=knows_all)
            except LostPieceError as error:
                _log.warning(
                    "drawn pairs are lost; the next night draws them again", key=error.item
                )
                line = replace(error.line, status="missing", time=utc_now(), outputs=())
                run.forget(line)
                ledger.add([line])

    def _publish(self, ledger: LedgerIndex, run: Run, *, knows_all: bool) -> NightRecord | None:
        changes = _Changes()
        shards: list[dict[str, Any]] = []
        _empty(self._added)
        _empty(self._replaced)
        plans = plan_packs(
            self._with_pieces(self._fresh(ledger, changes)),
            night=self._number,
            target_bytes=run.shard_bytes,
        )
        for plan in write_shards(self._target, plans, run.check):
            shards.append({"key": plan.key, "bytes": plan.size_bytes, "pairs": plan.num_pairs})
            for line in plan.published():
                self._keep(line)
        run.check()
        remove_others(self._target, self._number, {str(one["key"]) for one in shards})
        for line in self.sources.moves(ledger) if knows_all else ():
            changes.vanished += line.status == "vanished"
            changes.returned += line.status == "done"
            self._keep(line)
        if not self._added.tell():
            return None
        self._write_index(changes, run.check)
        record = self._new_record(run, changes, shards)
        write_listings(self._target, self._published, index_keys(record), record.stale)
        write_card(self._target, record, self._shown[-_SHOWN:])
        run.check()
        self._target.put(keys.DATASET_KEY, encode_dataset(record))
        self._remove_replaced()
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
            yield line if before is None else self._replacing(line, before)

    def _replacing(self, line: LedgerLine, before: LedgerLine) -> LedgerLine:
        """A line that says which earlier pairs it makes stale."""
        if not before.pairs:
            return line
        if not before.outputs[0].key.startswith(keys.SHARDS_PREFIX):
            kept = {output.key for output in line.outputs}
            gone = (output.key for output in before.outputs if output.key not in kept)
            self._replaced.writelines(json.dumps(key).encode() + b"\n" for key in gone)
            return line
        return replace(line, replaces=place_of(before))

    def _remove_replaced(self) -> None:
        """In folders nothing stays of replaced versions: loaders take whatever there is."""
        self._replaced.seek(0)
        self._target.delete_many(map(json.loads, self._replaced))
        if self._record is not None:
            self._target.delete(self._record.stale)

    def _with_pieces(self, lines: Iterable[LedgerLine]) -> Iterator[LedgerLine]:
        """Sources with pairs that are to be packed; the others need no shard."""
        for line in lines:
            if line.outputs and line.outputs[0].key.startswith(keys.PIECES_PREFIX):
                yield line
            else:
                self._keep(line)

    def _keep(self, line: LedgerLine) -> None:
        self._added.write(encode_line(line))

    def _write_index(self, changes: _Changes, check: Callable[[], None]) -> None:
        """Put this night's lines into the store, and among those of the nights before."""
        self._added.seek(0)
        while lines := b"".join(self._added.readlines(_PART_BYTES)):
            check()
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
        return grown(self._record, night, census, parameters=given, source=run.source)


@contextmanager
def open_night(target: Store, *, may_shrink: bool = False) -> Iterator[Night]:
    """The dataset in a destination, read for the length of a block.

    Args:
        target: The destination.
        may_shrink: Whether most of its sources may have vanished.

    Raises:
        StorageError: If it cannot be read, or is damaged.
    """
    record = read_dataset(target)
    with (
        scratch_index(knows_outputs=False) as published,
        tempfile.TemporaryFile() as moved,
        tempfile.TemporaryFile() as added,
        tempfile.TemporaryFile() as replaced,
    ):
        for lines in read_index(target, record):
            published.add(lines)
        sources = SourceWatch(published, moved, may_shrink=may_shrink)
        yield Night(target, published, record, sources, added, replaced)


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
