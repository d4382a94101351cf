"""Writing the ledger: lines are gathered and go out together, beside the driver's loop."""

from __future__ import annotations

import secrets
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from sdflow.errors import StorageError, TransientStorageError
from sdflow.storage import keys
from sdflow.work.ledger import encode_line, encode_part

if TYPE_CHECKING:
    from sdflow.storage.store import Store
    from sdflow.work.ledger import LedgerLine

FLUSH_S = 10.0
_MAX_LINES = 10_000  # of a part; more are not gathered before they go out
_MAX_BYTES = 16_000_000  # of a part, but for a last line: those of pairs in folders are long
_log = structlog.get_logger()


def new_run_id() -> str:
    """A name for this run's parts of the ledger, which sorts after those of earlier runs.

    To the microsecond: small runs follow each other within a second.
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(3)}"


def remove_below(target: Store, prefix: str) -> int:
    """Remove every object whose key begins so; returns how many there were.

    Raises:
        StorageError: If the store refuses.
    """
    found = [info.key for info in target.list(prefix) if not info.is_placeholder]
    target.delete_many(found)
    return len(found)


class Recorder:
    """Writes ledger lines in parts: one every few seconds, however many shards there are.

    What a part speaks of is durable already. A part that cannot be written is kept and tried
    again; :attr:`num_waiting` says how much has piled up.

    Args:
        target: Where the ledger is.
        run_id: Beginning of the parts' names; sorts after those of earlier runs.
    """

    def __init__(self, target: Store, *, run_id: str) -> None:
        self._target = target
        self._run_id = run_id
        self._lines: deque[bytes] = deque()
        self._writing: list[bytes] = []
        self._prefixes: deque[str] = deque()
        self._obsolete: list[str] = []
        self._number = 0
        self._flushed_at = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._future: Future[None] | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            with suppress(StorageError):  # what is done is done, however the run ends
                self.finish()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def run_id(self) -> str:
        """Beginning of the parts' names."""
        return self._run_id

    @property
    def num_waiting(self) -> int:
        """Lines that are not durable yet."""
        return len(self._lines) + len(self._writing)

    def add(self, line: LedgerLine) -> None:
        """Take a line; it goes out with the next part. May be called from any thread."""
        self._lines.append(encode_line(line))

    def remove_later(self, prefix: str) -> None:
        """Remove all objects whose keys begin so, once the lines taken so far are durable."""
        self._prefixes.append(prefix)

    def work(self, now: float) -> None:
        """Begin to write a part when it is time; never waits.

        Raises:
            StorageError: If the store refuses for good.
        """
        self._collect()
        due = now - self._flushed_at >= FLUSH_S or len(self._lines) >= _MAX_LINES
        if self._future is None and (self._writing or (self._lines and due)):
            self._flushed_at = now
            self._begin()

    def finish(self) -> None:
        """Write all that is left, and wait for it.

        Raises:
            StorageError: If it cannot be written.
        """
        while self._future is not None or self.num_waiting:
            if self._future is None:
                self._begin()
            else:
                self._future.exception()
            failing = self._collect()
            if failing is not None:
                raise failing

    def _begin(self) -> None:
        if not self._writing:
            self._writing = self._next_part()
            self._number += 1
            if not self._lines:
                self._obsolete = [self._prefixes.popleft() for _ in range(len(self._prefixes))]
        key = keys.ledger_key(f"{self._run_id}-{self._number:06d}")
        self._future = self._thread.submit(self._write, key)

    def _next_part(self) -> list[bytes]:
        part: list[bytes] = []
        left = _MAX_BYTES
        while self._lines and len(part) < _MAX_LINES and left > 0:
            part.append(self._lines.popleft())
            left -= len(part[-1])
        return part

    def _write(self, key: str) -> None:
        self._target.put(key, encode_part(b"".join(self._writing)))
        for prefix in self._obsolete:
            try:
                remove_below(self._target, prefix)
            except StorageError as error:  # the results are durable, this can wait
                _log.warning(
                    "parts cannot be removed now; 'sdflow verify DST --clean' does it",
                    reason=str(error),
                )
        self._obsolete = []

    def _collect(self) -> TransientStorageError | None:
        """See what has become of the part on its way; the same part goes out again if need be."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        try:
            future.result()
        except TransientStorageError as error:
            _log.warning("the ledger cannot be written, trying again", reason=str(error))
            return error
        self._writing = []
        return None
