"""Nights of a dataset with real Ray and real S3, and real consumers of what they leave."""

from __future__ import annotations

import io
import json
import pickle
import re
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sdflow.config import load_target_settings
from sdflow.driver.degrade_settings import DegradeSettings
from sdflow.driver.run import run_job
from sdflow.model.checkpoint import encode_safetensors
from sdflow.storage import keys
from sdflow.storage.s3 import S3Store
from tests.integration.photos import photo_bytes, write_folder
from tests.model.seeded import TINY, seeded_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sdflow.driver.summary import Summary
    from tests.servers.faultproxy import FaultProxy
    from tests.servers.fixtures import Bucket

pytestmark = [pytest.mark.ray, pytest.mark.slow]

_README = Path(__file__).parents[2] / "README.md"
_ALIKE = 0.9  # correlation of an LR image with the bicubic one


def _run(src: object, dst: object, **settings: object) -> Summary:
    given = {"src": str(src), "dst": str(dst), **settings}
    return run_job("degrade", load_target_settings(DegradeSettings, given))


def _photo(seed: int) -> bytes:
    return photo_bytes(seed, kind="JPEG", side=48)


@dataclass(frozen=True)
class _Place:
    """A prefix of sources and one of a dataset in a bucket."""

    bucket: Bucket
    weights: str
    endpoint: str
    target: str = "out"

    @property
    def store(self) -> S3Store:
        return S3Store(self.bucket.name, f"{self.target}/", self.bucket.options)

    def put(self, number: int, *, seed: int | None = None) -> None:
        data = _photo(number if seed is None else seed)
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=self._key(number), Body=data)

    def delete(self, number: int) -> None:
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=self._key(number))

    def _key(self, number: int) -> str:
        return f"src/{number % 7}/photo {number:03d}.jpg"

    def night(self) -> Summary:
        return _run(*self.addresses, endpoint_url=self.endpoint, **self._settings())

    @property
    def addresses(self) -> tuple[str, str]:
        return f"s3://{self.bucket.name}/src/", f"s3://{self.bucket.name}/{self.target}/"

    def _settings(self) -> dict[str, object]:
        return {"weights": self.weights, "samples": 2, "shard_mb": 1, "tile": 64, "halo": 16}

    def command(self, address: str) -> list[str]:
        flags = [
            part
            for name, value in self._settings().items()
            for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        flags += ["--endpoint-url", self.endpoint, "--address", address, "--log-format", "json"]
        return [sys.executable, "-m", "jobs.cli", "degrade", *self.addresses, *flags]

    def objects(self) -> dict[str, str]:
        """ETags of the dataset's objects."""
        return {info.key: info.etag for info in self.store.list() if not keys.is_job_key(info.key)}

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store.get(keys.DATASET_KEY))
        return found

    def pairs(self) -> list[str]:
        """Source of every pair in every shard."""
        found = []
        for info in self.store.list(keys.SHARDS_PREFIX):
            with tarfile.open(fileobj=io.BytesIO(self.store.get(info.key))) as tar:
                names = [member.name for member in tar if member.name.endswith(".json")]
                found += [json.load(file)["key"] for file in map(tar.extractfile, names) if file]
        return found


@pytest.fixture
def place(tmp_path: Path, s3_bucket: Bucket, ray_session: str) -> _Place:
    del ray_session
    weights = tmp_path / "tiny.safetensors"
    weights.write_bytes(encode_safetensors(seeded_model(TINY)))
    return _Place(s3_bucket, str(weights), str(s3_bucket.options.endpoint_url))


def _wait(condition: Callable[[], bool], *, process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.2)


@pytest.mark.s3
@pytest.mark.timeout(900)
def test_three_nights_the_second_killed(
    place: _Place, ray_session: str, fault_proxy: FaultProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    from jobs.cli import main

    calm = _Place(place.bucket, place.weights, place.endpoint, target="calm")
    for number in range(300):
        place.put(number)
    first = place.night()
    assert (first.done, first.failed, first.exit_status) == (300, 0, 0)
    assert first.night is not None
    assert (first.night["new"], first.night["pairs"], first.night["samples"]) == (300, 300, 600)
    after_first = place.objects()
    calm.night()

    for number in range(300, 400):
        place.put(number)
    for number in range(20):
        place.put(5 * number, seed=1000 + number)
    for number in range(200, 210):
        place.delete(number)
    with subprocess.Popen(place.command(ray_session), stderr=subprocess.DEVNULL) as process:  # noqa: S603
        drawn = partial(_num, place.store, keys.PIECES_PREFIX)
        _wait(lambda: drawn() >= 30, process=process)
        process.kill()
    assert drawn() < 120
    assert place.objects() == after_first  # nothing of a night that did not end is in the dataset
    second = place.night()
    assert second.night is not None
    assert second.exit_status == 0
    counts = [second.night[name] for name in ("new", "changed", "vanished", "returned", "pairs")]
    assert counts == [100, 20, 10, 0, 120]
    assert drawn() == 0

    whole = calm.night()
    assert whole.night is not None
    assert second.night["shards"] == whole.night["shards"]
    record, objects = place.record(), place.objects()
    shards = {key for key in objects if key.startswith(keys.SHARDS_PREFIX)}
    nights = (first.night, second.night)
    before, added = ([one["key"] for one in night["shards"]] for night in nights)
    assert shards == {*before, *added}
    assert {key: objects[key] for key in before} == {key: after_first[key] for key in before}
    for key in added:
        assert place.store.get(key) == calm.store.get(key)
    assert len(place.pairs()) == 420
    assert (record["counts"]["sources"], record["counts"]["pairs"]) == (390, 390)
    assert record["counts"]["vanished"] == 10
    assert sum(one["pairs"] - one["stale"] for one in record["shards"]) == 390

    num_requests = len(fault_proxy.requests)
    third = _Place(place.bucket, place.weights, fault_proxy.url).night()
    assert (third.listed, third.done, third.skipped, third.night) == (390, 0, 390, None)
    assert place.objects() == objects
    assert (third.bytes_read, third.bytes_written) == (0, 0)
    spent = [sum(one.worker_seconds.values()) for one in (first, third)]
    assert spent[1] < 0.02 * spent[0]
    asked = len(fault_proxy.requests) - num_requests
    assert asked < 50  # whatever the number of photos; the first night asked for each of them

    assert main(["verify", place.addresses[1], "--endpoint-url", place.endpoint]) == 0
    counted = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert counted["exit_status"] == 0


@pytest.mark.s3
def test_two_nights_started_at_once_do_no_work_twice(place: _Place, ray_session: str) -> None:
    for number in range(60):
        place.put(number)
    command = place.command(ray_session)
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(2)
    ]
    ended = [(process.communicate(), process.returncode) for process in both]
    assert sorted(status for _, status in ended) == [0, 1], ended
    for (output, errors), status in ended:
        if status:
            assert "is alive" in errors or "already" in errors
        else:
            summary = json.loads(output)
            assert (summary["done"], summary["night"]["pairs"]) == (60, 60)
    assert len(place.pairs()) == 60


def test_a_short_night_leaves_the_rest_to_the_next(tmp_path: Path, ray_session: str) -> None:
    del ray_session
    files = {f"{number}.jpg": _photo(number) for number in range(8)}
    source, target = write_folder(tmp_path / "in", files), tmp_path / "out"
    first = _run(source, target, weights="bicubic", limit=5)
    assert (first.done, first.deferred, first.unfinished, first.exit_status) == (5, 3, 3, 0)
    late = _run(source, target, weights="bicubic", budget_gpu_hours=1e-9, since="2200-01-01")
    assert (late.listed, late.done, late.ignored, late.night) == (0, 0, {"older": 8}, None)
    second = _run(source, target, weights="bicubic", limit=5)
    assert (second.done, second.skipped, second.deferred) == (3, 5, 0)
    record = json.loads((target / keys.DATASET_KEY).read_bytes())
    assert (record["counts"]["pairs"], len(record["nights"])) == (8, 2)


def _num(store: S3Store, prefix: str) -> int:
    return sum(1 for _ in store.list(prefix))


def _block(name: str) -> str:
    match = re.search(rf"<!-- consumer: {name} -->\n```python\n(.*?)```", _README.read_text(), re.S)
    assert match
    return match[1]


_SAVE = """
import pickle
Path("found").write_bytes(pickle.dumps([{items} for {names} in loader]))
"""


def _consumed(folder: Path, name: str, names: str, items: str) -> list[Any]:
    """What the README's own code reads of ``pairs`` in a folder, in a process of its own."""
    code = _block(name) + _SAVE.format(names=names, items=items)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=240)  # noqa: S603
    found: list[Any] = pickle.loads((folder / "found").read_bytes())  # noqa: S301  # our own
    return found


def _bicubic(hr: NDArray[np.float32]) -> NDArray[np.float32]:
    """The LR image (3, h, w) of plain interpolation."""
    planes = [Image.fromarray(plane) for plane in hr]
    size = (hr.shape[2] // 4, hr.shape[1] // 4)
    return np.stack([np.asarray(p.resize(size, Image.Resampling.BICUBIC)) for p in planes])


def _check_pair(hr: NDArray[np.float32], lr: NDArray[np.float32]) -> None:
    assert hr.shape == (3, 4 * lr.shape[1], 4 * lr.shape[2])
    assert np.corrcoef(_bicubic(hr).ravel(), lr.ravel())[0, 1] > _ALIKE


def test_webdataset_reads_pairs_that_align(tmp_path: Path, ray_session: str) -> None:
    del ray_session
    files = {f"a.{n}/p {n}.jpg": photo_bytes(n, kind="JPEG", side=120) for n in range(6)}
    source = write_folder(tmp_path / "in", files)
    summary = _run(source, tmp_path / "pairs", samples=2, crop=64, stride=56)
    assert summary.exit_status == 0
    found = _consumed(tmp_path, "webdataset", "hr, lr, about", "[hr.numpy(), lr.numpy(), about]")
    assert summary.night is not None
    assert len(found) == summary.night["pairs"] > 12
    assert {about["key"] for _, _, about in found} == files.keys()
    for hr, lr, about in found:
        _check_pair(hr, lr)
        assert about["weights"]
        assert about["etag"]
        assert about["md5"]
        taus = [one["tau"] for one in about["lr"]]
        assert all(0.6 <= tau <= 1 for tau in taus)
        assert len(set(taus)) == 2
        for one in about["lr"]:
            assert 0 <= one["component"] < 16
            assert np.isfinite(one["log_likelihood"])
            assert len(one["sha256"]) == 64
        assert about["lr"][0]["sha256"] != about["lr"][1]["sha256"]  # samples differ


def test_a_plain_folder_dataset_reads_pairs_that_align(tmp_path: Path, ray_session: str) -> None:
    del ray_session
    files = {f"x/p {n}.png": photo_bytes(n, kind="PNG", side=96) for n in range(4)}
    source = write_folder(tmp_path / "in", files)
    summary = _run(source, tmp_path / "pairs", layout="folders", samples=2, crop=64)
    assert summary.night is not None
    found = _consumed(tmp_path, "folders", "hr, lr", "[hr.numpy(), lr.numpy()]")
    assert len(found) == summary.night["samples"] > 12
    for hr, lr in found:
        _check_pair(hr, lr)
