"""Photos to measure with: found, read one at a time, and left out by name where that fails."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import structlog

from sdflow.errors import ImageError, NotFoundError, OutOfMemoryError, SdflowError, UsageError
from sdflow.images.codec import decode
from sdflow.storage import keys
from sdflow.work.plan import is_wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.images.formats import Pixels
    from sdflow.storage.store import Store

_Found = TypeVar("_Found")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos of a store.

    Attributes:
        store: Where they are.
        keys: Which, in the order of UTF-8 bytes.
        max_pixels: Larger ones are refused by their header.
    """

    store: Store
    keys: tuple[str, ...]
    max_pixels: int

    def read(self, key: str) -> Pixels:
        """The pixels of one, upright: (H, W, 1 or 3), uint8 or uint16. Alpha is dropped.

        Raises:
            ImageError: It cannot be read.
            StorageError: The store refuses.
        """
        pixels = decode(self.store.get(key), key=key, max_pixels=self.max_pixels).pixels
        bands = pixels.shape[2]
        if bands in (2, 4):
            _log.warning("transparency is not measured: colours are taken as they are", key=key)
            return pixels[..., : bands - 1]
        return pixels


def find_photos(
    store: Store,
    *,
    max_pixels: int,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    limit: int | None = None,
) -> Photos:
    """List the photos of a store.

    Args:
        store: Where to look.
        max_pixels: See ``Photos``.
        include: Globs of keys wanted.
        exclude: Globs of keys not wanted.
        limit: Take so many, the first.

    Raises:
        UsageError: There is none.
        StorageError: The store cannot be listed.
    """
    store.check()
    wanted = (
        info.key
        for info in store.list()
        if not info.is_placeholder
        and not keys.is_job_key(info.key)
        and is_wanted(info.key, include=include, exclude=exclude)
    )
    found = tuple(islice(wanted, limit))
    if not found:
        raise UsageError(f"there is no photo to measure in {store.url}", item=store.url)
    return Photos(store, found, max_pixels)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image that could not be measured.

    Attributes:
        place: URL of its store.
        key: Its key there.
        error: Why.
    """

    place: str
    key: str
    error: SdflowError


def each_measured(
    photos: Photos, measure: Callable[[str], _Found], left_out: list[LeftOut]
) -> Iterator[_Found]:
    """Yield what is found of each photo; those that cannot be measured are noted and passed over.

    Args:
        photos: Which.
        measure: Told a key. What it raises for one image alone is noted; all else passes through.
        left_out: Where it is noted.

    Raises:
        ImageError: All were left out.
    """
    total = len(photos.keys)
    first: SdflowError | None = None
    num_measured = 0
    for number, key in enumerate(photos.keys, 1):
        try:
            found = measure(key)
        except (ImageError, OutOfMemoryError, NotFoundError) as error:
            left_out.append(LeftOut(photos.store.url, key, error))
            _log.warning("left out", key=key, error=error.code, message=str(error))
            first = first or error
            continue
        num_measured += 1
        _log.info("measured", key=key, image=number, of=total)
        yield found
    if first is not None and not num_measured:
        raise ImageError(
            f"none of {total} photos in {photos.store.url} could be measured; the first: {first}",
            item=first.item,
            code=first.code,
        )
