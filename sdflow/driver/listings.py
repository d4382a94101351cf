"""What readers of a dataset want as plain files: which pairs to leave out, which there are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sdflow.storage import keys
from sdflow.work.ledger import decode_lines, decode_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.storage.store import Store
    from sdflow.work.index import LedgerIndex
    from sdflow.work.ledger import LedgerLine


def write_listings(
    target: Store, published: LedgerIndex, index_keys: Iterable[str], stale_key: str
) -> None:
    """Write which pairs are stale, and for folders what BasicSR and Real-ESRGAN call meta-info.

    Args:
        target: The dataset.
        published: Newest line of every source.
        index_keys: Of all parts of the index.
        stale_key: Key of the list of stale pairs.

    Raises:
        StorageError: If the store refuses.
    """
    target.put_stream(stale_key, _stale(target, published, index_keys))
    if any(line.shape and _is_in_folders(line) for line in published.lines()):
        target.put_stream(keys.META_INFO_KEY, _meta_info(published))
        target.put_stream(keys.META_INFO_PAIRS_KEY, _meta_info_pairs(published))


def place_of(line: LedgerLine) -> str:
    """What tells a source's pairs from all others: their shard, "" in folders, and identity."""
    key = line.outputs[0].key if line.outputs else ""
    return f"{key if key.startswith(keys.SHARDS_PREFIX) else ''} {line.identity}"


def pairs_of(line: LedgerLine) -> Iterator[list[str]]:
    """Keys of each pair's images in folders: HR, then LR."""
    pair: list[str] = []
    for output in line.outputs:
        if output.key.startswith(keys.HR_PREFIX):
            if pair:
                yield pair
            pair = []
        if not output.key.startswith(keys.PAIRS_PREFIX):
            pair.append(output.key)
    if pair:
        yield pair


def _stale(target: Store, published: LedgerIndex, index_keys: Iterable[str]) -> Iterator[bytes]:
    """Pairs that are there and not to be used: of replaced versions, and of vanished sources."""
    for key in index_keys:
        for line in decode_lines(decode_part(target.get(key), source=key), source=key):
            if line.replaces:
                yield _stale_line(line.replaces, line.key, "replaced")
    for line in published.lines():
        if line.status == "vanished" and line.pairs:
            yield _stale_line(place_of(line), line.key, "vanished")


def _stale_line(place: str, key: str, why: str) -> bytes:
    shard, _, identity = place.rpartition(" ")
    given = {"shard": shard, "id": identity, "key": key, "why": why}
    return json.dumps(given).encode() + b"\n"


def _meta_info(published: LedgerIndex) -> Iterator[bytes]:
    """``a.png (480,480,3)``: an HR image below ``HR/``, its height, width and channels."""
    for line in _in_use(published):
        for names in pairs_of(line):
            yield _bytes(f"{names[0].removeprefix(keys.HR_PREFIX)} ({line.shape})\n")


def _meta_info_pairs(published: LedgerIndex) -> Iterator[bytes]:
    """``HR/a.png, LRx4/a.png``: every LR image with its HR image."""
    for line in _in_use(published):
        for names in pairs_of(line):
            for small in names[1:]:
                yield _bytes(f"{names[0]}, {small}\n")


def _in_use(published: LedgerIndex) -> Iterator[LedgerLine]:
    return (line for line in published.lines() if line.status == "done" and line.pairs)


def _is_in_folders(line: LedgerLine) -> bool:
    return any(output.key.startswith(keys.HR_PREFIX) for output in line.outputs)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
