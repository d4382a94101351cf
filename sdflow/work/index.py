"""The newest ledger line of every image, in a scratch database on local disk.

So that looking up an image takes the same memory whether ten or ten million are done.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from sdflow.work.ledger import decode_lines, encode_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sdflow.work.ledger import LedgerLine

_TABLES = """
CREATE TABLE line (key BLOB PRIMARY KEY, failed INTEGER, body TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX failures ON line (key) WHERE failed;
CREATE TABLE output (name BLOB PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE dead (key BLOB PRIMARY KEY, body TEXT) WITHOUT ROWID;
"""


class LedgerIndex:
    """The ledger by image; may be used from several threads.

    Args:
        path: Database file to create; the caller removes it.
        knows_outputs: Whether the names of results are indexed too; costs as much again.
    """

    def __init__(self, path: Path, *, knows_outputs: bool = True) -> None:
        self._knows_outputs = knows_outputs
        self._lock = RLock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_TABLES)

    def __enter__(self) -> LedgerIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, lines: Iterable[LedgerLine]) -> None:
        """Record lines; a later line replaces an earlier one of the same image."""
        with self._lock:
            self._database.execute("BEGIN")
            for line in lines:
                key = _stored(line.key)
                self._database.execute(
                    "INSERT OR REPLACE INTO line VALUES (?, ?, ?)",
                    (key, line.status == "failed", encode_line(line).decode()),
                )
                if self._knows_outputs:
                    self._database.executemany(
                        "INSERT OR REPLACE INTO output VALUES (?, ?)",
                        [(_stored(output.key), key) for output in line.outputs],
                    )
            self._database.execute("COMMIT")

    def find(self, key: str) -> LedgerLine | None:
        """The newest line of an image."""
        with self._lock:
            row = self._database.execute(
                "SELECT body FROM line WHERE key = ?", (_stored(key),)
            ).fetchone()
        return None if row is None else next(decode_lines(row[0].encode(), source="index"))

    def bodies(self, *, failed_only: bool = False) -> Iterator[bytes]:
        """The newest lines of all images, encoded, by key; nothing may be added meanwhile."""
        where = "WHERE failed" if failed_only else ""
        rows = self._database.execute(f"SELECT body FROM line {where} ORDER BY key")  # noqa: S608 - our own words
        for (body,) in rows:
            yield body.encode()

    def lines(self, *, failed_only: bool = False) -> Iterator[LedgerLine]:
        """The newest lines of all images, by key; nothing may be added meanwhile."""
        for body in self.bodies(failed_only=failed_only):
            yield from decode_lines(body, source="index")

    def outputs(self) -> Iterator[tuple[str, LedgerLine]]:
        """Names that results were ever given, with the newest line of their image, by name.

        That line may name other results by now. Nothing may be added meanwhile.
        """
        rows = self._database.execute(
            "SELECT name, body FROM output JOIN line ON line.key = output.key ORDER BY name"
        )
        for name, body in rows:
            for line in decode_lines(body.encode(), source="index"):
                yield _shown(name), line

    def claim(self, output_key: str, key: str) -> bool:
        """Reserve an output name for an image; False if it belongs to another one."""
        names = (_stored(output_key), _stored(key))
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO output VALUES (?, ?)", names)
            row = self._database.execute(
                "SELECT key FROM output WHERE name = ?", names[:1]
            ).fetchone()
        return bool(row[0] == names[1])

    def with_first_seen(self, line: LedgerLine) -> LedgerLine:
        """A dead letter that knows when this version of its source first failed."""
        before = self.find(line.key)
        if before and (before.status, before.etag) == ("failed", line.etag):
            return replace(line, first_seen=before.first_seen or before.time)
        return replace(line, first_seen=line.time)

    def bury(self, line: LedgerLine) -> None:
        """Note an image as one of this run's dead letters."""
        body = json.dumps(
            {
                "key": line.key,
                "etag": line.etag,
                "error": line.error,
                "message": line.message,
                "attempts": line.attempts,
                "first_seen": line.first_seen or line.time,
                "last_seen": line.time,
            }
        )
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO dead VALUES (?, ?)", (_stored(line.key), body)
            )

    def exhume(self) -> None:
        """Forget this run's dead letters, before the listing is gone through once more."""
        with self._lock:
            self._database.execute("DELETE FROM dead")

    def dead_letters(self) -> bytes:
        """This run's dead letters as JSON lines, by key."""
        rows = self._database.execute("SELECT body FROM dead ORDER BY key")
        return b"".join(body.encode() + b"\n" for (body,) in rows)


@contextmanager
def scratch_index(*, knows_outputs: bool) -> Iterator[LedgerIndex]:
    """An empty index in a temporary folder, for the length of a block."""
    with (
        tempfile.TemporaryDirectory(prefix="sdflow-") as folder,
        LedgerIndex(Path(folder) / "ledger.sqlite", knows_outputs=knows_outputs) as index,
    ):
        yield index


def _stored(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
