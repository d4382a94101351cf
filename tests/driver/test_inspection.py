from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.driver.inspection import RecentTimes, count_progress, inspect_job
from sdflow.driver.manifest import Manifest
from sdflow.errors import NotFoundError, StorageError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo
from sdflow.work.index import LedgerIndex
from sdflow.work.ledger import LedgerLine, encode_lines
from tests.worker.bench import PARAMETERS

_HASH = PARAMETERS.hash
_TIME = "2026-01-01T00:00:00.000Z"


def _line(key: str, status: str = "done", **more: object) -> LedgerLine:
    fields = {"etag": "v", "parameters": _HASH, "time": _TIME, **more}
    return LedgerLine(key=key, status=status, **fields)  # type: ignore[arg-type]  # words


def _listed(*names: str) -> list[ObjectInfo]:
    return [ObjectInfo(name, 1, "v") for name in names]


def test_images_are_done_failed_or_waiting() -> None:
    lines = [
        _line("a"),
        _line("b", "failed", error="nan", attempts=3),
        _line("c", "missing"),
        _line("d", etag="another"),
        _line("e", parameters="others"),
        _line("removed", attempts=2),
        _line("removed too", "failed", error="decode.truncated"),
        _line("removed, of other settings", parameters="others"),
    ]
    lines.sort(key=lambda line: line.key.encode())
    found = count_progress(_listed("a", "b", "c", "d", "e", "f"), lines, _HASH)
    assert (found.listed, found.unlisted) == (6, 2)
    assert (found.done, found.failed, found.waiting) == (3, 2, 3)
    assert found.errors == Counter({"nan": 1, "decode.truncated": 1})
    assert found.tried_again == 2


@given(
    listed=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("vw")),
    ledger=st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.sampled_from(["done", "failed", "missing"]), st.sampled_from([_HASH, "x"])),
    ),
)
def test_counts_add_up(listed: dict[str, str], ledger: dict[str, tuple[str, str]]) -> None:
    found = count_progress(
        [ObjectInfo(key, 1, etag) for key, etag in sorted(listed.items())],
        [_line(key, status, parameters=hash_) for key, (status, hash_) in sorted(ledger.items())],
        _HASH,
    )
    assert found.listed == len(listed)
    assert found.done + found.failed + found.waiting == found.listed + found.unlisted
    assert found.errors.total() == found.failed


def test_times_of_the_last_ten_minutes_are_counted() -> None:
    times = RecentTimes()
    assert times.count == 0
    times.add("2026-01-01T00:00:00.000Z", counts=True)
    times.add("2026-01-01T00:04:59.900Z", counts=True)
    times.add("2026-01-01T00:10:30.000Z", counts=True)
    times.add("2026-01-01T00:14:59.000Z", counts=False)
    assert (times.count, times.latest) == (1, "2026-01-01T00:14:59.000Z")


def _job(*, exit_status: int | None = None) -> MemoryStore:
    target = MemoryStore()
    record = {"source": "s3://archive/", "parameters": asdict(PARAMETERS), "settings": {}}
    target.put(keys.JOB_KEY, json.dumps(record).encode())
    if exit_status is not None:
        target.put(keys.SUMMARY_KEY, json.dumps({"exit_status": exit_status}).encode())
    return target


def _add(target: MemoryStore, listed: list[ObjectInfo], *lines: LedgerLine) -> None:
    manifest = Manifest(target)
    for info in listed:
        manifest.add(info)
    manifest.finish()
    target.put(f"{keys.LEDGER_PREFIX}1.jsonl", encode_lines(lines))


def test_whole_job_is_described_and_nothing_is_written(tmp_path: Path) -> None:
    target = _job(exit_status=3)
    _add(target, _listed("a", "b"), _line("a"), _line("b", "failed", error="nan", attempts=2))
    before = {info.key: info.etag for info in target.list()}
    with LedgerIndex(tmp_path / "index") as index:
        assert inspect_job(target, index) == {
            "task": "upscale",
            "source": "s3://archive/",
            "state": "finished",
            "driver": None,
            "listed": 2,
            "unlisted": 0,
            "done": 1,
            "failed": 1,
            "waiting": 0,
            "dead_letters": {"nan": 1},
            "tried_again": 1,
            "ledger_parts": 1,
            "last_ledger_time": _TIME,
            "done_in_last_10_minutes": 1,
            "summary": {"exit_status": 3},
        }
    assert {info.key: info.etag for info in target.list()} == before


@pytest.mark.parametrize(
    ("exit_status", "listed", "state"),
    [(0, "a", "finished"), (0, "ab", "stopped"), (4, "a", "stopped"), (None, "a", "stopped")],
)
def test_state_of_a_job_that_nobody_works_on(
    exit_status: int | None, listed: str, state: str, tmp_path: Path
) -> None:
    target = _job(exit_status=exit_status)
    _add(target, _listed(*listed), _line("a"))
    with LedgerIndex(tmp_path / "index") as index:
        assert inspect_job(target, index)["state"] == state


def test_destination_without_a_job_or_with_another_versions_is_named(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        with pytest.raises(NotFoundError, match=r"there is no job in memory:.*job\.json"):
            inspect_job(MemoryStore(), index)
        target = _job()
        record = {"source": "", "parameters": {"hue": 1}, "settings": {}}
        target.put(keys.JOB_KEY, json.dumps(record).encode())
        with pytest.raises(StorageError, match="another version of sdflow"):
            inspect_job(target, index)


def test_memory_does_not_grow_with_the_archive() -> None:
    def lines(count: int) -> Iterator[LedgerLine]:
        for number in range(count):
            time = f"2026-01-{number % 28 + 1:02d}T{number % 24:02d}:00:{number % 60:02d}.000Z"
            yield _line(f"{number:09d}", time=time)

    def peak_bytes(count: int) -> int:
        listed = (ObjectInfo(f"{number:09d}", 1, "v") for number in range(count))
        tracemalloc.start()
        assert count_progress(listed, lines(count), _HASH).done == count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_bytes(24_000) < 1.3 * peak_bytes(8_000)
