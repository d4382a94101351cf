"""The one protocol that every storage backend keeps.

A store is rooted at a prefix or folder. Keys are relative to that root, use ``/``, and name one
object each. Every method is safe to call from several threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sdflow.errors import InvalidKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object.

    Attributes:
        key: Relative to the store's root.
        size_bytes: Length of the content.
        etag: Version of the content: changes whenever the content does. Opaque.
        archived: True where the content cannot be read until somebody restores it.
        modified_s: When it was last written, in seconds since 1970; 0 where nobody knows.
    """

    key: str
    size_bytes: int
    etag: str
    archived: bool = False
    modified_s: float = field(default=0.0, compare=False)

    @property
    def is_placeholder(self) -> bool:
        """Whether this is S3's way to keep a folder that may be empty: no bytes, and a slash."""
        return self.size_bytes == 0 and self.key.endswith("/")


class Store(Protocol):
    """Objects below one root.

    Errors are those of :mod:`sdflow.errors`: ``NotFoundError``, ``AccessDeniedError``,
    ``AlreadyExistsError``, ``PreconditionError``, ``InvalidKeyError``, ``UnsupportedError`` and
    ``TransientStorageError``, or plain ``StorageError`` for whatever else the backend refuses;
    each names the object it is about.
    """

    @property
    def url(self) -> str:
        """Where the root is, as a person would write it."""

    def check(self) -> None:
        """Raise NotFoundError or AccessDeniedError unless the root can be listed.

        A folder must exist; a prefix exists wherever its bucket does, even without objects.
        """

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, in the order of UTF-8 bytes.

        A root that does not exist (yet) has no objects, except in a bucket that is missing:
        ``NotFoundError``. Memory stays bounded however many objects there are. Placeholders of
        folders are yielded as well, except that of the root itself.
        """

    def list_folder(self, folder: str = "") -> Iterator[ObjectInfo | str]:
        """Yield what is directly below a folder, in the order of UTF-8 bytes.

        Objects are yielded as in :meth:`list`. Sub-folders are strings that end in a slash; in
        some stores they may turn out to be empty. Listing each in its place gives :meth:`list`.

        Args:
            folder: "" for the root, or something that ends in a slash.
        """

    def head(self, key: str) -> ObjectInfo:
        """Describe one object without reading it; ``NotFoundError`` if it is absent."""

    def get(
        self,
        key: str,
        *,
        start: int = 0,
        stop: int | None = None,
        if_match: str | None = None,
    ) -> bytes:
        """Read bytes ``[start, stop)`` of an object, whole by default.

        A range that goes past the end is cut there, and may be empty. With ``if_match``, an
        object whose ETag is another one raises ``PreconditionError``.
        """

    def put(self, key: str, data: bytes) -> str:
        """Replace or create an object, whole or not at all, and return its ETag."""

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> str:
        """Replace or create an object of any size, whole or not at all, and return its ETag.

        Memory stays below 150 MiB (in S3, from 62 GiB of content on, near three of its parts). What
        ``chunks`` raises passes through, and the object stays as it was.

        Args:
            key: The object.
            chunks: The content, in pieces of any size; read once, in this thread.
        """

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Create an object atomically, and return its ETag.

        ``AlreadyExistsError`` if it is there; ``UnsupportedError`` where the store cannot tell.
        """

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent is no error."""

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects, however many; those that are absent are no error.

        The first error ends it: some of the others may then be gone, and some not.
        """

    def discard_uploads(self, *, older_than_s: float) -> int:
        """Remove what puts have left behind whose process was killed; return how many there were.

        Such leftovers take space, but no listing shows them. In S3 they are uploads in parts, told
        from others by nothing but their place; in a folder they are temporary files.

        Args:
            older_than_s: What was begun (a file: last written to) later than so many seconds ago
                is left alone. A put under way that is older than this would fail.
        """


def check_key(key: str) -> str:
    """Return ``key`` if it names one object below a folder, else raise ``InvalidKeyError``."""
    if not key or key.startswith("/") or key.endswith("/") or "\0" in key:
        raise InvalidKeyError(f"{key!r} is not an object key", item=key)
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise InvalidKeyError(f"{key!r} has an empty, '.' or '..' part", item=key)
    return key


def key_order(key: str) -> bytes:
    """What listings are sorted by: the bytes of a key, also where they are not UTF-8."""
    return key.encode("utf-8", "surrogateescape")


def check_range(start: int, stop: int | None) -> None:
    """Raise ``ValueError`` for a range that counts from the end of an object."""
    if start < 0 or (stop is not None and stop < 0):
        raise ValueError(f"bytes [{start}, {stop}): neither end may be negative")
