"""Images that are done in parts have the pixels of those that are done whole."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from sdflow.storage import keys
from sdflow.storage.local import LocalStore
from sdflow.storage.store import ObjectInfo
from sdflow.worker.bicubic import BicubicEngine
from tests.integration.clusters import started, upscale_command
from tests.integration.photos import results, run
from tests.measure.scenes import scene_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.ray

_HEIGHT, _WIDTH = 1100, 1300  # two parts
_LOW = 1_000_000
_JOB = {"weights": "bicubic", "workers": 2}


def _scene() -> NDArray[np.uint8]:
    rows = [np.concatenate([scene_cell(row, column) for column in range(3)], 1) for row in range(3)]
    return np.concatenate(rows)[:_HEIGHT, :_WIDTH]


def _write_png(path: Path) -> None:
    """16 bits, with alpha that is a ramp."""
    deep = _scene().astype(np.uint16) * 257
    alpha = np.broadcast_to(np.linspace(0, 65535, _WIDTH).astype(np.uint16), (_HEIGHT, _WIDTH))
    pixels = np.ascontiguousarray(np.dstack([deep, alpha]))
    pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16").pngsave(str(path))


def _write_sources(folder: Path) -> dict[str, tuple[int, int]]:
    """One image of each kind; the sizes of their results, upright."""
    folder.mkdir()
    scene = _scene()
    image = Image.fromarray(scene)
    image.save(folder / "plain.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it to the right
    image.save(folder / "rotated.jpg", quality=90, exif=exif)
    _write_png(folder / "deep.png")
    tifffile.imwrite(
        folder / "tiled.tif", scene, tile=(256, 256), photometric="rgb", compression="adobe_deflate"
    )
    tifffile.imwrite(
        folder / "striped.tif", scene, rowsperstrip=17, photometric="rgb", compression="lzw"
    )
    upright = (4 * _HEIGHT, 4 * _WIDTH)
    sizes = dict.fromkeys(("plain.jpg", "deep.png", "tiled.tif", "striped.tif"), upright)
    return {**sizes, "rotated.jpg": (4 * _WIDTH, 4 * _HEIGHT)}


def _pixels(path: Path) -> NDArray[np.uint8 | np.uint16]:
    return np.asarray(pyvips.Image.new_from_file(str(path)).numpy())


def test_images_done_in_parts_have_the_pixels_of_those_done_whole(
    ray_session: str, tmp_path: Path
) -> None:
    del ray_session
    sizes = _write_sources(tmp_path / "in")
    run("upscale", tmp_path / "in", tmp_path / "whole", **_JOB)
    summary = run("upscale", tmp_path / "in", tmp_path / "parts", giant_pixels=_LOW, **_JOB)
    assert (summary.listed, summary.done, summary.failed) == (5, 5, 0)
    for name, size in sizes.items():
        whole, parts = (_pixels(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert parts.shape[:2] == size, name
        assert (parts.dtype, parts.shape) == (whole.dtype, whole.shape), name
        assert np.array_equal(parts, whole), name


def test_killed_job_goes_on_inside_the_image(tmp_path: Path) -> None:
    source, target = tmp_path / "in", LocalStore(tmp_path / "out")
    source.mkdir()
    scene = np.tile(_scene(), (2, 2, 1))
    Image.fromarray(scene).save(source / "large.png")
    command = upscale_command(
        *(str(source), target.url, "--weights", "bicubic", "--giant-pixels", str(_LOW))
    )
    with started(command, tmp_path / "log") as driver:
        while len(_parts(target)) < 2:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        driver.kill()
    kept = _parts(target)
    again = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    summary = json.loads(again.stdout)
    assert (summary["done"], summary["failed"]) == (1, 0)
    made_before_px = sum(info.size_bytes for info in kept) / 3 / 16
    assert summary["megapixels_in"] <= (scene.shape[0] * scene.shape[1] - made_before_px) / 1e6
    whole = BicubicEngine().upscale(scene, key="large.png")
    assert np.array_equal(_pixels(tmp_path / "out" / "large.png"), whole)
    assert _parts(target) == []


def _parts(target: LocalStore) -> list[ObjectInfo]:
    return [info for info in target.list(keys.SCRATCH_PREFIX) if "/part-" in info.key]


def test_nothing_but_results_is_left_of_parts(ray_session: str, tmp_path: Path) -> None:
    del ray_session
    sizes = _write_sources(tmp_path / "in")
    run("upscale", tmp_path / "in", tmp_path / "out", giant_pixels=_LOW, **_JOB)
    left = results(LocalStore(tmp_path / "out"))
    assert left.outputs.keys() == sizes.keys()
    assert sorted(left.ledger_keys) == sorted(sizes)
    scratch = (tmp_path / "out" / keys.SCRATCH_PREFIX).rglob("*")
    assert [path for path in scratch if path.is_file()] == []
