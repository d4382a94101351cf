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
    from collections.abc import Iterable, Iterator

    from sdflow.storage.store import Store
    from sdflow.work.dataset import ShardPlan
    from sdflow.work.ledger import Output

_SHARDS_AT_ONCE = 2  # each holds as much as an upload in parts does
_READS_AHEAD = 8
_READ_BYTES = 4_000_000  # of a piece at a time
_log = structlog.get_logger()


def write_shards(target: Store, plans: Iterable[ShardPlan]) -> Iterator[ShardPlan]:
    """Write shards, several at once; one that is there already is left as it is.

    Args:
        target: Where pieces are and shards go.
        plans: Of the shards.

    Yields:
        Every plan, in order, once its shard is durable.

    Raises:
        StorageError: If a piece is gone, or the store refuses.
    """
    remaining = iter(plans)
    with ThreadPoolExecutor(_SHARDS_AT_ONCE, thread_name_prefix="shard") as pool:
        while batch := list(islice(remaining, _SHARDS_AT_ONCE)):
            yield from pool.map(partial(_write, target), batch)


def remove_others(target: Store, night: int, wanted: set[str]) -> None:
    """Remove shards of a night that an earlier, killed run of it had planned otherwise."""
    found = [info.key for info in target.list(keys.shards_of(night))]
    target.delete_many(key for key in found if key not in wanted)


def _write(target: Store, plan: ShardPlan) -> ShardPlan:
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
        (line.outputs[0], start)
        for line in plan.lines
        for start in range(0, line.outputs[0].size_bytes, _READ_BYTES)
    )
    with ThreadPoolExecutor(_READS_AHEAD, thread_name_prefix="piece") as pool:
        while batch := list(islice(ranges, _READS_AHEAD)):
            yield from pool.map(partial(_read, target), batch)
    yield TAR_END


def _read(target: Store, place: tuple[Output, int]) -> bytes:
    piece, start = place
    stop = min(start + _READ_BYTES, piece.size_bytes)
    try:
        data = target.get(piece.key, start=start, stop=stop, if_match=piece.etag)
    except (NotFoundError, PreconditionError) as error:
        raise _lost(piece) from error
    if len(data) != stop - start:
        raise _lost(piece)
    return data


def _lost(piece: Output) -> StorageError:
    return StorageError(
        f"{piece.key}, pairs that were drawn and not yet packed, is gone or changed: "
        "'sdflow verify DST --repair' lets the next night draw them again",
        item=piece.key,
    )
