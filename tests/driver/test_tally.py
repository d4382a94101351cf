"""Endings become counts, ledger lines and dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdflow.driver.intake import Intake
from sdflow.driver.recorder import Recorder
from sdflow.driver.survey import Survey
from sdflow.driver.tally import Pass, Tally
from sdflow.errors import AccessDeniedError
from sdflow.storage.memory import MemoryStore
from sdflow.storage.store import ObjectInfo
from sdflow.work.estimate import PixelEstimate
from sdflow.work.index import LedgerIndex
from sdflow.work.ledger import LedgerLine
from sdflow.worker.report import Ending, Totals
from tests.worker.bench import PARAMETERS


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LedgerIndex]:
    with LedgerIndex(tmp_path / "index") as found:
        yield found


@pytest.fixture
def tally(index: LedgerIndex) -> Iterator[Tally]:
    with Recorder(MemoryStore(), run_id="r") as recorder:
        yield Tally(recorder, index, PARAMETERS, PixelEstimate())


def _done(key: str) -> Ending:
    line = LedgerLine(key, "v", PARAMETERS.hash, "done", "t")
    return Ending(1, key, line, Totals(done=1, pixels_in=100, bytes_read=10))


def _failed(key: str, error: str) -> Ending:
    line = LedgerLine(key, "v", PARAMETERS.hash, "failed", "t", error=error, message="why")
    return Ending(1, key, line)


def _listed(index: LedgerIndex, count: int) -> Pass:
    """A listing that has been gone through, with nothing done before."""
    intake = Intake(ObjectInfo(f"{number:03d}.jpg", 10, "v") for number in range(count))
    survey = Survey(intake, None, index, PARAMETERS)
    for _ in survey.items():
        pass
    return Pass(intake, survey)


def test_counts_add_up_and_failures_are_dead_letters(tally: Tally, index: LedgerIndex) -> None:
    tally.begin_pass(_listed(index, 3))
    tally.add_endings([_done("000.jpg"), _failed("001.jpg", "decode.corrupt"), _done("002.jpg")])
    summary = tally.summary(seconds=1, stopped=False, max_failure_rate=0)
    assert (summary.listed, summary.done, summary.failed, summary.unfinished) == (3, 2, 1, 0)
    assert (summary.megapixels_in, summary.exit_status) == (0.0002, 3)
    assert json.loads(index.dead_letters())["error"] == "decode.corrupt"


@pytest.mark.parametrize("stopped", [False, True])
def test_images_without_an_ending_are_never_status_0(
    tally: Tally, index: LedgerIndex, *, stopped: bool
) -> None:
    tally.begin_pass(_listed(index, 2))
    tally.add_endings([_done("000.jpg")])
    summary = tally.summary(seconds=1, stopped=stopped, max_failure_rate=1)
    assert (summary.unfinished, summary.exit_status) == (1, 4)


def test_run_that_could_not_go_on_says_so_whatever_it_has_done(
    tally: Tally, index: LedgerIndex
) -> None:
    tally.begin_pass(_listed(index, 2))
    tally.add_endings([_done("000.jpg")])
    summary = tally.summary(seconds=1, stopped=False, max_failure_rate=1, broken=True)
    assert (summary.done, summary.unfinished, summary.exit_status) == (1, 1, 1)


def test_credentials_that_ran_out_end_the_job_before_all_images_are_dead_letters(
    tally: Tally,
) -> None:
    denied = [_failed(f"{number}.jpg", "storage.denied") for number in range(1000)]
    tally.add_endings(denied[:999])
    tally.add_endings([_done("between.jpg")])
    tally.add_endings(denied[:999])
    with pytest.raises(AccessDeniedError, match="1000 images in a row"):
        tally.add_endings(denied[999:])
