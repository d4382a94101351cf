"""Shards put together from pieces, as streams."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from sdflow.errors import NotFoundError, PreconditionError, StorageError
from sdflow.storage import keys
from sdflow.work.dataset import TAR_END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdflow.storage.store import Store
    from sdflow.work.dataset import ShardPlan
    from sdflow.work.ledger import LedgerLine

_SHARDS_AT_ONCE = 2  # each holds as much as an upload in parts does
_READS_AHEAD = 8
_READ_BYTES = 4_000_000  # of a piece at a time
_log = structlog.get_logger()


class LostPieceError(StorageError):
    """Pairs that were drawn and not yet packed are gone, or have changed."""

    def __init__(self, line: LedgerLine) -> None:
        super().__init__(f"{line.outputs[0].key}, the pairs of {line.key}, is lost", item=line.key)
        self.line = line


def write_shards(
    target: Store, plans: Iterable[ShardPlan], check: Callable[[], None]
) -> Iterator[ShardPlan]:
    """Write shards, several at once; one that is there already is left as it is.

    Args:
        target: Where pieces are and shards go.
        plans: Of the shards.
        check: Called before each; may raise to end it.

    Yields:
        Every plan, in order, once its shard is durable.

    Raises:
        LostPieceError: If a piece is gone, or is another one.
        StorageError: If the store refuses.
    """
    remaining = iter(plans)
    with ThreadPoolExecutor(_SHARDS_AT_ONCE, thread_name_prefix="shard") as pool:
        while batch := list(islice(remaining, _SHARDS_AT_ONCE)):
            yield from pool.map(partial(_write, target, check), batch)


def remove_others(target: Store, night: int, wanted: set[str]) -> None:
    """Remove shards of a night that an earlier, killed run of it had planned otherwise."""
    found = [info.key for info in target.list(keys.shards_of(night))]
    target.delete_many(key for key in found if key not in wanted)


def _write(target: Store, check: Callable[[], None], plan: ShardPlan) -> ShardPlan:
    check()
    if not _is_there(target, plan):
        target.put_stream(plan.key, _content(target, plan))
        _log.info("shard", key=plan.key, sources=len(plan.lines), bytes=plan.size_bytes)
    return plan


def _is_there(target: Store, plan: ShardPlan) -> bool:
    try:
        return target.head(plan.key).size_bytes == plan.size_bytes
    except NotFoundError:
        return False


def _content(target: Store, plan: ShardPlan) -> Iterator[bytes]:
    """The pieces, read a little ahead, and the end of a tar."""
    ranges = (
        (line, start)
        for line in plan.lines
        for start in range(0, line.outputs[0].size_bytes, _READ_BYTES)
    )
    with ThreadPoolExecutor(_READS_AHEAD, thread_name_prefix="piece") as pool:
        while batch := list(islice(ranges, _READS_AHEAD)):
            yield from pool.map(partial(_read, target), batch)
    yield TAR_END


def _read(target: Store, place: tuple[LedgerLine, int]) -> bytes:
    line, start = place
    piece = line.outputs[0]
    stop = min(start + _READ_BYTES, piece.size_bytes)
    try:
        data = target.get(piece.key, start=start, stop=stop, if_match=piece.etag)
    except (NotFoundError, PreconditionError) as error:
        raise LostPieceError(line) from error
    if len(data) != stop - start:
        raise LostPieceError(line)
    return data
