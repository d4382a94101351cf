"""The ledger as it lies in the destination: reading all of it, and keeping its parts few."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from sdflow.errors import NotFoundError
from sdflow.storage import keys
from sdflow.work.ledger import decode_lines, decode_part, encode_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.storage.store import Store
    from sdflow.work.index import LedgerIndex

_AT_ONCE = 16
_MANY_PARTS = 64
_COMPACTED = "~"  # in the name of a part that was put together; sorts after all other names
_LINES, _BYTES = 50_000, 16_000_000  # of a compacted part; the last line may go beyond
_log = structlog.get_logger()


def read_ledger(target: Store, index: LedgerIndex, *, run_id: str = "") -> list[str]:
    """Take every part of the ledger into the index, the oldest first.

    Args:
        target: Where the ledger is.
        index: Where its lines go.
        run_id: Only parts of this run; "" for all.

    Returns:
        The keys of the parts.
    """
    while True:
        listed = target.list(keys.LEDGER_PREFIX + run_id)
        parts = [info.key for info in listed if not info.is_placeholder]
        try:
            for part, text in _texts(target, parts):
                index.add(decode_lines(text, source=part))
        except NotFoundError:  # another driver has put parts together meanwhile
            continue
        return parts


def compact_ledger(target: Store, index: LedgerIndex, parts: list[str]) -> bool:
    """Put many small parts together into few; returns whether it was worth it.

    The new parts are durable before the old ones go, and sort after them and before whatever is
    written later: at no time is a line missing or out of order.

    Args:
        target: Where the ledger is.
        index: Exactly what the parts hold.
        parts: Keys from :func:`read_ledger`, while nobody else writes parts.
    """
    num_large = sum(_COMPACTED in part for part in parts)
    if len(parts) - num_large < max(_MANY_PARTS, num_large):
        return False
    last = parts[-1].removeprefix(keys.LEDGER_PREFIX).removesuffix(".jsonl.gz")
    bodies = index.bodies()
    number = 0
    while lines := list(islice(_up_to(bodies, _BYTES), _LINES)):
        name = f"{last}{_COMPACTED}{number:05d}"
        target.put(keys.ledger_key(name), encode_part(b"".join(lines)))
        number += 1
    target.delete_many(parts)
    _log.info("ledger parts put together", before=len(parts), after=number)
    return True


def _up_to(lines: Iterable[bytes], num_bytes: int) -> Iterator[bytes]:
    """So many bytes of lines, and the rest of the last one."""
    for line in lines:
        yield line
        num_bytes -= len(line)
        if num_bytes <= 0:
            return


def _texts(target: Store, parts: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The parts' lines in order, several read at once, few of them in memory."""
    remaining = iter(parts)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ledger") as pool:
        while batch := list(islice(remaining, 4 * _AT_ONCE)):
            for part, data in zip(batch, pool.map(target.get, batch), strict=True):
                yield part, decode_part(data, source=part)
