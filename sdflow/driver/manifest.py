"""The manifest: what was listed, written in parts while the listing runs."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

from sdflow.errors import NotFoundError, StorageError
from sdflow.storage import keys
from sdflow.storage.store import ObjectInfo, key_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdflow.storage.store import Store

LINES = 10_000  # a part


class Manifest:
    """Gathers listed images and writes them to the destination, a part at a time.

    Args:
        target: Where it goes.
    """

    def __init__(self, target: Store) -> None:
        self._target = target
        self._lines: list[bytes] = []
        self._num_parts = 0

    def add(self, info: ObjectInfo) -> None:
        """Note one image.

        Raises:
            StorageError: If a part cannot be written.
        """
        fields = {"key": info.key, "etag": info.etag, "size_bytes": info.size_bytes}
        self._lines.append(json.dumps(fields).encode() + b"\n")
        if len(self._lines) == LINES:
            self._write_part()

    def finish(self) -> None:
        """Write the last part, and remove those of a longer listing before.

        Raises:
            StorageError: If the store refuses.
        """
        if self._lines:
            self._write_part()
        last = keys.manifest_key(self._num_parts)
        listed = self._target.list(keys.MANIFEST_PREFIX)
        self._target.delete_many(
            [info.key for info in listed if info.key >= last and not info.is_placeholder]
        )

    def _write_part(self) -> None:
        data = gzip.compress(b"".join(self._lines), compresslevel=3, mtime=0)
        self._target.put(keys.manifest_key(self._num_parts), data)
        self._lines.clear()
        self._num_parts += 1


def read_manifest(target: Store) -> Iterator[ObjectInfo]:
    """Yield what the last listing held, in the order of UTF-8 bytes, a part in memory at a time.

    While a listing runs, parts of the one before follow those that are written already; what they
    say of keys that were passed is left out.

    Raises:
        StorageError: If a part cannot be read.
    """
    last = b""
    for part in target.list(keys.MANIFEST_PREFIX):
        try:
            data = target.get(part.key)
        except NotFoundError:  # of a longer listing, removed just now
            continue
        for info in _decode_part(data, source=part.key):
            name = key_order(info.key)
            if name > last:
                last = name
                yield info


def _decode_part(data: bytes, *, source: str) -> Iterator[ObjectInfo]:
    try:
        for line in gzip.decompress(data).splitlines():
            yield ObjectInfo(**json.loads(line))
    except (EOFError, OSError, zlib.error, ValueError, TypeError) as error:
        raise StorageError(
            f"{source} is damaged ({error}): run the job again, which lists its sources anew",
            item=source,
        ) from error
