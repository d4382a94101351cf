"""From a listing to shards, as pure functions over streams."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sdflow.errors import StorageError
from sdflow.images.formats import IMAGE_EXTENSIONS
from sdflow.work.shard import Shard, WorkItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sdflow.storage.store import ObjectInfo

_BLOCK_IMAGES = 128  # on average
_BLOCK_BYTES = 64_000_000


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
        if name <= last:
            raise StorageError(
                f"the store lists {info.key!r} out of order, or twice", item=info.key
            )
        last = name
        while open_groups and not info.key.startswith(_stem(open_groups[-1][0].key) + "."):
            yield from _named(open_groups.pop(), natural_name)
        if open_groups and _stem(open_groups[-1][0].key) == _stem(info.key):
            open_groups[-1].append(info)
        else:
            open_groups.append([info])
    while open_groups:
        yield from _named(open_groups.pop(), natural_name)


def plan_blocks(
    listing: Iterable[tuple[ObjectInfo, bool]],
) -> Iterator[tuple[ObjectInfo, bool, str]]:
    """Cut a listing into blocks that several drivers can share, wherever they come upon it.

    A block ends before a key whose own hash says so, one in 128, or after so many bytes: so two
    drivers cut the same listing alike, and an object more or less changes one block only.

    Yields:
        Every object with its flag, as given, and the name of its block.
    """
    name, size_bytes = "", 0
    for info, flag in listing:
        digest = hashlib.sha256(info.key.encode("utf-8", "surrogateescape")).hexdigest()
        if not name or int(digest[:8], 16) % _BLOCK_IMAGES == 0 or size_bytes >= _BLOCK_BYTES:
            name, size_bytes = digest[:20], 0
        size_bytes += info.size_bytes
        yield info, flag, name


def plan_shards(
    items: Iterable[WorkItem],
    *,
    num_workers: int,
    max_images: int,
    target_px: Callable[[], int],
) -> Iterator[Shard]:
    """Cut a stream of images into shards of bounded number and about equal work.

    Shards start with one image and grow with what has been planned, so that a small job is spread
    over all workers. An image with more pixels than the target is a shard of its own.

    Args:
        items: What is to be done, with estimated pixels.
        num_workers: Who will share it.
        max_images: Most images in a shard.
        target_px: Asked for the pixels of the next shard.
    """
    planned = 0
    batch: list[WorkItem] = []
    batch_px = 0
    limit, most = target_px(), 1
    for item in items:
        if batch and (len(batch) >= most or batch_px + item.pixels > limit):
            yield Shard(tuple(batch))
            planned += len(batch)
            batch, batch_px = [], 0
            limit, most = target_px(), min(max_images, 1 + planned // (2 * num_workers))
        batch.append(item)
        batch_px += item.pixels
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
