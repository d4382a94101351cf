"""The ladder of memory: what is given up, in which order, and that it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sdflow import TiledEngine
from sdflow.geometry import Region
from sdflow.model.config import SMALL
from sdflow.worker.limits import Limits, step_back
from sdflow.worker.network import TileResult, TileWork
from sdflow.worker.photo import Drawing
from sdflow.worker.runner import TileRunner
from tests.model.seeded import photo, seeded_model


def _ladder(limits: Limits, *, tiles: int, core: int, gpu: bool) -> list[Limits]:
    steps = [limits]
    while True:
        lower = step_back(
            steps[-1],
            tiles=tiles,
            tile_px=100,
            core=min(core, steps[-1].tile or core),
            can_reduce=not steps[-1].reduced,
            can_leave=gpu and not steps[-1].on_cpu,
        )
        if lower is None:
            return steps
        steps.append(lower)
        tiles = min(tiles, max(1, lower.batch_px // 100))


def test_batch_then_tile_then_precision_then_processor() -> None:
    steps = _ladder(Limits(800), tiles=8, core=64, gpu=True)
    assert [step.batch_px for step in steps[:4]] == [800, 400, 200, 100]
    assert [step.tile for step in steps[4:6]] == [32, 16]
    assert steps[6].reduced
    assert steps[7].on_cpu
    assert steps[-1].note == "memory ran out: tile 16, bf16, cpu"
    assert Limits(100).note == ""  # a smaller batch changes no bit: nothing to tell


@pytest.mark.parametrize("gpu", [False, True])
def test_ladder_ends(gpu: bool) -> None:
    assert len(_ladder(Limits(1 << 20), tiles=1000, core=4096, gpu=gpu)) < 40


def test_limits_of_two_workers_add_up() -> None:
    narrow, plain = Limits(400, tile=32), Limits(200, reduced=True)
    assert narrow.stricter(plain) == plain.stricter(narrow) == Limits(200, tile=32, reduced=True)
    assert narrow.stricter(None) == narrow


class _SmallDevice:
    """Stands for a network on a device that holds so many tiles and no more."""

    device = torch.device("cpu")

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.done: list[str] = []

    def run(self, works: list[TileWork], drawing: Drawing, **_: object) -> list[TileResult]:
        if len(works) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.done += [work.key for work in works]
        return [
            TileResult((np.full((8, 8, 3), int(work.key), np.uint8),), (True,)) for work in works
        ]


@pytest.mark.parametrize("holds", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_no_result_is_left_out_or_given_twice_where_batches_do_not_fit(
    holds: int, count: int
) -> None:
    device, region = _SmallDevice(holds), Region(0, 0, 8, 8)
    runner = TileRunner(device, "fp32", Limits(1 << 20), lambda *_: None)  # type: ignore[arg-type]  # no pieces here
    works = [TileWork(np.zeros((8, 8, 3), np.uint8), str(n), region, region) for n in range(count)]
    results = runner.run(works, Drawing("upscale", 0, 0.8, (0,)), as_pixels=True)
    assert [int(r.cores[0][0, 0, 0]) for r in results if isinstance(r, TileResult)] == [
        *range(count)
    ]
    assert device.done == [str(n) for n in range(count)]
    assert runner.limits.batch_px <= max(holds, 1) * 64 or count <= holds
    assert runner.limits.note == ""


_UNDER_A_LIMIT = """
import json, resource, sys
import numpy as np
from sdflow import TiledEngine
from sdflow.model.config import SMALL
from sdflow.worker.limits import Limits
from tests.model.seeded import photo, seeded_model

model = seeded_model(SMALL)
# Kernels of all sizes are made beforehand: only the network's tensors shall meet the limit.
for tile in (None, 64, 32):
    before = Limits(1, tile=tile)
    TiledEngine(model, tile=128, halo=8, limits=before).upscale(photo(128, 128), key="warm")
engine = TiledEngine(model, tile=128, halo=8)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 35_000_000, resource.RLIM_INFINITY))
np.save(sys.argv[1], engine.upscale(photo(128, 128), key="k"))
print(json.dumps(engine.limits.tile))
"""

# Large tensors come from the system and go back to it, so that the limit counts what is in use.
_PLAIN_ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "250000"}


def test_tile_that_does_not_fit_is_done_in_smaller_ones(tmp_path: Path) -> None:
    result = tmp_path / "result.npy"
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", _UNDER_A_LIMIT, str(result)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **_PLAIN_ALLOCATOR},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) in (32, 64)
    expected = TiledEngine(seeded_model(SMALL), tile=128, halo=8).upscale(photo(128, 128), key="k")
    difference = np.abs(np.load(result).astype(int) - expected.astype(int))
    assert difference.max() <= 3  # a halo of 8 is less than these weights' reach
    assert difference.mean() < 0.01
