from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.errors import StorageError
from sdflow.work.ledger import LedgerIndex, LedgerLine, Output, decode_lines, encode_lines

lines = st.builds(
    LedgerLine,
    key=st.text(min_size=1),
    etag=st.text(min_size=1),
    parameters=st.text(min_size=1),
    status=st.sampled_from(["done", "failed"]),
    time=st.text(min_size=1),
    attempts=st.integers(1, 9),
    outputs=st.tuples(st.builds(Output, st.text(), st.text(), st.integers(0))) | st.just(()),
    error=st.text(),
    message=st.text(),
)


def _done(key: str, *, output: str | None = None) -> LedgerLine:
    outputs = (Output(output or key, "e", 1),)
    return LedgerLine(key, "v", "p", "done", "2026-01-01T00:00:00Z", outputs=outputs)


def _failed(key: str, time: str) -> LedgerLine:
    return LedgerLine(key, "v", "p", "failed", time, 3, error="nan", message="NaN in it")


@given(st.lists(lines))
def test_lines_survive_the_way_through_bytes(ledger: list[LedgerLine]) -> None:
    assert list(decode_lines(encode_lines(ledger), source="x")) == ledger


def test_lines_are_plain_json_without_what_is_empty() -> None:
    data = encode_lines([_failed("a\nb.jpg", "t")])
    assert data.count(b"\n") == 1
    assert json.loads(data) == {
        "key": "a\nb.jpg",
        "etag": "v",
        "parameters": "p",
        "status": "failed",
        "time": "t",
        "attempts": 3,
        "error": "nan",
        "message": "NaN in it",
    }


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"key": "a"}', b'{"colour": 3}', b'"a"'])
def test_foreign_line_is_named(data: bytes) -> None:
    with pytest.raises(StorageError, match="part-7 line 2"):
        list(decode_lines(encode_lines([_done("a")]) + data, source="part-7"))


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
        index.bury(_failed("b", "t2"))
        index.bury(_failed("a", "t3"))
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
        index.bury(replace(_failed("a", "t2"), etag="v2"))
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
