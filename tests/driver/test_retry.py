from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sdflow.driver.retry import RetrySurvey, bury_all_dead, dead_sources
from sdflow.errors import AccessDeniedError, TransientStorageError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo
from sdflow.work.index import LedgerIndex
from sdflow.work.ledger import LedgerLine, Output, encode_lines
from sdflow.work.names import result_key
from tests.worker.bench import PARAMETERS

_PNG = replace(PARAMETERS, format="png")


def _failed(key: str, **more: object) -> LedgerLine:
    fields = {"time": "t1", "error": "nan", "size_bytes": 7, **more}
    return LedgerLine(key, "v1", _PNG.hash, "failed", **fields)  # type: ignore[arg-type]  # words


class _Refusing(MemoryStore):
    """Refuses to describe one of its objects."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def head(self, key: str) -> ObjectInfo:
        if key == "refused.jpg":
            raise self._error
        return super().head(key)


def test_sources_are_taken_as_they_are_now_in_order_and_lost_ones_as_they_were() -> None:
    source = _Refusing(AccessDeniedError("no"))
    names = [f"{number:03d}.jpg" for number in range(200)]
    for name in names:
        source.put(name, name.encode())
    letters = [_failed(name) for name in [*names, "gone.jpg", "refused.jpg"]]
    found = list(dead_sources(source, letters))
    assert found[:-2] == list(source.list())
    assert found[-2:] == [ObjectInfo("gone.jpg", 7, "v1"), ObjectInfo("refused.jpg", 7, "v1")]


def test_source_that_breaks_ends_it() -> None:
    source = _Refusing(TransientStorageError("503"))
    with pytest.raises(TransientStorageError):
        list(dead_sources(source, [_failed("refused.jpg")]))


def test_names_of_results_are_those_of_the_first_run_or_free(tmp_path: Path) -> None:
    taken = LedgerLine("b.tif", "v", _PNG.hash, "done", "t", outputs=(Output("b.png", "e", 1),))
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_failed("a.jpg", full_name=True), _failed("b.jpg"), _failed("c.jpg"), taken])
        letters = index.lines(failed_only=True)
        images = (ObjectInfo(line.key, line.size_bytes, "v2") for line in letters)
        survey = RetrySurvey(images, index, _PNG)
        items = list(survey.items())
    names = [result_key(item, wanted="png", sample=None) for item in items]
    assert names == ["a.jpg.png", "b.jpg.png", "c.png"]
    assert {(item.etag, item.size_bytes) for item in items} == {("v2", 7)}
    assert (survey.listed, survey.skipped, survey.failed, survey.elsewhere) == (3, 0, 0, 0)


def test_dead_letters_left_are_those_that_failed_again_and_those_not_come_to(
    tmp_path: Path,
) -> None:
    target = MemoryStore()
    again = replace(_failed("b.jpg"), time="t2", first_seen="t1", error="too_large")
    done = replace(_failed("a.jpg"), status="done", error="")
    target.put(keys.ledger_key("run1-000001"), b"not read again")
    target.put(f"{keys.LEDGER_PREFIX}run2-000001.jsonl", encode_lines([done, again]))
    with LedgerIndex(tmp_path / "index") as index:
        index.add([_failed("a.jpg"), _failed("b.jpg"), _failed("c.jpg")])
        bury_all_dead(target, index, "run2")
        letters = [json.loads(line) for line in index.dead_letters().splitlines()]
    assert [(letter["key"], letter["error"], letter["first_seen"]) for letter in letters] == [
        ("b.jpg", "too_large", "t1"),
        ("c.jpg", "nan", "t1"),
    ]
