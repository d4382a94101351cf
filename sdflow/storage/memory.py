"""A store that lives in one process: for tests and for trying things out."""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import TYPE_CHECKING

from sdflow.errors import AlreadyExistsError, NotFoundError, PreconditionError
from sdflow.storage.store import ObjectInfo, check_key, check_range, key_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class MemoryStore:
    """Objects in a dictionary; the ETag is the MD5 of the content."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = Lock()

    @property
    def url(self) -> str:
        """Where the root is, as a person would write it."""
        return "memory:"

    def check(self) -> None:
        """The root always exists."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield what was there when the listing began and still is."""
        with self._lock:
            keys = sorted((key for key in self._objects if key.startswith(prefix)), key=key_order)
        for key in keys:
            with self._lock:
                data = self._objects.get(key)
            if data is not None:
                yield _info(key, data)

    def list_folder(self, folder: str = "") -> Iterator[ObjectInfo | str]:
        """Yield objects directly below ``folder``, and sub-folders that have any."""
        last = None
        for info in self.list(folder):
            name, slash, _ = info.key[len(folder) :].partition("/")
            if not slash:
                yield info
            elif name != last:
                last = name
                yield f"{folder}{name}/"

    def head(self, key: str) -> ObjectInfo:
        """Describe one object."""
        return _info(key, self._read(key))

    def get(
        self, key: str, *, start: int = 0, stop: int | None = None, if_match: str | None = None
    ) -> bytes:
        """Read bytes ``[start, stop)`` of an object."""
        check_range(start, stop)
        data = self._read(key)
        if if_match not in (None, _etag(data)):
            raise PreconditionError(f"'{key}' has changed since it was listed", item=key)
        return data[start:stop]

    def put(self, key: str, data: bytes) -> str:
        """Replace or create an object."""
        check_key(key)
        with self._lock:
            self._objects[key] = data
        return _etag(data)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> str:
        """Replace or create an object."""
        check_key(key)
        return self.put(key, b"".join(chunks))

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Create an object, unless it is there."""
        check_key(key)
        with self._lock:
            if key in self._objects:
                raise AlreadyExistsError(f"'{key}' already exists", item=key)
            self._objects[key] = data
        return _etag(data)

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects, those that are there."""
        for key in keys:
            self.delete(key)

    def discard_uploads(self, *, older_than_s: float) -> int:
        """Nothing outlives the process."""
        return 0

    def _read(self, key: str) -> bytes:
        check_key(key)
        with self._lock:
            data = self._objects.get(key)
        if data is None:
            raise NotFoundError(f"'{key}' does not exist", item=key)
        return data


def _etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _info(key: str, data: bytes) -> ObjectInfo:
    return ObjectInfo(key=key, size_bytes=len(data), etag=_etag(data))
