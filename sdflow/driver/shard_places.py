"""Which sources' pairs are in which shard, in a scratch database: memory stays as it is."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TABLES = """
CREATE TABLE place (shard TEXT, key BLOB, done INTEGER, PRIMARY KEY (shard, key)) WITHOUT ROWID;
CREATE TABLE source (key BLOB PRIMARY KEY) WITHOUT ROWID;
"""


class ShardPlaces:
    """Shards by source, and which sources have been dealt with; for several threads.

    Args:
        path: Database file to create; the caller removes it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def add(self, places: Iterable[tuple[str, str]]) -> None:
        """Note places: a shard, and a source with pairs in use in it."""
        rows = ((shard, _stored(key)) for shard, key in places)
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR IGNORE INTO place VALUES (?, ?, 0)", rows)
        self._database.execute("COMMIT")

    def shards(self) -> list[str]:
        """All shards with pairs in use."""
        return [shard for (shard,) in self._database.execute("SELECT DISTINCT shard FROM place")]

    def tick(self, shard: str, key: str) -> None:
        """Note that the pairs of a source in a shard have been looked at."""
        with self._lock:
            self._database.execute(
                "UPDATE place SET done = 1 WHERE shard = ? AND key = ?", (shard, _stored(key))
            )

    def sources(self, shard: str, *, unticked_only: bool = False) -> Iterator[str]:
        """Keys of the sources in a shard, sorted."""
        where = "AND NOT done" if unticked_only else ""
        rows = self._database.execute(
            f"SELECT key FROM place WHERE shard = ? {where} ORDER BY key",  # noqa: S608 - our own words
            (shard,),
        )
        for (key,) in rows:
            yield key.decode("utf-8", "surrogateescape")

    def is_first(self, key: str) -> bool:
        """Whether this is the first question about a source."""
        with self._lock:
            cursor = self._database.execute(
                "INSERT OR IGNORE INTO source VALUES (?)", (_stored(key),)
            )
        return cursor.rowcount == 1


@contextmanager
def scratch_places() -> Iterator[ShardPlaces]:
    """No places yet, in a temporary folder, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="sdflow-") as folder:
        places = ShardPlaces(Path(folder) / "places.sqlite")
        try:
            yield places
        finally:
            places.close()


def _stored(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
