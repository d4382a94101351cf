from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sdflow.driver.intake import Intake
from sdflow.driver.manifest import Manifest
from sdflow.driver.survey import Survey
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo
from sdflow.work.index import LedgerIndex
from sdflow.work.ledger import LedgerLine, Output
from sdflow.work.names import result_key
from tests.worker.bench import PARAMETERS


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
    return Survey(source.list(), Manifest(target), index, PARAMETERS)


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


def test_names_of_samples_that_were_made_before_are_not_given_again(tmp_path: Path) -> None:
    parameters = replace(PARAMETERS, format="png", samples=2)
    source = MemoryStore()
    source.put("a.jpg", b"x")
    etag = source.put("a.png", b"x")
    outputs = (Output("a.s0.png", "e", 1), Output("a.s1.png", "e", 1))
    gone = LedgerLine("a.tif", etag, parameters.hash, "done", "t", outputs=outputs)
    with LedgerIndex(tmp_path / "index") as index:
        index.add([gone])
        survey = Survey(source.list(), None, index, parameters)
        items = list(survey.items())
    names = [result_key(item, wanted="png", sample=0) for item in items]
    assert names == ["a.jpg.s0.png", "a.png.s0.png"]


def test_image_without_a_free_name_is_a_dead_letter(tmp_path: Path) -> None:
    parameters = replace(PARAMETERS, format="png")
    source = MemoryStore()
    for key in ("a.jpg", "a.jpg.png", "a.png"):
        source.put(key, b"x")
    with LedgerIndex(tmp_path / "index") as index:
        survey = Survey(source.list(), None, index, parameters)
        names = [result_key(item, wanted="png", sample=None) for item in survey.items()]
        letters = [json.loads(line) for line in index.dead_letters().splitlines()]
    assert len(names) == len(set(names)) == 2
    assert survey.failed == 1
    assert [(letter["key"], letter["error"]) for letter in letters] == [("a.jpg", "name.taken")]


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


def test_what_is_no_image_of_the_job_is_counted_by_reason() -> None:
    listing = [
        ObjectInfo("a/", 0, "v"),
        ObjectInfo("a/_sdflow/job.json", 9, "v"),
        ObjectInfo("a/empty.jpg", 0, "v"),
        ObjectInfo("a/frozen.jpg", 9, "v", archived=True),
        ObjectInfo("a/good.jpg", 9, "v"),
        ObjectInfo("a/note.txt", 9, "v"),
    ]
    intake = Intake(listing)
    assert [info.key for info in intake] == ["a/good.jpg"]
    assert intake.ignored == {"placeholder": 1, "own": 1, "empty": 1, "archived": 1}
    assert intake.is_whole


def test_request_to_stop_ends_the_listing_and_says_so() -> None:
    answers = iter([False, False, True])
    intake = Intake(_Archive(100).list(), is_stopping=lambda: next(answers))
    assert len(list(intake)) == 2
    assert not intake.is_whole


def test_blocks_of_others_are_counted_and_left_alone(tmp_path: Path) -> None:
    asked: list[str] = []

    def claim(block: str) -> bool:
        asked.append(block)
        return len(asked) % 2 == 0

    with LedgerIndex(tmp_path / "index") as index:
        survey = Survey(_Archive(2000).list(), None, index, PARAMETERS, claim=claim)
        mine = sum(1 for _ in survey.items())
    assert len(asked) == len(set(asked)) > 4  # each block is claimed once
    assert mine + survey.elsewhere == survey.listed == 2000
    assert mine > 0
    assert survey.elsewhere > 0


def test_blocks_without_work_are_not_claimed(tmp_path: Path) -> None:
    with LedgerIndex(tmp_path / "index") as index:
        index.add(_line(number) for number in range(500))
        survey = Survey(_Archive(500).list(), None, index, PARAMETERS, claim=_never)
        assert list(survey.items()) == []


def _never(block: str) -> bool:
    raise AssertionError(block)
