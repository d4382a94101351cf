"""No ending is lost, counted twice, or wrong without being noticed."""

from __future__ import annotations

import pytest

from sdflow.driver.events import RecordDeadLetter
from sdflow.simulation.archive import Archive
from sdflow.simulation.record import Record
from sdflow.work.shard import WorkItem
from sdflow.worker.report import Ending


def _archive() -> Archive:
    return Archive(10, 8e6, 0.0, 0, num_poison=1)


def _record(done: range, error: str = "worker.crashed") -> Record:
    record = Record(10)
    record.add_done([Ending(1, str(number), None) for number in done])
    record.add_dead(RecordDeadLetter(WorkItem("9", "", 1), error, "", 2))
    return record


def test_one_ending_for_every_image_adds_up() -> None:
    assert _record(range(9)).adds_up(_archive())


@pytest.mark.parametrize(
    ("done", "error"),
    [
        (range(8), "worker.crashed"),
        (range(1, 10), "worker.crashed"),
        (range(9), "storage.transient"),
    ],
    ids=["lost", "twice", "wrong"],
)
def test_anything_else_does_not(done: range, error: str) -> None:
    assert not _record(done, error).adds_up(_archive())


def test_archive_depends_on_its_seed_alone() -> None:
    first, again, other = ([*Archive(20_000, 8e6, 0.01, seed).items()] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first[:17_000] == [*Archive(17_000, 8e6, 0.01, 1).items()]
