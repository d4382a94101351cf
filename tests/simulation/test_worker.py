"""A simulated worker keeps what the real one promises."""

from __future__ import annotations

import pytest

from sdflow.simulation.archive import HEALTHY, POISON
from sdflow.simulation.worker import SimulatedWorker
from sdflow.work.shard import Shard, WorkItem

_BEGINS = 0.2  # an idle worker fetches first


def _shard(*sizes: int, deadly: int | None = None) -> Shard:
    return Shard(
        tuple(
            WorkItem(str(number), POISON if number == deadly else HEALTHY, size)
            for number, size in enumerate(sizes)
        )
    )


def _worker(shard: Shard) -> SimulatedWorker:
    worker = SimulatedWorker("w", 1.0, 0.0)
    assert worker.take(1, shard, 0.0)
    return worker


def test_reports_what_has_ended_at_heartbeats_and_when_a_lease_is_over() -> None:
    worker = _worker(_shard(4, 4, 4))
    assert worker.due == 10.0
    endings, num_computed, busy_s = worker.report(10.0)
    assert [ending.name for ending in endings] == ["0", "1"]
    assert num_computed == 2
    assert busy_s == pytest.approx(8.0)
    assert worker.due == pytest.approx(12 + _BEGINS)
    endings, _, _ = worker.report(worker.due)
    assert [ending.name for ending in endings] == ["2"]


def test_second_lease_begins_when_the_first_is_over() -> None:
    worker = _worker(_shard(2))
    assert not worker.take(2, _shard(3), 1.0)
    worker.report(worker.due)
    assert worker.due == pytest.approx(5 + _BEGINS)


def test_hands_back_the_last_images_but_none_that_has_begun() -> None:
    worker = _worker(_shard(4, 4, 4, 4))
    worker.give_back(1, 2, 1.0)
    endings, num_computed, _ = worker.report(1.0)
    assert [(ending.name, ending.outcome) for ending in endings] == [("2", None), ("3", None)]
    assert num_computed == 0
    worker.give_back(1, 9, 5.0)
    endings, num_computed, _ = worker.report(5.0)
    assert [ending.name for ending in endings] == ["0"]
    assert num_computed == 1


def test_deadly_image_kills_when_its_computation_begins() -> None:
    worker = _worker(_shard(4, 4, deadly=1))
    assert worker.due == pytest.approx(4 + _BEGINS)
    assert not worker.is_killed(4.0)
    assert worker.is_killed(worker.due)
    assert worker.unreported_s(worker.due) == pytest.approx(4.0)


def test_deadly_image_that_was_handed_back_does_no_harm() -> None:
    worker = _worker(_shard(4, 4, deadly=1))
    worker.give_back(1, 1, 1.0)
    worker.report(1.0)
    assert not worker.is_killed(100.0)
