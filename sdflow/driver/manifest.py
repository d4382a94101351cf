"""The manifest: what was listed, written in parts while the listing runs."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

from sdflow.storage import keys

if TYPE_CHECKING:
    from sdflow.storage.store import ObjectInfo, Store

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
        self._target.delete_many([info.key for info in listed if info.key >= last])

    def _write_part(self) -> None:
        data = gzip.compress(b"".join(self._lines), compresslevel=3, mtime=0)
        self._target.put(keys.manifest_key(self._num_parts), data)
        self._lines.clear()
        self._num_parts += 1
