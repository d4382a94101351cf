"""Ledger lines reach the store, whatever it does meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from sdflow.driver.history import compact_ledger, read_ledger
from sdflow.driver.recorder import FLUSH_S, Recorder
from sdflow.errors import AccessDeniedError, NotFoundError, TransientStorageError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.work.index import LedgerIndex
from sdflow.work.ledger import LedgerLine, Output, encode_lines, encode_part


def _line(key: str, time: str = "t") -> LedgerLine:
    return LedgerLine(key, "v", "p", "done", time, outputs=(Output(key, "e", 1),))


class _Shaky(MemoryStore):
    """Refuses so many writes in passing."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def put(self, key: str, data: bytes) -> str:
        if self.failures > 0:
            self.failures -= 1
            raise TransientStorageError("slow down", item=key)
        return super().put(key, data)


def _recorded(store: MemoryStore, tmp_path: Path) -> list[str]:
    with LedgerIndex(tmp_path / "index") as index:
        read_ledger(store, index)
        return [line.key for line in index.lines()]


def test_lines_go_out_together_when_it_is_time(tmp_path: Path) -> None:
    store = MemoryStore()
    with Recorder(store, run_id="r") as recorder:
        recorder.work(100.0)
        for key in ("a", "b", "c"):
            recorder.add(_line(key))
            recorder.work(100.0 + FLUSH_S / 2)
        recorder.finish()
    assert len(list(store.list())) <= 2
    assert _recorded(store, tmp_path) == ["a", "b", "c"]


def test_part_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    store = _Shaky(failures=3)
    with Recorder(store, run_id="r") as recorder:
        recorder.add(_line("a"))
        now = 100.0
        while recorder.num_waiting:
            recorder.work(now)
            now += FLUSH_S
        recorder.add(_line("b"))
        recorder.finish()
    assert _recorded(store, tmp_path) == ["a", "b"]


def test_parts_are_removed_once_the_line_of_their_image_is_durable() -> None:
    store = _Shaky(failures=0)
    store.put(f"{keys.scratch_prefix('image')}part-00000.s0", b"pixels")
    store.failures = 2
    with Recorder(store, run_id="r") as recorder:
        recorder.add(_line("a"))
        recorder.remove_later(keys.scratch_prefix("image"))
        now = 100.0
        while recorder.num_waiting:
            recorder.work(now)
            now += FLUSH_S
            has_parts = any(True for _ in store.list(keys.SCRATCH_PREFIX))
            has_line = any(True for _ in store.list(keys.LEDGER_PREFIX))  # asked later
            assert has_line or has_parts
    assert list(store.list(keys.SCRATCH_PREFIX)) == []


class _Keeping(MemoryStore):
    """Lets nobody remove anything."""

    def delete_many(self, keys: Iterable[str]) -> None:
        raise AccessDeniedError("not yours", item=next(iter(keys)))


def test_job_goes_on_where_parts_cannot_be_removed(tmp_path: Path) -> None:
    store = _Keeping()
    store.put(f"{keys.scratch_prefix('image')}part-00000.s0", b"pixels")
    with Recorder(store, run_id="r") as recorder:
        recorder.add(_line("a"))
        recorder.remove_later(keys.scratch_prefix("image"))
        recorder.finish()
    assert _recorded(store, tmp_path) == ["a"]


def test_end_without_a_durable_ledger_is_an_error() -> None:
    with Recorder(_Shaky(failures=100), run_id="r") as recorder:
        recorder.add(_line("a"))
        with pytest.raises(TransientStorageError):
            recorder.finish()
        assert recorder.num_waiting == 1


def _interrupted(store: MemoryStore) -> None:
    with Recorder(store, run_id="r") as recorder:
        recorder.add(_line("a"))
        raise KeyboardInterrupt


def test_what_is_done_is_recorded_however_the_run_ends(tmp_path: Path) -> None:
    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        _interrupted(store)
    assert _recorded(store, tmp_path) == ["a"]


def test_ledger_that_cannot_be_written_does_not_hide_why_the_run_ended() -> None:
    with pytest.raises(KeyboardInterrupt):
        _interrupted(_Shaky(failures=100))


def _write_parts(store: MemoryStore, count: int) -> None:
    for number in range(count):
        lines = [_line(f"{number:03d}"), _line("shared", time=f"t{number:03d}")]
        store.put(keys.ledger_key(f"run-{number:06d}"), encode_part(encode_lines(lines)))


def test_many_parts_become_few_and_say_the_same(tmp_path: Path) -> None:
    store = MemoryStore()
    _write_parts(store, 100)
    with LedgerIndex(tmp_path / "before") as index:
        parts = read_ledger(store, index)
        before = list(index.lines())
        assert compact_ledger(store, index, parts)
    assert len(list(store.list(keys.LEDGER_PREFIX))) == 1
    store.put(keys.ledger_key("run-000100"), encode_part(encode_lines([_line("new")])))
    with LedgerIndex(tmp_path / "after") as index:
        parts = read_ledger(store, index)
        assert list(index.lines()) == sorted([*before, _line("new")], key=lambda line: line.key)
        assert next(line for line in before if line.key == "shared").time == "t099"
        assert not compact_ledger(store, index, parts)


def test_line_written_after_the_parts_were_put_together_counts(tmp_path: Path) -> None:
    store = MemoryStore()
    _write_parts(store, 70)
    with LedgerIndex(tmp_path / "before") as index:
        compact_ledger(store, index, read_ledger(store, index))
    newer = encode_part(encode_lines([_line("shared", time="newer")]))
    store.put(keys.ledger_key("run-000070"), newer)
    with LedgerIndex(tmp_path / "after") as index:
        read_ledger(store, index)
        found = index.find("shared")
    assert found is not None
    assert found.time == "newer"


class _Killed(MemoryStore):
    """A driver dies here before it can remove what it has put together."""

    def delete_many(self, keys: object) -> None:
        raise KeyboardInterrupt


def test_kill_between_writing_and_removing_loses_and_changes_nothing(tmp_path: Path) -> None:
    store = _Killed()
    _write_parts(store, 70)
    with LedgerIndex(tmp_path / "before") as index:
        parts = read_ledger(store, index)
        before = list(index.lines())
        with pytest.raises(KeyboardInterrupt):
            compact_ledger(store, index, parts)
    with LedgerIndex(tmp_path / "after") as index:
        read_ledger(store, index)
        assert list(index.lines()) == before


class _Compacting(MemoryStore):
    """Another driver puts the parts together while this one reads them."""

    armed = True

    def get(
        self, key: str, *, start: int = 0, stop: int | None = None, if_match: str | None = None
    ) -> bytes:
        if self.armed and key.endswith("-000005.jsonl.gz"):
            self.armed = False
            data = super().get(key)
            self.put(keys.ledger_key("run-000069~00000"), data)
            self.delete(key)
            raise NotFoundError("gone", item=key)
        return super().get(key, start=start, stop=stop, if_match=if_match)


def test_part_that_vanishes_while_it_is_read_is_found_where_it_went(tmp_path: Path) -> None:
    store = _Compacting()
    _write_parts(store, 70)
    assert "005" in _recorded(store, tmp_path)
