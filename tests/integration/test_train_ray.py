"""Training on real Ray workers."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sdflow.errors import TrainingError
from sdflow.storage.local import LocalStore
from sdflow.storage.location import StoreLocation
from sdflow.telemetry import configure_logs
from sdflow.training.checkpoints import list_checkpoints, load_checkpoint
from sdflow.training.cluster import train_on_ray
from sdflow.training.loop import Cadence
from sdflow.training.recipe import RECIPES
from sdflow.training.worker import PhotoPlace, Run, work
from tests.training.pictures import save_photos

_STEPS = 6
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray warns of its own defaults
]


def _run(folder: Path, target: str, **changes: Any) -> Run:  # noqa: ANN401  # fields of a recipe
    """All phases of the loss within a few steps, in double precision."""
    recipe = dataclasses.replace(
        RECIPES["tiny-test"],
        steps=_STEPS,
        batch=4,
        patch=32,
        warmup=2,
        degradation_from=1,
        backward_from=2,
        gan_from=3,
        precision="fp64",
    )
    recipe = dataclasses.replace(recipe, **changes)
    photos = {}
    for name, side in (("hr", 64), ("lr", 24)):
        keys = save_photos(folder / name, count=5, side=side)
        photos[name] = PhotoPlace(StoreLocation(str(folder / name)), tuple(keys))
    return Run(
        recipe=recipe,
        target=StoreLocation(str(folder / target)),
        photos=photos,
        cadence=Cadence(checkpoint=_STEPS, keep=1, sample=_STEPS),
        threads=1,
        hold_bytes=2**24,
        max_pixels=10**6,
    )


def test_two_workers_reach_the_parameters_of_one(tmp_path: Path, ray_session: str) -> None:
    del ray_session
    configure_logs("json")  # to this test's own stderr
    one, two = _run(tmp_path, "one"), _run(tmp_path, "two")
    assert work(one, device="cpu")
    assert train_on_ray(two, workers=2, gpus_per_worker=0)
    states = []
    for run in (one, two):
        store = LocalStore(Path(run.target.url))
        (key,) = list_checkpoints(store)
        states.append(load_checkpoint(store, key))
    assert states[0]["step"] == states[1]["step"] == _STEPS
    for name in ("model", "ema", "discriminators"):
        for key, tensor in states[0][name].items():
            torch.testing.assert_close(states[1][name][key], tensor, rtol=1e-6, atol=1e-6)
    moved = max(
        float((tensor - states[0]["ema"][key]).abs().max())
        for key, tensor in states[0]["model"].items()
    )
    assert moved > 1e-4  # there was something to agree on


def test_sigterm_ends_all_workers_after_the_same_step(tmp_path: Path) -> None:
    run = _run(tmp_path, "run")
    command = [sys.executable, "-m", "jobs.cli", "train", run.target.url, "--workers", "2"]
    for name, place in run.photos.items():
        command += [f"--{name}", place.location.url]
    command += ["--preset", "tiny-test", "--patch", "32", "--batch", "2", "--steps", "1000000"]
    command += ["--checkpoint-every", "5", "--log-format", "json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stderr is not None
        for line in process.stderr:
            if '"event": "checkpoint"' in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
        assert process.wait() == 4, rest
    assert "the same command resumes" in rest
    store = LocalStore(Path(run.target.url))
    state = load_checkpoint(store, list_checkpoints(store)[-1])
    assert 5 < state["step"] < 10**6


def test_an_error_that_would_come_again_ends_the_run(tmp_path: Path, ray_session: str) -> None:
    del ray_session
    run = _run(tmp_path, "run", steps=50, learning_rate=1e9, max_skipped=2)
    with pytest.raises(TrainingError, match="lower --learning-rate"):
        train_on_ray(run, workers=2, gpus_per_worker=0)
