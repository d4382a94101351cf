from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdflow.errors import StorageError
from sdflow.work.ledger import (
    LedgerLine,
    Output,
    decode_lines,
    decode_part,
    encode_lines,
    encode_part,
)

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
    weights=st.text(),
    full_name=st.booleans(),
    size_bytes=st.integers(0),
    first_seen=st.text(),
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


@given(st.lists(lines))
def test_parts_are_gzip_of_the_lines(ledger: list[LedgerLine]) -> None:
    data = encode_part(encode_lines(ledger))
    assert gzip.decompress(data) == encode_lines(ledger)
    assert decode_part(data, source="a.jsonl.gz") == encode_lines(ledger)


def test_damaged_part_is_named() -> None:
    data = encode_part(encode_lines([_done("a")]))
    for damaged in (data[:-3], b"hello", data[:12] + b"x" + data[13:]):
        with pytest.raises(StorageError, match=r"a\.jsonl\.gz is damaged"):
            decode_part(damaged, source="a.jsonl.gz")


@pytest.mark.parametrize(
    ("line", "settled"),
    [
        (_done("a"), True),
        (_failed("a", "t"), True),
        (replace(_failed("a", "t"), error="storage.transient"), False),
        (replace(_done("a"), status="missing"), False),
        (replace(_done("a"), etag="older"), False),
        (replace(_done("a"), parameters="others"), False),
    ],
)
def test_what_a_later_run_has_nothing_to_do_for(line: LedgerLine, *, settled: bool) -> None:
    assert line.settles("v", "p") is settled
