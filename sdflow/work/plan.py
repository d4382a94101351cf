"""From a listing to shards, as pure functions over streams."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sdflow.errors import StorageError
from sdflow.images.formats import IMAGE_EXTENSIONS
from sdflow.work.shard import Shard, WorkItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdflow.storage.store import ObjectInfo


def is_wanted(key: str, *, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Whether a key belongs to the job.

    Without ``include`` every key with an image's extension does. Globs match the whole relative
    key, ``*`` crosses folders, and ``exclude`` wins.
    """
    if any(fnmatchcase(key, glob) for glob in exclude):
        return False
    if include:
        return any(fnmatchcase(key, glob) for glob in include)
    return key.lower().endswith(IMAGE_EXTENSIONS)


def plan_names(
    listing: Iterable[ObjectInfo], *, natural_name: Callable[[str], str]
) -> Iterator[tuple[ObjectInfo, bool]]:
    """Decide for every source whether its results must carry the full source name.

    ``a.jpg`` and ``a.webp`` both become ``a.png`` under ``--format png``; then each keeps its full
    name, but for the one whose own name that is. All sources that could clash share the stem and
    a dot, so in a sorted listing they stand together, with only keys of longer stems between:
    a stack of open stems is all the memory this takes.

    Args:
        listing: In the order of UTF-8 bytes.
        natural_name: Name of a source's result when nothing clashes.

    Yields:
        Every object with whether it keeps its full name; every stem once its last key has passed.

    Raises:
        StorageError: If the listing is not sorted.
    """
    open_groups: list[list[ObjectInfo]] = []
    last = b""
    for info in listing:
        name = info.key.encode("utf-8", "surrogateescape")
        if name < last:
            raise StorageError(f"the store lists {info.key!r} out of order", item=info.key)
        last = name
        while open_groups and not info.key.startswith(_stem(open_groups[-1][0].key) + "."):
            yield from _named(open_groups.pop(), natural_name)
        if open_groups and _stem(open_groups[-1][0].key) == _stem(info.key):
            open_groups[-1].append(info)
        else:
            open_groups.append([info])
    while open_groups:
        yield from _named(open_groups.pop(), natural_name)


def plan_shards(
    items: Iterable[WorkItem], *, num_workers: int, max_images: int, max_bytes: int
) -> Iterator[Shard]:
    """Cut a stream of images into shards of bounded number and source size.

    Shards start with one image and grow with what has been planned, so that a small job is spread
    over all workers and a large one has few ledger parts. A single image above ``max_bytes`` is a
    shard of its own.

    Args:
        items: What is to be done.
        num_workers: Who will share it.
        max_images: Most images in a shard.
        max_bytes: Most source bytes in a shard of several images.
    """
    planned = 0
    batch: list[WorkItem] = []
    batch_bytes = 0
    for item in items:
        size = min(max_images, 1 + planned // (2 * num_workers))
        if batch and (len(batch) >= size or batch_bytes + item.size_bytes > max_bytes):
            yield Shard(tuple(batch))
            planned += len(batch)
            batch, batch_bytes = [], 0
        batch.append(item)
        batch_bytes += item.size_bytes
    if batch:
        yield Shard(tuple(batch))


def _stem(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folder + slash + (stem if dot else name)


def _named(
    group: list[ObjectInfo], natural_name: Callable[[str], str]
) -> Iterator[tuple[ObjectInfo, bool]]:
    names = [natural_name(info.key) for info in group]
    for info, name in zip(group, names, strict=True):
        yield info, names.count(name) > 1 and name != info.key
