"""The durable record of what is done, and its index.

The ledger is a folder of JSON-lines objects, one for every finished shard, written after the
shard's outputs are durable. The index is a scratch database on local disk, so that looking up an
image takes the same memory whether ten or ten million are done.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from sdflow.errors import StorageError
from sdflow.telemetry import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from sdflow.work.shard import WorkItem


_NOT_THE_IMAGES_FAULT = frozenset(
    {"internal", "storage", "storage.denied", "storage.not_found", "storage.transient"}
)


@dataclass(frozen=True, slots=True)
class Output:
    """One durable result.

    Attributes:
        key: Relative to the destination.
        etag: As the store gave it.
        size_bytes: Length.
    """

    key: str
    etag: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """How one image ended.

    Attributes:
        key: Source key relative to the job's prefix.
        etag: Version of the source.
        parameters: Hash of everything that changes pixels.
        status: ``done``, or ``failed`` for a dead letter.
        time: When, ISO 8601 in UTC.
        attempts: How often it was tried, from 1.
        outputs: What was written, for ``done``.
        error: Stable code, for ``failed``.
        message: What a person should know, for ``failed``.
        note: What had to be given up for memory, for ``done``; pixels may differ by a level.
    """

    key: str
    etag: str
    parameters: str
    status: Literal["done", "failed"]
    time: str
    attempts: int = 1
    outputs: tuple[Output, ...] = ()
    error: str = ""
    message: str = ""
    note: str = ""

    def settles(self, etag: str, parameters: str) -> bool:
        """Whether a later run with these parameters has nothing to do for this source.

        A failure that says nothing of the image, such as credentials that ran out, settles
        nothing: the next run tries again.
        """
        same = (self.etag, self.parameters) == (etag, parameters)
        return same and self.error not in _NOT_THE_IMAGES_FAULT


def encode_lines(lines: Iterable[LedgerLine]) -> bytes:
    """One JSON object a line; what a status does not need is left out."""
    return b"".join(
        json.dumps({name: value for name, value in asdict(line).items() if value}).encode() + b"\n"
        for line in lines
    )


def decode_lines(data: bytes, *, source: str) -> Iterator[LedgerLine]:
    """Read :func:`encode_lines` back.

    Raises:
        StorageError: Naming ``source`` and the line, if the text is not a ledger's.
    """
    for number, text in enumerate(data.splitlines(), start=1):
        try:
            fields = json.loads(text)
            fields["outputs"] = tuple(Output(**output) for output in fields.get("outputs", ()))
            yield LedgerLine(**fields)
        except (ValueError, TypeError, AttributeError) as error:
            raise StorageError(
                f"{source} line {number} is not a ledger line: the ledger was changed by hand; "
                "restore it, or remove the file to do its images again",
                item=source,
            ) from error


def dead_letter_line(
    item: WorkItem, parameters: str, *, error: str, message: str, attempts: int
) -> LedgerLine:
    """The line of an image that is given up now."""
    return LedgerLine(
        key=item.key,
        etag=item.etag,
        parameters=parameters,
        status="failed",
        time=utc_now(),
        attempts=attempts,
        error=error,
        message=message,
    )


class LedgerIndex:
    """The newest ledger line of every image, on local disk.

    Args:
        path: Database file to create; the caller removes it.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE line (key BLOB PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID"
        )
        self._database.execute(
            "CREATE TABLE output (name BLOB PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE dead (key BLOB PRIMARY KEY, body TEXT) WITHOUT ROWID")

    def __enter__(self) -> LedgerIndex:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._database.close()

    def add(self, lines: Iterable[LedgerLine]) -> None:
        """Record lines; a later line replaces an earlier one of the same image."""
        self._database.execute("BEGIN")
        for line in lines:
            key = _stored(line.key)
            self._database.execute(
                "INSERT OR REPLACE INTO line VALUES (?, ?)", (key, encode_lines([line]).decode())
            )
            self._database.executemany(
                "INSERT OR REPLACE INTO output VALUES (?, ?)",
                [(_stored(output.key), key) for output in line.outputs],
            )
        self._database.execute("COMMIT")

    def find(self, key: str) -> LedgerLine | None:
        """The newest line of an image."""
        row = self._database.execute(
            "SELECT body FROM line WHERE key = ?", (_stored(key),)
        ).fetchone()
        return None if row is None else next(decode_lines(row[0].encode(), source="index"))

    def claim(self, output_key: str, key: str) -> bool:
        """Reserve an output name for an image; False if it belongs to another one."""
        names = (_stored(output_key), _stored(key))
        self._database.execute("INSERT OR IGNORE INTO output VALUES (?, ?)", names)
        row = self._database.execute("SELECT key FROM output WHERE name = ?", names[:1]).fetchone()
        return bool(row[0] == names[1])

    def bury(self, line: LedgerLine) -> None:
        """Note an image of this run as a dead letter."""
        before = self.find(line.key)
        known = before and (before.status, before.etag) == ("failed", line.etag)
        first_seen = before.time if before and known else line.time
        body = json.dumps(
            {
                "key": line.key,
                "etag": line.etag,
                "error": line.error,
                "message": line.message,
                "attempts": line.attempts,
                "first_seen": first_seen,
                "last_seen": line.time,
            }
        )
        self._database.execute(
            "INSERT OR REPLACE INTO dead VALUES (?, ?)", (_stored(line.key), body)
        )

    def dead_letters(self) -> bytes:
        """This run's dead letters as JSON lines, by key."""
        rows = self._database.execute("SELECT body FROM dead ORDER BY key")
        return b"".join(body.encode() + b"\n" for (body,) in rows)


def _stored(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
