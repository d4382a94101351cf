"""A store in a folder of this machine, or of a file system that all machines mount."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdflow.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    NotFoundError,
    PreconditionError,
    StorageError,
    UnsupportedError,
)
from sdflow.storage.files import (
    TEMP_PREFIX,
    Draft,
    etag_if_equal,
    etag_of,
    file_status,
    have_same_content,
    make_durable,
    remove_drafts,
    storage_error,
)
from sdflow.storage.store import ObjectInfo, check_key, check_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class LocalStore:
    """Files below a folder.

    Writing is atomic: content goes to a file beside the target, whose name is never listed, and
    takes its place only when it is whole and on the disk. The ETag is the time of the last change
    (nanoseconds) and the size. Links to files are followed; links to folders are not listed.

    Args:
        root: The folder. It is created by the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def url(self) -> str:
        """The absolute path of the folder."""
        return str(self._root)

    def check(self) -> None:
        """Raise NotFoundError or AccessDeniedError unless the folder can be listed."""
        try:
            os.scandir(self._root).close()
        except FileNotFoundError as error:
            raise NotFoundError(f"folder '{self.url}' does not exist", item=self.url) from error
        except NotADirectoryError as error:
            raise NotFoundError(f"'{self.url}' is not a folder", item=self.url) from error
        except OSError as error:
            raise storage_error(error, self.url, path=self.url) from error

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the files whose key starts with ``prefix``, in the order of their keys' bytes.

        Names that are not UTF-8 appear with surrogate escapes, as in :func:`os.fsdecode`. A file
        that vanishes meanwhile is left out.
        """
        folder = prefix[: prefix.rfind("/") + 1]
        if not self._is_inside(folder):
            return
        pending = [self._entries(folder, prefix[len(folder) :])]
        while pending:
            entry = next(pending[-1], None)
            if entry is None:
                pending.pop()
            elif isinstance(entry, ObjectInfo):
                yield entry
            else:
                pending.append(self._entries(entry, ""))

    def list_folder(self, folder: str = "") -> Iterator[ObjectInfo | str]:
        """Yield the files directly in ``folder``, and its folders, which may be empty."""
        if self._is_inside(folder):
            yield from self._entries(folder, "")

    def head(self, key: str) -> ObjectInfo:
        """Describe one file."""
        path = self._path(key)
        with self._naming(key):
            status = file_status(path, key)
        return ObjectInfo(key, status.st_size, etag_of(status), modified_s=status.st_mtime)

    def get(
        self, key: str, *, start: int = 0, stop: int | None = None, if_match: str | None = None
    ) -> bytes:
        """Read bytes ``[start, stop)`` of a file."""
        check_range(start, stop)
        path = self._path(key)
        with self._naming(key):
            file_status(path, key)  # opening a named pipe would wait for its writer
            with path.open("rb") as file:
                file.seek(start)
                data = file.read() if stop is None else file.read(max(0, stop - start))
                # Looked at after reading: a file overwritten meanwhile counts as changed.
                status = os.fstat(file.fileno())
        if if_match not in (None, etag_of(status)):
            raise PreconditionError(f"'{key}' has changed since it was listed", item=key)
        return data

    def put(self, key: str, data: bytes) -> str:
        """Replace or create a file, whole or not at all; one that has this content stays as it is.

        So that a worker that is late changes nothing of what another has written and recorded.
        """
        path = self._writable_path(key)
        with self._naming(key):
            etag = etag_if_equal(path, data)
            if etag is None:
                with Draft(path.parent) as draft:
                    draft.write(data)
                    etag = draft.finish()
                    draft.path.replace(path)
            make_durable(path.parent)
        return etag

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> str:
        """Replace or create a file, like :meth:`put`, but never hold it in memory."""
        path = self._writable_path(key)
        with self._naming(key):
            draft = Draft(path.parent)
        with draft:
            for chunk in chunks:  # whose own errors are not about this file
                with self._naming(key):
                    draft.write(chunk)
            with self._naming(key):
                etag = draft.finish()
                if have_same_content(path, draft.path):
                    etag = etag_of(path.stat())
                else:
                    draft.path.replace(path)
                make_durable(path.parent)
        return etag

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Create a file, whole, unless there is one."""
        path = self._writable_path(key)
        with self._naming(key), Draft(path.parent) as draft:
            draft.write(data)
            etag = draft.finish()
            try:
                path.hardlink_to(draft.path)
            except FileExistsError as error:
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, "is a folder") from error
                raise AlreadyExistsError(f"'{key}' already exists", item=key) from error
            except OSError as error:
                if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                    message = f"'{key}' cannot be created: the file system has no hard links"
                    raise UnsupportedError(message, item=key) from error
                raise
            make_durable(path.parent)
        return etag

    def delete(self, key: str) -> None:
        """Remove a file, if it is there."""
        path = self._inside(key)
        with self._naming(key):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove files, those that are there."""
        for key in keys:
            self.delete(key)

    def discard_uploads(self, *, older_than_s: float) -> int:
        """Remove temporary files that were last written to so long ago."""
        with self._naming(""):
            return remove_drafts(self._root, last_written_before_s=time.time() - older_than_s)

    def _is_inside(self, folder: str) -> bool:
        """Whether ``folder`` ("" or "a/b/") can have keys: no dots and no link lead to it."""
        names = folder.split("/")[:-1]
        if "\0" in folder or any(name in ("", ".", "..") for name in names):
            return False
        with self._naming(folder):
            ways = [self._root.joinpath(*names[:depth]) for depth in range(1, len(names) + 1)]
            return not any(way.is_symlink() for way in ways)

    def _entries(self, folder: str, stem: str) -> Iterator[ObjectInfo | str]:
        """Files and folders ("a/b/") in one folder whose name starts with ``stem``.

        A folder sorts as if its name ended in "/", which is how the keys below it go on.
        """
        try:
            with os.scandir(self._root / folder) as entries:
                found = [
                    (os.fsencode(f"{entry.name}/" if _is_folder(entry) else entry.name), entry)
                    for entry in entries
                    if entry.name.startswith(stem) and not entry.name.startswith(TEMP_PREFIX)
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._error(error, folder) from error
        found.sort(key=lambda pair: pair[0])
        for _, entry in found:
            key = folder + entry.name
            if _is_folder(entry):
                yield f"{key}/"
            elif info := self._info(key, entry):
                yield info

    def _info(self, key: str, entry: os.DirEntry[str]) -> ObjectInfo | None:
        """What a listing says about one entry; None if it is no file, or gone."""
        try:
            status = entry.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):  # vanished, or a link to nothing
                return None
            raise self._error(error, key) from error
        if not stat.S_ISREG(status.st_mode):
            return None
        return ObjectInfo(key, status.st_size, etag_of(status), modified_s=status.st_mtime)

    def _path(self, key: str) -> Path:
        check_key(key)
        try:
            os.fsencode(key)
        except UnicodeEncodeError as error:
            raise InvalidKeyError(f"{key!r} cannot be a file name here", item=key) from error
        if any(part.startswith(TEMP_PREFIX) for part in key.split("/")):
            raise InvalidKeyError(f"{key!r}: '{TEMP_PREFIX}' marks unfinished files", item=key)
        return self._root / key

    def _inside(self, key: str) -> Path:
        """The path of ``key``, which no symbolic link leads out of the root."""
        path = self._path(key)
        root = os.path.realpath(self._root)
        parent = os.path.realpath(path.parent)
        if os.path.commonpath([root, parent]) != root:
            raise InvalidKeyError(f"a link in {key!r} leads out of '{self.url}'", item=key)
        return path

    def _writable_path(self, key: str) -> Path:
        """The path of ``key``, in a folder that exists."""
        path = self._inside(key)
        try:
            missing = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in missing:
                make_durable(folder.parent)
        except (FileExistsError, NotADirectoryError) as error:
            message = f"'{key}' cannot be written: a part of its path is a file"
            raise StorageError(message, item=key) from error
        except FileNotFoundError as error:  # of a file system that makes no folders, as /proc
            message = f"folder '{path.parent}' cannot be made"
            raise StorageError(message, item=key) from error
        except OSError as error:
            raise self._error(error, key) from error
        return path

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error, key) from error

    def _error(self, error: OSError, key: str) -> StorageError:
        return storage_error(error, key, path=str(self._root / key))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)
