from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from sdflow.driver.survey import Survey
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo
from sdflow.work.ledger import LedgerIndex, LedgerLine
from tests.worker.test_pipeline import PARAMETERS


class _Archive(MemoryStore):
    """Lists as many photos as it is told to have, without having them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        del prefix
        for number in range(self._count):
            yield ObjectInfo(f"{number:09d}.jpg", 1000, f"v{number}")


class _Sink(MemoryStore):
    """Takes everything and keeps only the names."""

    def put(self, key: str, data: bytes) -> str:
        del data
        return super().put(key, b"")


def _survey(source: MemoryStore, target: MemoryStore, index: LedgerIndex) -> Survey:
    return Survey(source, target, index, PARAMETERS, include=(), exclude=())


def _line(number: int, *, status: str = "done", parameters: str = PARAMETERS.hash) -> LedgerLine:
    key, etag = f"{number:09d}.jpg", f"v{number}"
    return LedgerLine(key, etag, parameters, status, "t")  # type: ignore[arg-type]  # a literal


def test_what_is_done_failed_or_of_other_settings_is_told_apart(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_line(0), _line(1, status="failed"), _line(2, parameters="others")])
        survey = _survey(_Archive(5), MemoryStore(), index)
        todo = [item.key for item in survey.items()]
        letters = index.dead_letters()
    assert todo == [f"{number:09d}.jpg" for number in (2, 3, 4)]
    assert (survey.listed, survey.skipped, survey.failed) == (5, 1, 1)
    assert json.loads(letters)["key"] == "000000001.jpg"


def test_manifest_is_written_in_parts_while_the_listing_runs(tmp_path: Path) -> None:
    target = MemoryStore()
    with LedgerIndex(tmp_path / "index") as index:
        items = _survey(_Archive(20_001), target, index).items()
        for _ in range(10_001):
            next(items)
        assert len(list(target.list(keys.MANIFEST_PREFIX))) == 1
        remaining = sum(1 for _ in items)
    assert remaining == 10_000
    parts = [target.get(info.key) for info in target.list(keys.MANIFEST_PREFIX)]
    lines = [json.loads(line) for part in parts for line in gzip.decompress(part).splitlines()]
    assert len(parts) == 3
    assert [line["key"] for line in lines] == [f"{number:09d}.jpg" for number in range(20_001)]


def test_memory_does_not_grow_with_the_listing(tmp_path: Path) -> None:
    def peak_bytes(count: int) -> int:
        with LedgerIndex(tmp_path / str(count)) as index:
            items = _survey(_Archive(count), _Sink(), index).items()
            tracemalloc.start()
            for _ in items:
                pass
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return peak

    assert peak_bytes(36_000) < 1.3 * peak_bytes(12_000)
