"""Files on this machine's disks: writing whole ones, and what the file system complains about."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from sdflow.errors import AccessDeniedError, NotFoundError, StorageError

TEMP_PREFIX = ".sdflow-put-"
_BLOCK_BYTES = 2**20


def storage_error(error: OSError, item: str, *, path: str) -> StorageError:
    """The error of :mod:`sdflow.errors` for what the file system said about ``path``."""
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"'{path}' does not exist", item=item)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        message = f"'{path}': {reason}; check the owner and the rights of the folder"
        return AccessDeniedError(message, item=item)
    return StorageError(f"'{path}': {reason}", item=item)


class Draft:
    """A new file in a folder, of a name that is never listed; gone at the end unless renamed.

    Attributes:
        path: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
        self._file = self.path.open("xb")

    def write(self, data: bytes) -> None:
        """Append to the file."""
        self._file.write(data)

    def finish(self) -> str:
        """Bring all of it to the disk; return its ETag."""
        with self._file as file:
            file.flush()
            # The kernel's own times tick too slowly to tell two quick writes apart.
            now_ns = time.time_ns()
            os.utime(file.fileno(), ns=(now_ns, now_ns))
            os.fsync(file.fileno())
            return etag_of(os.fstat(file.fileno()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # it repeats what ``write`` said
            self._file.close()
        with suppress(OSError):  # renamed; or it stays for ``remove_drafts``
            self.path.unlink()


def remove_drafts(folder: Path, *, last_written_before_s: float) -> int:
    """Remove drafts below ``folder`` that nobody goes on writing; return how many there were.

    Links to folders are not followed.

    Args:
        folder: May be absent.
        last_written_before_s: Seconds since the epoch.
    """
    count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(TEMP_PREFIX):
                continue
            path = Path(parent, name)
            with suppress(FileNotFoundError):  # finished meanwhile
                if path.lstat().st_mtime < last_written_before_s:
                    path.unlink()
                    count += 1
    return count


def make_durable(folder: Path) -> None:
    """Write the names in ``folder`` to the disk: a renamed file may else be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_status(path: Path, key: str) -> os.stat_result:
    """The status of a regular file, links followed; NotFoundError where it is something else."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise NotFoundError(f"'{key}' is not a file", item=key)
    return status


def etag_of(status: os.stat_result) -> str:
    """The version of a file's content: when it was last written, and its size."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def have_same_content(path: Path, other: Path) -> bool:
    """Whether both are files of the same bytes; False where one cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size != other.stat().st_size:
            return False
        with path.open("rb") as one, other.open("rb") as two:
            while block := one.read(_BLOCK_BYTES):
                if block != two.read(_BLOCK_BYTES):
                    return False
    except OSError:
        return False
    return True


def etag_if_equal(path: Path, data: bytes) -> str | None:
    """The version of a file that holds exactly ``data``; None where there is none."""
    try:
        status = path.stat()
        is_candidate = stat.S_ISREG(status.st_mode) and status.st_size == len(data)
        if is_candidate and path.read_bytes() == data:
            return etag_of(status)
    except OSError:
        return None
    return None
