from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sdflow.driver.history import read_ledger
from sdflow.driver.recorder import Recorder
from sdflow.driver.verification import Finding, Repair, verify_outputs
from sdflow.errors import SdflowError
from sdflow.storage import keys
from sdflow.storage.memory import MemoryStore
from sdflow.work.index import LedgerIndex
from sdflow.work.ledger import LedgerLine, Output


class _World:
    """A destination and what the ledger says of it."""

    def __init__(self, folder: Path) -> None:
        self.target = MemoryStore()
        self.index = LedgerIndex(folder / "index")
        self.problems: list[tuple[str, str]] = []
        self.repairs: list[LedgerLine] = []

    def done(self, key: str, *names: str) -> LedgerLine:
        outputs = tuple(
            Output(name, self.target.put(name, name.encode()), len(name.encode()))
            for name in names or (key,)
        )
        line = LedgerLine(key, "v", "p", "done", "t", outputs=outputs)
        self.index.add([line])
        return line

    def verify(self) -> Counter[str]:
        self.problems.clear()
        self.repairs.clear()
        return Counter(
            verify_outputs(self.target, self.index, report=self._report, repair=self.repairs.append)
        )

    def _report(self, finding: Finding) -> None:
        self.problems.append((finding.verdict, finding.output))


def test_whole_results_are_no_problem_whatever_else_is_in_the_jobs_folder(tmp_path: Path) -> None:
    world = _World(tmp_path)
    world.done("a.jpg")
    world.done("b/c.jpg", "b/c.s0.png", "b/c.s1.png")
    world.target.put(keys.SUMMARY_KEY, b"{}")
    world.target.put("b/_sdflow/job.json", b"{}")
    assert world.verify() == {"whole": 3}
    assert world.problems == []
    assert world.repairs == []


def test_missing_changed_and_unknown_objects_are_told_apart(tmp_path: Path) -> None:
    world = _World(tmp_path)
    for name in ("é.jpg", "a.jpg", "b.jpg", "c.jpg"):
        world.done(name)
    world.target.delete("é.jpg")
    world.target.put("b.jpg", b"B.jpg")
    world.target.put("stray.txt", b"?")
    assert world.verify() == {"whole": 2, "missing": 1, "changed": 1, "orphan": 1}
    assert world.problems == [("changed", "b.jpg"), ("orphan", "stray.txt"), ("missing", "é.jpg")]
    assert [(line.key, line.status) for line in world.repairs] == [
        ("b.jpg", "missing"),
        ("é.jpg", "missing"),
    ]


def test_image_with_several_lost_samples_is_repaired_once(tmp_path: Path) -> None:
    world = _World(tmp_path)
    line = world.done("a.jpg", *(f"a.s{sample}.png" for sample in range(12)))
    world.target.delete_many(f"a.s{sample}.png" for sample in (0, 1, 10))
    assert world.verify() == {"whole": 9, "missing": 3}
    (repair,) = world.repairs
    assert repair == replace(line, status="missing", time=repair.time)


def test_results_that_newer_ones_replaced_are_no_orphans(tmp_path: Path) -> None:
    world = _World(tmp_path)
    world.done("a.jpg", "a.png")
    world.done("a.jpg", "a.webp")
    world.done("b.jpg", "b.png")
    world.index.add([LedgerLine("b.jpg", "v2", "p", "failed", "t", error="nan")])
    assert world.verify() == {"whole": 1, "superseded": 2}
    world.target.delete("a.png")
    assert world.verify() == {"whole": 1, "superseded": 1}


def test_image_that_waits_for_its_repair_is_a_problem_but_no_new_one(tmp_path: Path) -> None:
    world = _World(tmp_path)
    world.done("a.jpg")
    world.target.delete("a.jpg")
    world.verify()
    world.index.add(world.repairs)
    assert world.verify() == {"missing": 1}
    assert world.repairs == []
    assert not world.index.claim("a.jpg", "another.jpg")  # its name stays its own
    world.done("a.jpg")
    assert world.verify() == {"whole": 1}


def test_repairs_are_durable_and_newer_than_what_they_repair(tmp_path: Path) -> None:
    world = _World(tmp_path)
    line = replace(world.done("a.jpg"), status="missing")
    with Recorder(world.target, run_id="2") as recorder:
        repair = Repair(recorder, lambda: None)
        for _ in range(10_001):
            repair(line)
        assert recorder.num_waiting == 1
        repair.finish()
    parts = read_ledger(world.target, world.index)
    assert (len(parts), repair.num_images) == (2, 10_001)
    found = world.index.find("a.jpg")
    assert found is not None
    assert not found.settles("v", "p")


def test_repair_writes_nothing_once_the_job_is_lost(tmp_path: Path) -> None:
    world = _World(tmp_path)

    def lost() -> None:
        raise SdflowError("lost")

    with Recorder(world.target, run_id="2") as recorder:
        repair = Repair(recorder, lost)
        repair(world.done("a.jpg"))
        with pytest.raises(SdflowError, match="lost"):
            repair.finish()
    assert list(world.target.list(keys.LEDGER_PREFIX)) == []
