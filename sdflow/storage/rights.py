"""Which rights a job has in its stores, found out by using them."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sdflow.errors import NotFoundError, StorageError
from sdflow.storage import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdflow.storage.store import Store

_LONG_AGO_S = 1e9  # no upload is as old: whether they may be listed is all that is asked
_CONTENT = b"sdflow doctor"


@dataclass(frozen=True, slots=True)
class Right:
    """Something that a job does to a store.

    Attributes:
        name: What, as a person would say it.
        action: What S3 calls it.
        error: Why it did not work; "" if it did.
        note: What could not be tried.
    """

    name: str
    action: str
    error: str = ""
    note: str = ""


def source_rights(store: Store) -> Iterator[Right]:
    """Try what a job does to its sources: list them, and read one."""
    listed = _tried("list SRC", "s3:ListBucket", store.check)
    yield listed
    if listed.error:
        return
    first = next((info.key for info in store.list() if info.size_bytes), None)
    if first is None:
        yield Right("read SRC", "s3:GetObject", note="there is no object to try it on")
    else:
        yield _tried("read SRC", "s3:GetObject", partial(store.get, first, stop=1))


def target_rights(store: Store) -> Iterator[Right]:
    """Try what a job does to its destination, with an object of its own that is removed again."""
    key = keys.probe_key(secrets.token_hex(8))
    yield _tried("list DST", "s3:ListBucket", partial(_first, store))
    written = _tried("write DST", "s3:PutObject", partial(store.put, key, _CONTENT))
    yield written
    if not written.error:
        yield _tried("read DST", "s3:GetObject", partial(store.get, key))
        yield _tried("delete from DST", "s3:DeleteObject", partial(_delete, store, key))
    yield _tried(
        "end begun uploads in DST",
        "s3:ListBucketMultipartUploads",
        partial(store.discard_uploads, older_than_s=_LONG_AGO_S),
    )


def _delete(store: Store, key: str) -> None:
    """Both ways: services have denied one and allowed the other."""
    store.delete_many([key])
    store.delete(key)


def _first(store: Store) -> None:
    with suppress(StopIteration):
        next(iter(store.list(keys.JOB_PREFIX)))


def _tried(name: str, action: str, work: Callable[[], object]) -> Right:
    try:
        work()
    except NotFoundError as error:
        return Right(name, action, error=f"{error}: create it")
    except StorageError as error:
        return Right(name, action, error=str(error))
    return Right(name, action)
