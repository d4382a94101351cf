"""Listing a store with several threads, in the order of one."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from sdflow.storage.store import ObjectInfo, key_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.storage.store import Store

_PAGE = 1000  # objects in one answer of S3
_MAX_DEPTH = 16


def list_in_parallel(store: Store, *, threads: int, ahead: int = 4 * _PAGE) -> Iterator[ObjectInfo]:
    """Yield exactly what ``store.list()`` does, with sub-folders read ahead of the reader.

    Every folder is listed as a whole at first; one that has more than ``ahead`` objects goes on
    sub-folder by sub-folder, and so down. A folder that begins with very many small sub-folders
    is not split: one request for many of them is as quick as many requests at once.

    Memory is bounded: on each level of the folders that are split (at most 16), the heads of at
    most ``threads`` sub-folders are held. Closing the generator ends its threads.

    Args:
        store: Any store.
        threads: Most folders that are listed at once, at least 1. With 1, no thread is started.
        ahead: Most objects of one folder that are read before their turn, at least 1.

    Raises:
        StorageError: What any of the threads met, once the reader comes to that folder.
    """
    if threads == 1:
        yield from store.list()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="listing") as pool:
        try:
            listing = _ParallelListing(store, pool, threads, ahead)
            yield from listing.below(listing.head(""), after="", depth=0)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Head(NamedTuple):
    """The first objects of a folder, and the listing that goes on after them."""

    folder: str
    infos: list[ObjectInfo]
    rest: Iterator[ObjectInfo]


@dataclass(frozen=True, slots=True)
class _ParallelListing:
    store: Store
    pool: ThreadPoolExecutor
    threads: int
    ahead: int

    def head(self, folder: str) -> _Head:
        listing = self.store.list(folder)
        return _Head(folder, list(islice(listing, self.ahead)), listing)

    def below(self, head: _Head, *, after: str, depth: int) -> Iterator[ObjectInfo]:
        """The objects of a folder whose key is greater than ``after``."""
        yield from (info for info in head.infos if key_order(info.key) > key_order(after))
        if len(head.infos) < self.ahead:
            return
        after = max(after, head.infos[-1].key, key=key_order)
        if depth == _MAX_DEPTH or self._has_small_folders(head):
            yield from (info for info in head.rest if key_order(info.key) > key_order(after))
            return
        for entry in self._read_ahead(head.folder, after):
            if isinstance(entry, ObjectInfo):
                yield entry
            else:
                yield from self.below(entry.result(), after=after, depth=depth + 1)

    def _has_small_folders(self, head: _Head) -> bool:
        """Whether listing sub-folders one by one would take longer than all in one listing."""
        names = (info.key[len(head.folder) :].partition("/") for info in head.infos)
        num_folders = len({name for name, slash, _ in names if slash})
        num_pages = -(-len(head.infos) // _PAGE)
        return num_folders > self.threads * num_pages

    def _read_ahead(self, folder: str, after: str) -> Iterator[ObjectInfo | Future[_Head]]:
        """What follows ``after`` directly below a folder, the heads of sub-folders on their way."""
        window: deque[ObjectInfo | Future[_Head]] = deque()
        num_heads = 0
        for entry in self.store.list_folder(folder):
            if isinstance(entry, ObjectInfo):
                if key_order(entry.key) > key_order(after):
                    window.append(entry)
            elif key_order(entry) > key_order(after) or after.startswith(entry):
                window.append(self.pool.submit(self.head, entry))
                num_heads += 1
            while num_heads >= self.threads or len(window) > self.ahead:
                first = window.popleft()
                num_heads -= isinstance(first, Future)
                yield first
        while window:
            yield window.popleft()
