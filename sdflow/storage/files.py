"""Files on this machine's disks: writing whole ones, and what the file system complains about."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdflow.errors import AccessDeniedError, NotFoundError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMP_PREFIX = ".sdflow-put-"


def storage_error(error: OSError, item: str, *, path: str) -> StorageError:
    """The error of :mod:`sdflow.errors` for what the file system said about ``path``."""
    reason = (error.strerror or type(error).__name__).lower()
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(f"'{path}' does not exist", item=item)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        message = f"'{path}': {reason}; check the owner and the rights of the folder"
        return AccessDeniedError(message, item=item)
    return StorageError(f"'{path}': {reason}", item=item)


@contextmanager
def temporary_file(folder: Path, data: bytes) -> Iterator[tuple[Path, str]]:
    """A finished file in ``folder`` and its ETag; gone at the end unless it was renamed."""
    temporary = folder / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            # The kernel's own times tick too slowly to tell two quick writes apart.
            now_ns = time.time_ns()
            os.utime(file.fileno(), ns=(now_ns, now_ns))
            os.fsync(file.fileno())
            status = os.fstat(file.fileno())
        yield temporary, etag_of(status)
    finally:
        temporary.unlink(missing_ok=True)


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
