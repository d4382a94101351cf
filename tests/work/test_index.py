from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

from sdflow.work.index import LedgerIndex
from sdflow.work.ledger import LedgerLine, Output, decode_lines, encode_lines


def _done(key: str, *, output: str | None = None) -> LedgerLine:
    outputs = (Output(output or key, "e", 1),)
    return LedgerLine(key, "v", "p", "done", "2026-01-01T00:00:00Z", outputs=outputs)


def _failed(key: str, time: str) -> LedgerLine:
    return LedgerLine(key, "v", "p", "failed", time, 3, error="nan", message="NaN in it")


def test_newest_line_of_an_image_counts(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_failed("a", "t1"), _done("b")])
        index.add([_done("a")])
        assert index.find("a") == _done("a")
        assert index.find("c") is None


def test_output_name_belongs_to_its_first_owner(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_done("a.jpg", output="a.png")])
        assert not index.claim("a.png", "a.png")
        assert index.claim("a.png", "a.jpg")
        assert index.claim("b.png", "b.jpg")
        assert not index.claim("b.png", "b.webp")


def test_dead_letters_are_sorted_and_know_when_they_were_first_seen(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_failed("b", "t1")])
        for line in (_failed("b", "t2"), _failed("a", "t3")):
            index.bury(index.with_first_seen(line))
        letters = [json.loads(line) for line in index.dead_letters().splitlines()]
    assert letters[0] == {
        "key": "a",
        "etag": "v",
        "error": "nan",
        "message": "NaN in it",
        "attempts": 3,
        "first_seen": "t3",
        "last_seen": "t3",
    }
    assert (letters[1]["first_seen"], letters[1]["last_seen"]) == ("t1", "t2")


def test_changed_source_is_a_new_dead_letter(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_failed("a", "t1")])
        index.bury(index.with_first_seen(replace(_failed("a", "t2"), etag="v2")))
        assert json.loads(index.dead_letters())["first_seen"] == "t2"


def test_keys_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    key = "caf\udce9.jpg"
    with LedgerIndex(tmp_path / "index") as index:
        index.add(decode_lines(encode_lines([_done(key)]), source="x"))
        found = index.find(key)
    assert found is not None
    assert found.key == key


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peak_bytes(count: int) -> int:
        with LedgerIndex(tmp_path / str(count)) as index:
            tracemalloc.start()
            for first in range(0, count, 100):
                index.add(_done(f"{number:08d}.jpg") for number in range(first, first + 100))
            assert index.find("00000000.jpg")
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return peak

    lines_kept = 10_000 * len(encode_lines([_done("00000000.jpg")]))
    assert peak_bytes(10_000) < lines_kept / 4


def test_first_failure_is_remembered_over_several_runs(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        for time in ("t1", "t2", "t3"):
            line = index.with_first_seen(_failed("a", time))
            index.add([line])
    assert (line.first_seen, line.time) == ("t1", "t3")


def test_failures_can_be_gone_through_alone(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_failed("c", "t"), _done("b"), _failed("a", "t"), _failed("d", "t")])
        index.add([_done("d")])
        assert [line.key for line in index.lines(failed_only=True)] == ["a", "c"]
        assert [line.key for line in index.lines()] == ["a", "b", "c", "d"]
