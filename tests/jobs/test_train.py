"""``sdflow train`` as a person runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from jobs.cli import main, parse
from jobs.flags import given_flags
from sdflow.driver.tenure import hold_job
from sdflow.model.sdflow import SDFlow
from sdflow.storage.local import LocalStore
from sdflow.training.checkpoints import list_checkpoints, load_checkpoint
from tests.training.pictures import save_photos

if TYPE_CHECKING:
    from pathlib import Path

_TINY = (
    *("--preset", "tiny-test", "--patch", "32", "--batch", "2", "--degradation-from", "1"),
    *("--backward-from", "2", "--gan-from", "3", "--threads", "1", "--log-format", "json"),
)


@pytest.fixture
def sets(tmp_path: Path) -> tuple[str, ...]:
    save_photos(tmp_path / "hr", count=4, side=64)
    save_photos(tmp_path / "lr", count=4, side=24, first=50)
    return ("--hr", str(tmp_path / "hr"), "--lr", str(tmp_path / "lr"))


def _train(*arguments: str) -> int:
    return main(["train", *arguments])


def test_a_run_leaves_checkpoints_weights_and_a_board(
    tmp_path: Path, sets: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    command = (str(run), *sets, *_TINY, "--steps", "5", "--checkpoint-every", "2", "--keep", "2")
    assert _train(*command) == 0
    store = LocalStore(run)
    assert [key[-6:-3] for key in list_checkpoints(store)] == ["004", "005"]
    model = SDFlow.load(run / "weights.safetensors")
    assert model.has_degradation
    board = b"".join(path.read_bytes() for path in (run / "tensorboard").iterdir())
    for tag in (b"loss/bits_hr", b"loss/gan_hr", b"train/grad_norm", b"train/skipped", b"samples"):
        assert tag in board
    facts = json.loads((run / "run.json").read_text())
    assert (facts["photos"], facts["recipe"]["steps"]) == ({"hr": 4, "lr": 4}, 5)

    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir()}
    assert _train(*command) == 0  # all is done: nothing is written again
    assert before == {path: path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir()}


def test_sigterm_leaves_a_checkpoint_and_the_same_command_goes_on(
    tmp_path: Path, sets: tuple[str, ...]
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    more = (*sets, *_TINY, "--steps", "40", "--checkpoint-every", "3")
    assert _train(str(whole), *more) == 0
    command = [sys.executable, "-m", "jobs.cli", "train", str(run), *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stderr is not None
        for line in process.stderr:
            if '"event": "checkpoint"' in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
        assert process.wait() == 4, rest
    assert "the same command resumes" in rest
    stopped = list_checkpoints(LocalStore(run))
    assert stopped[-1] < list_checkpoints(LocalStore(whole))[-1]
    assert _train(str(run), *more) == 0
    states = [
        load_checkpoint(LocalStore(place), list_checkpoints(LocalStore(place))[-1])
        for place in (run, whole)
    ]
    for name in ("model", "ema", "discriminators"):
        one, other = (state[name] for state in states)
        assert all(torch.equal(one[key], other[key]) for key in other)


def test_weights_can_be_what_another_run_begins_with(tmp_path: Path, sets: tuple[str, ...]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert _train(str(first), *sets, *_TINY, "--steps", "3") == 0
    weights = str(first / "weights.safetensors")
    assert _train(str(second), *sets, *_TINY, "--steps", "1", "--init", weights) == 0
    one, other = (SDFlow.load(run / "weights.safetensors") for run in (first, second))
    gaps = [
        float((a - b).abs().max())
        for a, b in zip(one.parameters(), other.parameters(), strict=True)
    ]
    assert 0 < max(gaps) < 0.01


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--hr", "{tmp}"), "--hr .* overlap"),
        (("--lr", "{tmp}/empty"), "--lr: there is no photo in"),
        (("--batch", "3", "--workers", "2"), "--batch 3 cannot be shared by 2 workers"),
        (("--gpus-per-worker", "99"), "--gpus-per-worker 99"),
        (("--loss", "pixel"), "expected NAME=FACTOR"),
        (("--vgg19", "vgg19.pth"), "--patch 32: VGG-19 sees LR patches"),
        (("--learning-rat", "1"), "did you mean --learning-rate"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_begins(
    change: tuple[str, ...],
    named: str,
    tmp_path: Path,
    sets: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    import re

    (tmp_path / "empty").mkdir()
    flags = [flag.format(tmp=tmp_path) for flag in change]
    assert _train(str(tmp_path / "run"), *sets, *_TINY, *flags) == 2
    message = capsys.readouterr().err
    assert re.search(named, message)
    assert "Traceback" not in message


def test_a_run_begun_otherwise_is_not_gone_on_with(
    tmp_path: Path, sets: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert _train(run, *sets, *_TINY, "--steps", "2") == 0
    other = (*sets, *_TINY, "--steps", "3", "--loss", "nll=1")
    assert _train(run, *other) == 2
    assert "nll was 0.02, steps was 2" in capsys.readouterr().err
    assert _train(run, *other, "--change") == 0


def test_other_photos_are_not_gone_on_with(
    tmp_path: Path, sets: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert _train(run, *sets, *_TINY, "--steps", "2") == 0
    save_photos(tmp_path / "hr", count=1, side=64, first=90)
    assert _train(run, *sets, *_TINY, "--steps", "2") == 2
    assert "begun with others: the photos there" in capsys.readouterr().err
    assert _train(run, *sets, *_TINY, "--steps", "3", "--change") == 0


def test_a_run_that_another_process_trains_is_left_alone(
    tmp_path: Path, sets: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with hold_job(LocalStore(run), join=False):
        assert _train(str(run), *sets, *_TINY, "--steps", "2") == 1
    assert str(run) in capsys.readouterr().err
    assert _train(str(run), *sets, *_TINY, "--steps", "2") == 0


def test_events_of_every_checkpoint_are_written_once(tmp_path: Path, sets: tuple[str, ...]) -> None:
    run = tmp_path / "run"
    command = (str(run), *sets, *_TINY, "--steps", "6", "--checkpoint-every", "2")
    assert _train(*command) == 0
    files = list((run / "tensorboard").iterdir())
    assert sum(path.read_bytes().count(b"train/skipped") for path in files) == 6
    assert len(files) >= 3


def test_what_is_repeatable_may_be_repeated() -> None:
    words = ["train", "run", "--frozen", "hr_flow", "--frozen", "encoder", "--loss", "nll=1"]
    given = given_flags(parse(words))
    assert (given["frozen"], given["loss"]) == (["hr_flow", "encoder"], ["nll=1"])
